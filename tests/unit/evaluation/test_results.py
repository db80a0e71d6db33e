import csv
import gzip
import json

import pytest

from wmtp import tasksets
from wmtp.errors import EvaluationError
from wmtp.evaluation.pass_at_k import pass_at_k
from wmtp.evaluation.results import Answer, Sample, TaskResult, score_answers, summarise, task_results, write_results
from wmtp.reporting.inputs import UNKNOWN, read_tasks
from wmtp.types import AssertTest, IOTest, Limits, Problem, Verdict

PROBLEMS = [Problem(f"t{i}", f"say {i}", (IOTest("", str(i)),), difficulty=1 + i % 2) for i in range(4)]
BY_ID = {problem.problem_id: problem for problem in PROBLEMS}


def scored(correct, num_samples=4):
    """`correct[t]` right samples of task t, and a greedy one that is right where the first is."""
    samples = []
    for t, right in enumerate(correct):
        verdicts = ["passed"] * right + ["wrong_answer"] * (num_samples - right)
        samples += [Sample(f"t{t}", s, "x", verdict, 1, int(verdict == "passed")) for s, verdict in enumerate(verdicts)]
        samples.append(Sample(f"t{t}", "greedy", "x", verdicts[0], 1, int(right > 0)))
    return samples


def scored_by(name, answers):
    """As the task set of this name has it; a program passes that is its own output."""
    found = []

    def submit(program, on_verdict):
        on_verdict(Verdict("passed" if program.source == program.tests[0].stdout else "wrong_answer", 1, 0))

    score_answers(tasksets.get(name), BY_ID, answers, submit, Limits(), found.extend)
    return found


def test_summary_by_hand():
    samples = scored([4, 0, 1, 2])
    results = task_results(PROBLEMS, samples)
    summary = summarise(results, samples, k=[1, 2], num_bootstrap=200, seed=0)
    assert summary["num_tasks"] == 4 and summary["num_samples"] == 4
    assert summary["pass@1"] == pytest.approx(7 / 16)
    assert summary["pass@2"] == pytest.approx((1 + 0 + pass_at_k(4, 1, 2) + pass_at_k(4, 2, 2)) / 4)
    assert summary["pass@1_low"] <= summary["pass@1"] <= summary["pass@1_high"]
    assert summary["greedy_pass@1"] == 0.75
    assert summary["verdicts"] == {"passed": 7, "wrong_answer": 9}
    assert summary["by_difficulty"]["1"] == {"num_tasks": 2, "pass@1": pytest.approx(5 / 8), "greedy_pass@1": 1.0}
    assert summary["by_difficulty"]["2"] == {"num_tasks": 2, "pass@1": pytest.approx(2 / 8), "greedy_pass@1": 0.5}


def test_nothing_is_left_out_in_silence():
    samples = scored([1, 1, 1, 1])
    with pytest.raises(EvaluationError, match="1 of 4 tasks were not scored, the first is t3"):
        task_results(PROBLEMS, [sample for sample in samples if sample.task_id != "t3"])
    with pytest.raises(EvaluationError, match="scored twice"):
        task_results(PROBLEMS, [*samples, samples[0]])
    with pytest.raises(EvaluationError, match="same id"):
        task_results([*PROBLEMS, PROBLEMS[0]], samples)
    with pytest.raises(EvaluationError, match=r"pass@5 needs that many samples"):
        summarise(task_results(PROBLEMS, samples), samples, k=[5], num_bootstrap=10, seed=0)
    with pytest.raises(EvaluationError, match="no task 'other'"):
        scored_by("synthetic", [Answer("other", 0, "")])


def test_programs_are_executed_and_text_answers_judged():
    answers = [Answer("t1", 0, "1", "eos", 3), Answer("t2", 0, "1")]
    samples = scored_by("synthetic", answers)
    assert [sample.verdict for sample in samples] == ["passed", "wrong_answer"]
    assert (samples[0].finish, samples[0].num_tokens) == ("eos", 3)
    judged = scored_by("gsm8k", [Answer("t1", 0, "it is 1"), Answer("t2", 0, "#### 2")])
    assert [(s.passed, s.grades) for s in judged] == [(False, {"flexible": True}), (True, {"flexible": True})]
    more = [Sample(f"t{i}", 0, "", "wrong_answer", 1, 0, grades={"flexible": i > 1}) for i in (0, 3)]
    summary = summarise(task_results(PROBLEMS, [*judged, *more]), [*judged, *more], k=[1], num_bootstrap=10, seed=0)
    assert (summary["pass@1"], summary["flexible_pass@1"]) == (0.25, 0.75)


def test_files_hold_everything_and_the_same_bytes_each_time(tmp_path):
    samples = scored([1, 0, 2, 3])
    results = task_results(PROBLEMS, samples)
    for name in ("a", "b"):
        write_results(tmp_path / name, {"pass@1": 0.5}, results, samples)
    for file in ("metrics.json", "per_task.csv", "samples.jsonl.gz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    rows = list(csv.DictReader((tmp_path / "a" / "per_task.csv").open()))
    assert rows[2] == {"task_id": "t2", "difficulty": "1", "num_samples": "4", "num_correct": "2", "greedy_correct": "1"}
    lines = gzip.decompress((tmp_path / "a" / "samples.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(line)["sample"] for line in lines] == [0, 1, 2, 3, "greedy"] * 4


def test_tasks_of_unknown_difficulty_are_a_group_of_their_own_and_come_last(tmp_path):
    results = [TaskResult(f"t{i}", level, 2, i % 2, False) for i, level in enumerate((None, 3, 0))]
    samples = [Sample(f"t{i}", j, "", "passed" if j < i % 2 else "timeout", 1, 0) for i in range(3) for j in range(2)]
    summary = summarise(results, samples, k=[1], num_bootstrap=10, seed=0)
    assert list(summary["by_difficulty"]) == ["0", "3", "unknown"]
    write_results(tmp_path, summary, results, samples)
    assert read_tasks(tmp_path / "per_task.csv").difficulty.tolist() == [UNKNOWN, 3, 0]


def test_the_base_tests_have_a_score_of_their_own_and_extra_ones_never_count_for_nothing():
    tests = (AssertTest("base"), AssertTest("plus"))
    problems = {f"t{i}": Problem(f"t{i}", "", tests[: 2 - i], num_base_tests=1) for i in range(2)}
    passed = {("t0", 0): 2, ("t0", 1): 1, ("t1", 0): 1, ("t1", 1): 0}
    answers = [Answer(task, number, f"{task} {number}") for task, number in passed]

    def submit(program, on_verdict):
        task, number = program.source.split()
        done = passed[task, int(number)]
        on_verdict(Verdict("passed" if done == len(program.tests) else "wrong_answer", len(program.tests), done))

    samples = []
    score_answers(tasksets.get("mbppplus"), problems, answers, submit, Limits(), samples.extend)
    assert [sample.grades for sample in samples] == [{"base": True}, {"base": True}, {"base": True}, {"base": False}]
    results = task_results(list(problems.values()), samples)
    summary = summarise(results, samples, k=[1, 2], num_bootstrap=10, seed=0)
    assert (summary["pass@1"], summary["base_pass@1"], summary["pass@2"], summary["base_pass@2"]) == (0.5, 0.75, 1.0, 1.0)
