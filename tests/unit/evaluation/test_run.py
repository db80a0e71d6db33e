"""The journal and the run that every evaluation goes through."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from wmtp import tasksets
from wmtp.errors import ConfigError, DataError, EvaluationError
from wmtp.evaluation.results import GREEDY, Answer
from wmtp.evaluation.run import Effort, Execution, Run, SampleJournal, effort_metrics, in_order, tasks_to_score
from wmtp.sandbox.testlib import Toolchain
from wmtp.types import AssertTest, IOTest, Limits, Problem

GSM8K = tasksets.get("gsm8k")
"""Its answers are judged without a sandbox, which is what most of these tests want."""

PROBLEMS = [Problem(f"t{i}", "", (IOTest("", str(i)),)) for i in range(4)]
EXECUTION = Execution(Limits(), 1, False, "", 1.0)


def answers(task, *samples):
    return [Answer(f"t{task}", sample, f"#### {task}", "stop", 7, 3) for sample in samples]


def test_nothing_is_isolated_or_measured_where_nothing_runs():
    assert Execution.prepare(GSM8K, PROBLEMS, limits=Limits(), num_workers=1, allow_unsafe=False) == EXECUTION
    real = Execution.prepare(tasksets.get("mbpp"), PROBLEMS, limits=Limits(), num_workers=1, allow_unsafe=False)
    assert real.isolation and real.time_factor >= 1.0
    assert set(real.as_dict()) == {"allow_unsafe", "isolation", "machine_factor", "packages"}


def test_what_compiles_checkers_is_asked_for_and_named_where_there_are_some():
    how = {"limits": None, "num_workers": 1, "allow_unsafe": False}
    with pytest.raises(ConfigError, match=r"gsm8k has answers that are texts: there is no checker for .*testlib"):
        Execution.prepare(GSM8K, PROBLEMS, **how, testlib=Path("testlib.h"))
    checked = [*PROBLEMS, Problem("t9", "", (IOTest("", ""),), testlib_checker="int main() {}")]
    with pytest.raises(ConfigError, match=r"t9 has a checker in C\+\+"):
        Execution.prepare(tasksets.get("jsonl"), checked, **how)
    named = replace(EXECUTION, testlib=Toolchain("text", "/usr/bin/g++", "g++ 12")).as_dict()["testlib"]
    assert named == {"sha256": hashlib.sha256(b"text").hexdigest(), "compiler": "g++ 12"}


def test_the_results_say_what_a_program_may_take():
    problems = [Problem(f"t{i}", "", (AssertTest("assert f()"),), time_limit_s=2.0 + i) for i in range(3)]
    mbpp, taco = tasksets.get("mbpp"), tasksets.get("taco")
    own = Execution(None, 1, False, "", 1.0).limits_of(mbpp, problems)
    assert own["time_limit_s"] == {"least": 2.0, "most": 4.0} and own["memory_limit_bytes"]["most"] == 512 * 2**20
    bounded = Execution(Limits(time_limit_s=3.0), 1, False, "", 1.0)
    assert bounded.limits_of(mbpp, problems)["time_limit_s"] == {"least": 2.0, "most": 3.0}
    assert bounded.limits_of(taco, problems)["time_limit_s"] == {"least": 2.0, "most": 4.0}
    assert EXECUTION.limits_of(GSM8K, PROBLEMS) == {}


def test_a_run_goes_on_from_the_files_of_any_number_of_writers(tmp_path):
    for writer, number in ((0, 0), (1, 1), (0, 2)):
        with SampleJournal(tmp_path, writer) as journal:
            run = Run(GSM8K, PROBLEMS[:3], EXECUTION, journal)
            run.score([answers(number, GREEDY, 0), answers(number, 1)])
    torn = sorted(tmp_path.iterdir())[-1]
    torn.write_bytes(torn.read_bytes()[:-5])
    with SampleJournal(tmp_path) as journal:
        last = Run(GSM8K, PROBLEMS, EXECUTION, journal)
        assert last.effort.resumed_samples == 8 and len(list(tmp_path.iterdir())) == 3
        assert [problem.problem_id for problem in last.unfinished([GREEDY, 0, 1])] == ["t1", "t3"]
        seen = []
        last.score([answers(1, GREEDY, 0, 1), answers(3, GREEDY, 0, 1)], lambda now: seen.append(len(now.samples)))
    assert seen == [9, 12] and last.unfinished([GREEDY, 0, 1]) == []
    with SampleJournal(tmp_path) as journal:
        other_share = Run(GSM8K, PROBLEMS[1:2], EXECUTION, journal)
        assert {task for task, _ in other_share.samples} == {"t1"}
        everything = Run(GSM8K, PROBLEMS, EXECUTION, journal).samples
    assert everything == last.samples and all(sample.passed for sample in everything.values())
    assert [(s.task_id, s.sample) for s in in_order(PROBLEMS, everything.values())] == [
        (f"t{i}", sample) for i in range(4) for sample in (GREEDY, 0, 1)
    ]


def test_a_run_tells_how_far_it_is_before_the_first_completion_ends_and_never_goes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("wmtp.evaluation.run.SECONDS_BETWEEN_LOOKS", -1.0)
    seen = []
    with SampleJournal(tmp_path) as journal:
        run = Run(GSM8K, PROBLEMS, EXECUTION, journal)

        def made():
            for part in (0.5, 1.5, 0.5):  # one of two rows ends before the last
                run.note_pass(part)
            yield answers(0, 0)
            run.note_pass(0.75)
            yield answers(1, 0)

        run.score(made(), lambda now: seen.append((len(now.samples), now.progress)))
    assert seen == [(0, 0.5), (0, 1.5), (0, 1.5), (1, 1.5), (1, 1.75), (2, 2.0)]


def test_what_is_scored_already_is_not_scored_again(tmp_path):
    with SampleJournal(tmp_path) as journal:
        run = Run(GSM8K, PROBLEMS, EXECUTION, journal)
        run.score([answers(0, 0)])
        before = run.samples["t0", 0]
        run.score([[Answer("t0", 0, "another text")]])
        assert run.samples["t0", 0] is before
    assert len(SampleJournal(tmp_path).samples) == 1


def test_a_program_is_in_the_journal_when_it_has_ended_and_no_other_is_waited_for(tmp_path):
    """The next batch is made while programs run; the last program of the first batch ends after all of the second."""
    synthetic = tasksets.get("synthetic")
    execution = Execution(Limits(), 2, False, "", 1.0)
    programs = {0: "print(0)", 1: "import time\ntime.sleep(1.5)\nprint(1)", 2: "print(2)", 3: "print(4)"}
    made = [[Answer(f"t{i}", 0, programs[i]) for i in pair] for pair in ((0, 1), (2, 3))]
    seen = []
    with SampleJournal(tmp_path) as journal:
        run = Run(synthetic, PROBLEMS, execution, journal)
        run.score(iter(made), lambda now: seen.append([*SampleJournal(tmp_path).samples]))
    assert [len(keys) for keys in seen] == [1, 2, 3, 4] and seen[-1][-1] == ("t1", 0)
    assert [run.samples[f"t{i}", 0].passed for i in range(4)] == [True, True, True, False]
    assert run.effort.execution_s > 1.0 > run.effort.generation_s


def test_what_had_ended_before_a_kill_is_not_run_again(tmp_path, monkeypatch):
    synthetic, execution = tasksets.get("synthetic"), Execution(Limits(), 1, False, "", 1.0)
    made = [Answer(f"t{i}", 0, f"print({i})") for i in range(4)]
    real, calls = SampleJournal.append, []

    def dies_at_the_third(journal, samples):
        calls.append(samples)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(journal, samples)

    monkeypatch.setattr(SampleJournal, "append", dies_at_the_third)
    with SampleJournal(tmp_path) as journal, pytest.raises(KeyboardInterrupt):
        Run(synthetic, PROBLEMS, execution, journal).score([made])
    with SampleJournal(tmp_path) as journal:
        run = Run(synthetic, PROBLEMS, execution, journal)
        assert run.effort.resumed_samples == 2
        run.score([made])
    assert len(calls) == 3 + 2 and all(sample.passed for sample in run.samples.values())


def test_an_answer_to_no_task_ends_the_run(tmp_path):
    with SampleJournal(tmp_path) as journal, pytest.raises(EvaluationError, match="gsm8k has no task 't3'"):
        Run(GSM8K, PROBLEMS[:2], EXECUTION, journal).score([answers(3, 0)])


def test_tasks_are_the_first_ones_and_every_one_can_be_scored():
    assert tasks_to_score(PROBLEMS, "f", 2) == PROBLEMS[:2] and tasks_to_score(PROBLEMS, "f", None) == PROBLEMS
    with pytest.raises(DataError, match="f holds no tasks"):
        tasks_to_score([], "f", None)
    with pytest.raises(DataError, match=r"f: bare \(and 0 more\) have no tests"):
        tasks_to_score([*PROBLEMS, Problem("bare", "", ())], "f", None)


def test_efforts_add_up_and_the_slowest_tells_the_time():
    parts = [Effort(100, 50, 2.0, 1.0, 3), Effort(300, 50, 4.0, 0.5)]
    assert effort_metrics(parts, 9.0) == {
        "tokens": 400,
        "tokens_per_s": 100.0,
        "tokens_per_forward": 4.0,
        "generation_s": 4.0,
        "execution_s": 1.0,
        "resumed_samples": 3,
        "wall_s": 9.0,
        "world_size": 2,
    }
