"""`wmtp score` on small benchmark files, with the real sandbox."""

import json

import pytest

from tests.unit.evaluation.benchmarks import HUMANEVAL, MBPP, benchmark_files, dies_at, one_line, read_samples, write
from wmtp.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path):
    return benchmark_files(tmp_path)


def score(files, name, answers, tmp_path, *more):
    samples = write(tmp_path / "samples.jsonl", answers)
    out = tmp_path / "out"
    code = main(["score", name, "--data", str(files[name]), "--samples", str(samples), "--out", str(out), *more])
    return code, json.loads((out / "metrics.json").read_text()) if (out / "metrics.json").exists() else None


def test_reference_solutions_pass_and_mutated_ones_fail(files, tmp_path, capsys):
    right = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in HUMANEVAL]
    wrong = [{"task_id": task["task_id"], "completion": "    return x - 1\n"} for task in HUMANEVAL]
    code, metrics = score(files, "humaneval", right + wrong, tmp_path, "--k", "1,2")
    assert code == 0
    assert (metrics["pass@1"], metrics["pass@2"]) == (0.5, 1.0)
    assert metrics["verdicts"]["passed"] == 3 and sum(metrics["verdicts"].values()) == 6
    assert metrics["versions"].keys() == {"python", "wmtp", "numpy"}
    assert "pass@2" in capsys.readouterr().out
    samples = read_samples(tmp_path / "out")
    assert [sample["verdict"] == "passed" for sample in samples] == [True] * 3 + [False] * 3
    assert not list(tmp_path.glob(".out*"))


def test_mbpp_tasks_go_by_their_number_and_what_is_submitted_is_what_runs_and_what_is_kept(files, tmp_path):
    """Stop strings end generation; a submission is not cut at them."""
    tails = ("\nprint(plus(1))\nplus = lambda x: x", "\nprint(plus(1))")
    answers = [{"task_id": task["task_id"], "completion": task["code"] + tail} for task, tail in zip(MBPP, tails, strict=True)]
    code, metrics = score(files, "mbpp", answers, tmp_path)
    assert (code, metrics["pass@1"], metrics["num_tasks"]) == (0, 1.0, 2)
    samples = read_samples(tmp_path / "out")
    assert [sample["completion"] for sample in samples] == [answer["completion"] for answer in answers]
    wrong = [answer | {"completion": answer["completion"] + "\nplus = None"} for answer in answers]
    assert score(files, "mbpp", wrong, tmp_path)[1]["pass@1"] == 0.0


def test_limits_can_be_asked_for_and_are_in_the_results(files, tmp_path, capsys):
    """A program that works for a second and a half, and holds 200 MiB."""
    slow = "import time\nwhile time.process_time() < 1.5: pass\nheld = bytearray(200 * 2**20)\n"
    answers = [{"task_id": task["task_id"], "completion": slow + task["code"]} for task in MBPP]
    for options, verdict in (
        ((), "passed"),
        (("--timeout", "0.5"), "timeout"),
        (("--timeout", "30", "--memory", "128"), "memory_limit"),
    ):
        code, metrics = score(files, "mbpp", answers, tmp_path, *options)
        assert code == 0 and metrics["verdicts"] == {verdict: 2}, options
    assert metrics["allowance"] == {"timeout": 30.0, "memory": 128}
    limits = metrics["sandbox"]["limits"]
    assert limits["time_limit_s"] == {"least": 30.0, "most": 30.0}
    assert limits["memory_limit_bytes"] == {"least": 2**27, "most": 2**27}
    capsys.readouterr()
    for option, wrong in (("--timeout", "0"), ("--timeout", "1e9"), ("--memory", "63"), ("--memory", "1.5")):
        assert score(files, "mbpp", answers, tmp_path, option, wrong)[0] == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: argument {option}: must be") and said.count("\n") == 1
    assert score(files, "gsm8k", [], tmp_path, "--timeout", "3")[0] == 2


def test_the_table_of_mbpp_plus_has_its_numpy_also_where_it_is_read_as_mbpp(files, tmp_path):
    test = "import numpy as np\nassert all(np.allclose(plus(x), x) for x in range(9))"
    plus = {"task_id": 3, "prompt": "Add 0.", "code": "def plus(x):\n    return x", "test_list": ["assert plus(1) == 1"]}
    write(files["mbpp"], [plus | {"test": test, "test_imports": []}])
    code, metrics = score(files, "mbpp", [{"task_id": "Mbpp/3", "completion": plus["code"]}], tmp_path)
    assert (code, metrics["pass@1"], metrics["base_pass@1"]) == (0, 1.0, 1.0)
    assert list(metrics["sandbox"]["packages"]) == ["numpy"]


