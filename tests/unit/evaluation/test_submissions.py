import pytest

from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.evaluation.results import GREEDY, Answer
from wmtp.evaluation.submissions import read_answers, require_all
from wmtp.types import IOTest, Problem


def problems(*ids):
    return [Problem(each, "", (IOTest("", "1"),)) for each in ids]


def test_tasks_go_by_id_by_id_without_prefix_and_by_place_where_the_data_has_none(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text(
        '{"task_id": 11, "completion": "a\\nprint(1)"}\n{"task_id": "mbpp/11", "completion": "b"}\n'
        '{"task_id": "12", "sample": "greedy", "completion": "c"}\n{"task_id": 12, "completion": "", "more": 1}\n'
    )
    assert read_answers(path, tasksets.get("mbpp"), problems("mbpp/11", "mbpp/12")) == [
        Answer("mbpp/11", 0, "a\nprint(1)"),
        Answer("mbpp/11", 1, "b"),
        Answer("mbpp/12", GREEDY, "c"),
        Answer("mbpp/12", 0, ""),
    ]
    path.write_text('{"task_id": 1, "completion": "#### 4"}\n{"task_id": "gsm8k/x", "completion": "5"}\n')
    assert [answer.task_id for answer in read_answers(path, tasksets.get("gsm8k"), problems("gsm8k/x", "gsm8k/y"))] == [
        "gsm8k/y",
        "gsm8k/x",
    ]


def test_a_greedy_completion_does_not_stand_for_a_draw():
    answers = [Answer("t0", 0, ""), Answer("t1", GREEDY, "")]
    require_all(tasksets.get("jsonl"), problems("t0"), answers[:1], 1)
    with pytest.raises(DataError, match="1 of 2 tasks have fewer than 1 completions, the first is t1 with 0"):
        require_all(tasksets.get("jsonl"), problems("t0", "t1"), answers, 1)
