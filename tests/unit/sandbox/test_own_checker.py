"""A problem's own checker decides, and sees what a program cannot."""

import pytest

from wmtp.errors import EvaluationError
from wmtp.sandbox.own_checker import says_yes
from wmtp.sandbox.pool import run_tests
from wmtp.types import IOTest, Limits, Program

ANY_ORDER = (
    "import sys\n"
    "given, expected, printed = (sorted(open(name).read().split()) for name in sys.argv[1:])\n"
    "print(float(expected == printed))\n"
)
TESTS = (IOTest("3\n", "1 2 3\n"), IOTest("2\n", "1 2\n"))


def verdicts(checker, *sources):
    programs = [Program(source, TESTS, Limits(4.0), name="task", own_checker=checker) for source in sources]
    return [(verdict.status, verdict.num_passed) for verdict in run_tests(programs, limits=Limits(), num_workers=2)]


def test_a_checker_decides_and_a_programs_own_failures_stay():
    found = verdicts(
        ANY_ORDER,
        "print(*range(int(input()), 0, -1))",
        "print(3, 1, 2)",
        "print()",
        "print(1 / 0)",
        "import os\nprint(*range(1, 1 + int(input())))\nopen('/tmp/expected.txt', 'w').write('x')",
        "import os\nprint(open('/tmp/expected.txt').read())",
    )
    failed = ("runtime_error", 0)
    assert found == [("passed", 2), ("wrong_answer", 1), ("wrong_answer", 0), failed, ("passed", 2), failed]


@pytest.mark.parametrize("checker", ["print(0)", "import nothing", "print(1"])
def test_a_checker_that_does_not_accept_the_expected_output_is_the_benchmarks_error(checker):
    with pytest.raises(EvaluationError, match="task: the checker does not accept the test's own output"):
        programs = [Program("print(1)", TESTS[:1], Limits(4.0), name="task", own_checker=checker)]
        run_tests(programs, limits=Limits(), num_workers=1)


def test_the_last_word_is_the_score():
    assert all(map(says_yes, ("1", "1.0\n", "ok 1", "100\n")))
    assert not any(map(says_yes, ("", "0", "0.5", "ok", "1 ok", "nan")))