def test_gsm8k_is_judged_strictly_and_flexibly(files, tmp_path):
    answers = [{"task_id": 0, "completion": "#### 1000"}, {"task_id": 1, "completion": "that makes 1,001 in all"}]
    code, metrics = score(files, "gsm8k", answers, tmp_path)
    assert (code, metrics["pass@1"], metrics["flexible_pass@1"]) == (0, 0.5, 1.0)


def test_greedy_completions_are_no_draws(files, tmp_path):
    answers = [
        {"task_id": task["task_id"], "sample": sample, "completion": code}
        for task in HUMANEVAL
        for sample, code in ((0, "    return None\n"), ("greedy", task["canonical_solution"]))
    ]
    _, metrics = score(files, "humaneval", answers, tmp_path)
    assert (metrics["pass@1"], metrics["greedy_pass@1"]) == (0.0, 1.0)


UNKNOWN_TASK = "humaneval has no task 'HumanEval/99' among the 3 scored, the first of which is 'HumanEval/0'"


def test_a_limit_is_named_in_the_result(files, tmp_path, capsys):
    answers = [{"task_id": "HumanEval/0", "completion": HUMANEVAL[0]["canonical_solution"]}]
    code, metrics = score(files, "humaneval", answers, tmp_path, "--limit", "1")
    assert (code, metrics["limit"], metrics["num_tasks"]) == (0, 1, 1)
    assert "the first 1 only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"task_id": "HumanEval/0", "completion": 3}], "samples.jsonl:1: field 'completion'"),
        ([{"task_id": "HumanEval/0"}], "samples.jsonl:1: field 'completion'"),
        ([{"completion": "x"}], "samples.jsonl:1: field 'task_id' must be"),
        ([{"task_id": "HumanEval/99", "completion": "x"}], UNKNOWN_TASK),
        (
            [{"task_id": "HumanEval/0", "completion": "x"}],
            "2 of 3 tasks have fewer than 1 completions, the first is HumanEval/1",
        ),
        ([{"task_id": "HumanEval/0", "completion": "x", "sample": 0}] * 2, "samples.jsonl:2: field 'sample': 0"),
        ([{"task_id": "HumanEval/0", "completion": "x", "sample": -1}], "field 'sample' must be"),
    ],
)
def test_a_broken_submission_is_refused_by_file_line_and_field(files, tmp_path, capsys, answers, said):
    code, metrics = score(files, "humaneval", answers, tmp_path)
    assert code == 2 and metrics is None
    assert said in one_line(capsys)
    assert not list(tmp_path.glob(".out*"))


def test_a_broken_line_and_tasks_that_are_there_twice_are_refused(files, tmp_path, capsys):
    files["humaneval"].write_text(files["humaneval"].read_text() * 2)
    assert score(files, "humaneval", [], tmp_path)[0] == 2
    assert "duplicate id 'HumanEval/0'" in one_line(capsys)
    files["mbpp"].write_text('{"task_id": 11,\n')
    assert score(files, "mbpp", [], tmp_path)[0] == 2
    assert "mbpp.jsonl:1: not valid JSON" in one_line(capsys)


@pytest.mark.parametrize(("content", "said"), [(b"[" * 100_000, "nested too deep"), (b'{"task_id": "\xff"}', "utf-8")])
def test_what_python_cannot_read_is_named(files, tmp_path, capsys, content, said):
    samples = tmp_path / "broken.jsonl"
    samples.write_bytes(content)
    out = ["--out", str(tmp_path / "out")]
    assert main(["score", "mbpp", "--data", str(files["mbpp"]), "--samples", str(samples), *out]) == 2
    assert said in (error := one_line(capsys)) and "broken.jsonl:1: not valid JSON" in error
    assert main(["score", "mbpp", "--data", str(samples), "--samples", str(samples), *out]) == 2
    assert said in one_line(capsys)


def test_folders_and_files_in_each_others_place_are_refused(files, tmp_path, capsys):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("x")
    good = {"--data": files["mbpp"], "--samples": write(tmp_path / "s.jsonl", []), "--out": tmp_path / "out"}
    for option, path, said in (
        ("--samples", folder, "folder is a folder: name a file"),
        ("--samples", tmp_path / "none", "none does not exist"),
        ("--data", folder, "folder holds no .jsonl"),
        ("--out", file, "file is a file: name a folder"),
        ("--out", file / "out", "Not a directory"),
    ):
        options = [str(part) for pair in (good | {option: path}).items() for part in pair]
        assert main(["score", "mbpp", *options]) == 2
        assert said in one_line(capsys)
    assert file.read_text() == "x" and not list(folder.iterdir())


def test_empty_and_huge_completions_are_counted_verdicts(files, tmp_path):
    answers = [
        {"task_id": "HumanEval/0", "completion": ""},
        {"task_id": "HumanEval/1", "completion": "    return 1" + " + 1" * 300_000},
        {"task_id": "HumanEval/2", "completion": "    return (\x00"},
    ]
    code, metrics = score(files, "humaneval", answers, tmp_path)
    assert code == 0 and metrics["pass@1"] == 0.0 and sum(metrics["verdicts"].values()) == 3


