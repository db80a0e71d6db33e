import pytest

from wmtp.errors import EvaluationError
from wmtp.evaluation.benchmarks import BENCHMARKS, before_stop, get_benchmark, judge_gsm8k, plain_number
from wmtp.types import AssertTest, IOTest, Limits, Problem

LIMITS = Limits(1.0, 2**26)


def test_before_stop_takes_the_first_of_any():
    assert before_stop("a\nb\nclass C\ndef f", ("\ndef", "\nclass")) == "a\nb"
    assert before_stop("a\nb", ("\nclass",)) == "a\nb"
    assert before_stop("a", ()) == "a"


def test_humaneval_program_is_prompt_and_completion():
    problem = Problem("HumanEval/0", "def f(x):\n", (AssertTest("check(f)"),))
    benchmark = BENCHMARKS["humaneval"]
    body = benchmark.completion("    return x\n\nprint(f(1))\n")
    program = benchmark.program(problem, body, LIMITS)
    assert program.source == "def f(x):\n    return x\n"
    assert program.tests == problem.tests and program.limits == LIMITS


def test_mbpp_program_is_the_completion_without_trailing_prose():
    problem = Problem("mbpp/1", "Write f.\nassert f(1) == 1", (AssertTest("assert f(1) == 1"),))
    benchmark = BENCHMARKS["mbpp"]
    assert benchmark.program(problem, benchmark.completion("def f(x):\n    return x\nassert f(2)"), LIMITS).source == (
        "def f(x):\n    return x"
    )


def test_only_codecontests_brings_its_own_limits():
    problem = Problem("p", "statement", (IOTest("", "1"),), time_limit_s=2.5, memory_limit_bytes=2**28)
    assert BENCHMARKS["codecontests"].program(problem, "print(1)", LIMITS).limits == Limits(2.5, 2**28)
    assert BENCHMARKS["synthetic"].program(problem, "print(1)", LIMITS).limits == LIMITS


def test_what_cannot_be_scored_is_an_error():
    with pytest.raises(EvaluationError, match="p has no tests"):
        BENCHMARKS["synthetic"].program(Problem("p", "", ()), "print(1)", LIMITS)
    with pytest.raises(EvaluationError, match="known are synthetic, mbpp"):
        get_benchmark("apps")


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("2 + 3 = 5\n#### 5", True, True),
        ("so it is #### 1,005.", False, False),
        ("#### 5\n\nQuestion 2: 7 + 1 = 8", True, False),
        ("The answer is 5.", False, True),
        ("It costs $5.00", False, True),
        ("no idea", False, False),
        ("#### five", False, False),
        ("#### -5", False, False),
    ],
)
def test_gsm8k_strict_and_flexible(text, strict, flexible):
    problem = Problem("gsm8k/0", "Question: ?\nAnswer:\n", (IOTest("", "5"),))
    assert judge_gsm8k(problem, text) == {"passed": strict, "flexible": flexible}


def test_plain_number():
    assert [plain_number(text) for text in ("$1,234.", "7.0", "0.50", "-3", "abc")] == ["1234", "7", "0.5", "-3", "abc"]
