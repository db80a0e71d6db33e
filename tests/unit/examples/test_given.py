"""Given labels: verified, trusted, sampled; what is dropped says why, and the counts add up."""

import math
from dataclasses import replace

import pytest

from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.errors import ConfigError
from wmtp.examples.given import LabelCheck, settle
from wmtp.ledger import Line
from wmtp.sandbox.pool import run_tests
from wmtp.types import IOTest, Limits, Problem, Program, Solution

CONFIG = DataConfig(
    source="jsonl", train_path="x", validation_path="x", mutants_per_solution=0, noise=NoiseConfig(frac=0.0), pairwise=False
)
PROBLEM = Problem("square", "Square it.", (IOTest("3\n", "9\n"),))
RIGHT, WRONG, SLOW = "print(int(input()) ** 2)", "print(int(input()) * 2)", "while True:\n    pass"
NO_MODULE, PYTHON_2 = "import no_such_library\nprint(9)", "print int(raw_input()) ** 2"


def verify(texts):
    programs = [Program(text, problem.tests) for problem, text in texts]
    return run_tests(programs, limits=Limits(time_limit_s=1.0), num_workers=2)


def settled(config, labelled, verify=verify):
    line = Line("table/train", "solutions")
    given = [(PROBLEM, Solution(code, is_correct)) for code, is_correct in labelled]
    line.read(len(given))
    kept, check = settle(given, config, verify, line, "train")
    line.keep(len(kept))
    assert line.num_missing == 0
    return [(solution.code, solution.is_correct) for _, solution, _ in kept], check, line.dropped


def test_a_label_is_confirmed_or_contradicted_only_by_what_concerns_the_algorithm():
    labelled = [(code, is_correct) for is_correct in (True, False) for code in (RIGHT, WRONG, SLOW, NO_MODULE, PYTHON_2)]
    kept, check, dropped = settled(CONFIG, labelled)
    assert kept == [(RIGHT, True), (WRONG, False), (SLOW, False)]
    assert dropped == {"right_that_fail": 2, "wrong_that_pass": 1, "missing_module": 2, "other_python": 2}
    assert check == LabelCheck(checked=6, contradicted=3) and check.error_rate == 0.5


def test_wrong_by_time_alone_can_be_left_out():
    kept, check, dropped = settled(replace(CONFIG, timeouts="dropped"), [(WRONG, False), (SLOW, False), (SLOW, True)])
    assert kept == [(WRONG, False)]
    assert dropped == {"wrong_by_time_alone": 1, "right_that_fail": 1} and check == LabelCheck(2, 1)


def test_trusted_labels_run_nothing():
    def never(texts):
        assert not texts
        return []

    labelled = [(RIGHT, False), (WRONG, True), (NO_MODULE, True)]
    kept, check, dropped = settled(replace(CONFIG, labels="trusted"), labelled, never)
    assert kept == labelled and not dropped and check.checked == 0 and math.isnan(check.error_rate)


def test_a_sample_of_the_labels_is_run_and_tells_the_error():
    """Of 200 labels 50 are wrong; the 40 that are run are the same ones every time, and only they can be dropped."""
    labelled = [(f"{RIGHT}  # {i}", i % 4 != 0) for i in range(200)]
    config = replace(CONFIG, labels="sampled", verified_frac=0.2)
    kept, check, dropped = settled(config, labelled)
    assert check.checked == 40 and len(kept) == 200 - check.contradicted
    assert dropped == {"wrong_that_pass": check.contradicted}
    assert 0.1 < check.error_rate < 0.4
    assert settled(config, labelled)[:2] == (kept, check)
    assert settled(replace(config, seed=1), labelled)[0] != kept


@pytest.mark.parametrize("labels", ["trusted", "sampled"])
def test_nothing_is_made_of_solutions_that_were_not_run(labels):
    with pytest.raises(ConfigError, match=r"data\.mutants_per_solution"):
        replace(CONFIG, labels=labels, mutants_per_solution=1)
    with pytest.raises(ConfigError, match=r"data\.noise\.frac"):
        replace(CONFIG, labels=labels, noise=NoiseConfig())
    with pytest.raises(ConfigError, match=r"data\.labels"):
        DataConfig(labels=labels)