def test_a_killed_scoring_goes_on_without_running_what_was_finished(files, tmp_path, monkeypatch):
    answers = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in HUMANEVAL]
    started = dies_at(3, monkeypatch)
    assert score(files, "humaneval", answers, tmp_path) == (1, None)
    code, metrics = score(files, "humaneval", answers, tmp_path)
    assert (code, metrics["pass@1"], len(started)) == (0, 1.0, 4)


def test_an_unfinished_run_of_something_else_is_neither_used_nor_lost(files, tmp_path, monkeypatch, capsys):
    right = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in HUMANEVAL]
    wrong = [answer | {"completion": "    return None\n"} for answer in right]
    calls = dies_at(2, monkeypatch)
    assert score(files, "humaneval", right, tmp_path) == (1, None)
    capsys.readouterr()
    assert score(files, "humaneval", wrong, tmp_path) == (2, None)
    assert ".out.tmp-run holds an unfinished evaluation of something else (another submission): go on" in one_line(capsys)
    assert score(files, "humaneval", right, tmp_path)[1]["pass@1"] == 1.0
    assert len(calls) == 2 + 2 and not list(tmp_path.glob(".out*"))


def test_only_results_are_replaced(files, tmp_path, capsys):
    answers = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in HUMANEVAL]
    assert score(files, "humaneval", answers, tmp_path)[0] == 0
    assert score(files, "humaneval", answers, tmp_path)[0] == 0
    (tmp_path / "out/notes.txt").write_text("mine")
    capsys.readouterr()
    assert score(files, "humaneval", answers, tmp_path)[0] == 2
    assert "holds notes.txt, which no evaluation wrote" in one_line(capsys)
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_results_within_a_folder_of_results_are_not_erased(files, tmp_path, capsys):
    answers = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in HUMANEVAL]
    samples = write(tmp_path / "s.jsonl", answers)
    command = ["score", "humaneval", "--data", str(files["humaneval"]), "--samples", str(samples), "--out"]
    assert main([*command, str(tmp_path / "results/humaneval")]) == 0
    capsys.readouterr()
    assert main([*command, str(tmp_path / "results")]) == 2
    assert "results holds humaneval, which no evaluation wrote" in one_line(capsys)
    assert (tmp_path / "results/humaneval/metrics.json").is_file()


def test_own_data_is_scored_by_its_own_conventions(tmp_path):
    """Programs on standard input and functions under asserts side by side, and none is cut at a string of a benchmark."""
    problems = [
        {"problem_id": "four", "prompt": "Print 4n.", "tests": [{"stdin": "3\n", "stdout": "12\n"}]},
        {"problem_id": "plus", "prompt": "Write plus.\nassert plus(1) == 2", "tests": [{"code": "assert plus(1) == 2"}]},
        {"problem_id": "body", "prompt": "def half(x):\n", "tests": [{"code": "assert half(4) == 2"}]},
    ]
    answers = [
        {"task_id": "four", "completion": "n = int(input())\nprint(4 * n)"},
        {"task_id": "plus", "completion": "class Adder:\n    pass\n\ndef plus(x):\n    return x + 1\n\nprint(plus(1))"},
        {"task_id": "body", "completion": "    return x // 2\n\nif half(2) != 1:\n    raise SystemExit"},
    ]
    files = {"jsonl": write(tmp_path / "own.jsonl", problems)}
    code, metrics = score(files, "jsonl", answers, tmp_path)
    assert (code, metrics["benchmark"], metrics["pass@1"], metrics["verdicts"]) == (0, "jsonl", 1.0, {"passed": 3})


def test_the_code_in_an_answer_runs_and_the_answer_is_kept_beside_it(files, tmp_path):
    answers = [
        {
            "task_id": task["task_id"],
            "completion": f"Here:\n```python\n{task['prompt']}{task['canonical_solution']}\nprint(plus(1))\n```\nThat was all",
        }
        for task in HUMANEVAL
    ]
    assert score(files, "humaneval", answers, tmp_path)[1]["pass@1"] == 0.0
    code, metrics = score(files, "humaneval", answers, tmp_path, "--sanitize", "--chat-template", "on")
    assert (code, metrics["pass@1"]) == (0, 1.0)
    assert metrics["prompt"] == {"format": "openai", "chat_template": True, "sanitized": True}
    for sample, answer, task in zip(read_samples(tmp_path / "out"), answers, HUMANEVAL, strict=True):
        assert sample["completion"] == answer["completion"]
        assert sample["sanitized"] == (task["prompt"] + task["canonical_solution"]).strip()
