"""From what the command line asks for to the tasks as a model is asked them."""

import json

import pytest

from tests.unit.tasksets.records import HUMANEVAL, lines
from wmtp import tasksets
from wmtp.errors import ConfigError
from wmtp.evaluation.asking import Asking, prompt_facts
from wmtp.tasksets import load_problems

GSM8K = [{"question": f"{i} and {i}?", "answer": f"<<{i}+{i}={2 * i}>>It is {2 * i}.\n#### {2 * i}"} for i in range(8)]


def template(answer):
    def has_template():
        assert answer is not None, "asked for nothing"
        return answer

    return has_template


@pytest.fixture
def humaneval(tmp_path):
    return tasksets.get("humaneval"), list(load_problems("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL)))


def test_without_options_it_is_the_benchmarks_default_and_no_tokenizer_is_loaded_for_it(humaneval):
    taskset, problems = humaneval
    asked = Asking().prepare(taskset, problems).of(template(None))
    assert asked.prompt(problems[0]) == taskset.prompt(problems[0]) and not asked.in_chat and not asked.sanitizes
    assert prompt_facts(asked) == {
        "format": "openai",
        "num_shots": 0,
        "shots": {"source": "", "ids": []},
        "chat_template": False,
        "sanitized": False,
        "stop": list(taskset.stop),
    }


@pytest.mark.parametrize(
    ("prompt", "use", "has_template", "in_chat", "prefilled"),
    [
        (None, "auto", None, False, False),
        (None, "off", None, False, False),
        (None, "on", True, True, False),
        ("evalplus", "auto", True, True, True),
        ("evalplus", "auto", False, False, False),
        ("evalplus", "off", None, False, False),
        ("evalplus", "on", True, True, True),
    ],
)
def test_a_template_is_used_where_the_format_is_made_for_one_or_it_is_asked_for(
    humaneval, prompt, use, has_template, in_chat, prefilled
):
    taskset, problems = humaneval
    asked = Asking(prompt=prompt, chat_template=use).prepare(taskset, problems).of(template(has_template))
    assert (asked.in_chat, bool(asked.prefill), asked.sanitizes) == (in_chat, prefilled, prompt == "evalplus")


def test_a_template_that_is_not_there_is_refused(humaneval):
    asked = Asking(chat_template="on").prepare(*humaneval)
    with pytest.raises(ConfigError, match="the model's tokenizer has no chat template"):
        asked.of(template(False))


def test_what_is_nothing_but_a_chat_is_asked_in_one_or_not_at_all():
    taskset = tasksets.get("livecodebench")
    asked = Asking(prompt="lcb-chat").prepare(taskset, [])
    assert asked.of(template(True)).in_chat and Asking(prompt="lcb-chat").to_score(taskset).in_chat
    with pytest.raises(ConfigError, match="lcb-chat is a chat: the model's tokenizer has no chat template"):
        asked.of(template(False))
    with pytest.raises(ConfigError, match="lcb-chat is a chat: leave --chat-template off out"):
        Asking(prompt="lcb-chat", chat_template="off").prepare(taskset, []).of(template(None))


def test_sanitizing_runs_the_code_of_an_answer_in_a_chat_alone(humaneval):
    taskset, (problem,) = humaneval
    whole = "Sure:\n```python\ndef one():\n    return 1\n```\nThere you go"
    chat = Asking(chat_template="on", sanitize=True).prepare(taskset, [problem]).of(template(True))
    assert chat.program(problem, whole).source == "def one():\n    return 1"
    plain = Asking(sanitize=True).prepare(taskset, [problem]).of(template(None))
    assert plain.program(problem, "    return 1\nNow some words").source == problem.prompt + "    return 1"
    with pytest.raises(ConfigError, match="answers of gsm8k are texts"):
        Asking(sanitize=True, num_shots=0).prepare(tasksets.get("gsm8k"), [])


def test_examples_and_their_ids_are_in_the_results(tmp_path):
    taskset = tasksets.get("gsm8k")
    train = lines(tmp_path / "train.jsonl", *GSM8K)
    problems = list(load_problems("gsm8k", lines(tmp_path / "test.jsonl", {"question": "9 and 9?", "answer": "#### 18"})))
    prepared = Asking(prompt="cot", num_shots=2, shots=train, shot_seed=1).prepare(taskset, problems)
    facts = json.loads(json.dumps(prompt_facts(prepared.of(template(None)), prepared.shots)))
    assert (facts["format"], facts["num_shots"], facts["shots"]["source"]) == ("cot", 2, train)
    ((task, ids),) = facts["shots"]["ids"].items()
    assert task == problems[0].problem_id and len(set(ids)) == 2
    with pytest.raises(ConfigError, match="needs 5 solved examples: name the file"):
        Asking().prepare(taskset, problems)


def test_completions_from_elsewhere_are_put_together_and_judged_as_they_were_asked_for(humaneval):
    taskset, (problem,) = humaneval
    assert Asking().to_score(taskset).program(problem, "    return 1").source == problem.prompt + "    return 1"
    answer = "def one():\n    return 1\n"
    assert Asking(prompt="evalplus", chat_template="on").to_score(taskset).program(problem, answer).source == answer.strip()
    assert Asking(prompt="cot").to_score(tasksets.get("gsm8k")).asked_as == "cot"
