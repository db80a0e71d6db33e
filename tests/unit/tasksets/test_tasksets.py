"""One record per task set, found by its module's name; what each makes of a problem and of a completion."""

import subprocess
import sys
from pathlib import Path

import pytest

from wmtp import tasksets
from wmtp.errors import ConfigError
from wmtp.types import AssertTest, Limits, Problem

LIMITS = Limits(1.0, 2**26)
NAMES = (
    *("apps", "codecontests", "codecontestsplus", "codeforces", "gsm8k", "humaneval", "humanevalplus", "jsonl"),
    *("livecodebench", "mbpp", "mbppplus", "synthetic", "taco"),
)


def test_every_module_is_a_task_set_under_its_own_name():
    modules = {path.stem for path in Path(tasksets.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert tasksets.names() == tuple(sorted(modules)) == NAMES
    for name in NAMES:
        taskset = tasksets.get(name)
        assert taskset.name == name and taskset.citation
        assert taskset.description and "\n" not in taskset.description
    given = ("apps", "codecontests", "codecontestsplus", "gsm8k", "humaneval", "jsonl", "mbpp", "synthetic", "taco")
    assert tasksets.sources() == given
    assert [name for name in given if tasksets.get(name).trusted_only] == ["gsm8k", "humaneval"]
    assert [name for name in NAMES if tasksets.get(name).is_generated] == ["synthetic"]
    assert [name for name in NAMES if not tasksets.get(name).has_ids] == ["gsm8k", "taco"]
    with pytest.raises(ConfigError, match="unknown task set 'riddles': known are apps, codecontests"):
        tasksets.get("riddles")
    with pytest.raises(ConfigError, match="unknown task set 'base'"):
        tasksets.get("base")


def test_a_module_that_is_added_is_known_and_nothing_else_changes(tmp_path, monkeypatch):
    (tmp_path / "riddles.py").write_text(
        "from wmtp.problems.files import problem_from_record\n"
        "from wmtp.tasksets.base import TaskSet\n"
        "TASKSET = TaskSet('riddles', 'short riddles', 'nobody', problem_from_record, stop=('?',))\n"
    )
    monkeypatch.setattr(tasksets, "__path__", [*tasksets.__path__, str(tmp_path)])
    assert "riddles" in tasksets.names() and tasksets.get("riddles").stop == ("?",)
    assert "riddles" in tasksets.sources()


def test_the_registry_costs_no_torch_and_no_tables():
    code = "import sys; from wmtp import tasksets; [tasksets.get(n) for n in tasksets.names()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "pyarrow", "numpy", "tokenizers", "datasets"} & set(loaded)


@pytest.mark.parametrize(
    ("name", "prompt", "shown", "program"),
    [
        ("synthetic", "Add.", "# Add.\n", "<x>"),
        ("codecontests", "Add.\nInput: two.", '"""\nAdd.\nInput: two.\n"""\n', "<x>"),
        ("mbpp", "Say hi ", '"""\nSay hi \nassert f(1)\n"""\n', "<x>"),
        ("humaneval", "def f(x):\n", "def f(x):\n", "def f(x):\n<x>"),
        ("gsm8k", "How many?", "Question: How many?\nAnswer:", "<x>"),
        ("jsonl", "Add.", "# Add.\n", "<x>"),
        ("jsonl", "def f(x):\n", "def f(x):\n", "def f(x):\n<x>"),
    ],
)
def test_prompts_and_programs_are_what_the_task_says(name, prompt, shown, program):
    problem = Problem("p", prompt, (AssertTest("assert f(1)"),), asserts=("assert f(1)",))
    taskset = tasksets.get(name)
    assert taskset.prompt(problem) == shown
    assert taskset.program(problem, "<x>", LIMITS).source == program
    assert taskset.program(problem, "<x>", LIMITS).tests == problem.tests


def test_formats_have_names_sources_and_the_first_is_the_default():
    for name in NAMES:
        taskset = tasksets.get(name)
        assert len({form.name for form in taskset.formats}) == len(taskset.formats)
        default = taskset.format()
        assert (taskset.asked_as, taskset.stop) == (default.name, default.stop)
        assert all(form.citation for form in taskset.formats)
        problem = Problem("p", "x", (AssertTest("assert f(1)"),), asserts=("assert f(1)",))
        assert taskset.asked(default).prompt(problem) == taskset.prompt(problem)
    with pytest.raises(ConfigError, match="mbpp has no prompt format 'meta': known are bigcode, austin, evalplus"):
        tasksets.get("mbpp").format("meta")
    with pytest.raises(ConfigError, match="jsonl has no prompt format 'austin': known are plain"):
        tasksets.get("jsonl").format("austin")
