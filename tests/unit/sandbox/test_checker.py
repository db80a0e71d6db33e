"""CodeContests' comparison, case by case, and the one that tells large integers apart."""

import pytest

from wmtp.sandbox.checker import same_output
from wmtp.sandbox.pool import run_tests
from wmtp.types import IOTest, Limits, Program

CASES = [
    # blanks and letters
    ("1 2\n3", "1  2 3\n", True),
    ("\v1\t\r\n", "1", True),
    ("1\f2", "1 2", False),
    ("1\u00a02", "1 2", False),
    ("YES", "yes", True),
    ("\u00c9", "\u00e9", False),
    ("1 2", "1 2 3", False),
    ("", "", True),
    ("\n", "", True),
    # numbers
    ("0.3333333", "0.333333333", True),
    ("7.0", "7", True),
    ("7", "7.000009", True),
    ("7", "7.00002", False),
    ("2000003.0", "2000002.0", False),
    ("+3", "3", True),
    ("007", "7", True),
    (".5", "0.50", True),
    ("5.", "5", True),
    ("1E3", "1000", True),
    ("-0.0", "0", True),
    ("36893488147419103233", "36893488147419103232", True),
    ("0x10", "16", False),
    ("1_000", "1000", False),
    ("1e", "1", False),
    ("\u0661", "1", False),
    # no numbers
    ("nan", "nan", True),
    ("nan 2.0", "nan 2.0000001", False),
    ("nan", "1.0", False),
    ("1e999", "inf", False),
    ("inf", "infinity", False),
    ("a 1.0", "a 1", True),
    ("a 1.0", "b 1", False),
]


@pytest.mark.parametrize(("printed", "expected", "same"), CASES)
def test_as_codecontests_compares(printed, expected, same):
    assert same_output(printed, expected) is same
    assert same_output(expected, printed) is same


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("two words", "two words", True),
        ("two wordz", "two words", False),
        ("two words", "two words 3", False),
        ("two WORDS", "Two words", True),
        ("about 88", "about 88.000002", True),
        ("about 88", "about 88.2", False),
    ],
)
def test_the_six_kinds_that_codecontests_own_tests_name(printed, expected, same):
    """Equal texts, another word, a longer text, letters' case, near numbers, and numbers that are not near."""
    assert same_output(printed, expected) is same


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("36893488147419103233", "36893488147419103232", False),
        ("9" * 5000, "9" * 5000 + "\n", True),
        ("9" * 5000, "9" * 4999 + "8", False),
        ("-0 +07", "0 7", True),
        ("-7", "7", False),
        ("7.0", "7", True),
        ("7.0000001 x", "7 X", True),
    ],
)
def test_exact_integers(printed, expected, same):
    assert same_output(printed, expected, "exact_integers") is same


@pytest.mark.parametrize(("printed", "expected", "same"), [("4 Ab\n", "4 aB", True), ("4.0", "4", False), ("+4", "4", False)])
def test_exact(printed, expected, same):
    assert same_output(printed, expected, "exact") is same


def test_the_programs_own_checker_judges_it():
    tests = (IOTest("", "36893488147419103232"),)
    verdicts = run_tests(
        [
            Program("print(2**65 + 1)", tests),
            Program("print(2**65 + 1)", tests, checker="exact_integers"),
            Program("print(2**65)", tests, checker="exact_integers"),
        ],
        limits=Limits(),
        num_workers=1,
    )
    assert [verdict.status for verdict in verdicts] == ["passed", "wrong_answer", "passed"]


@pytest.mark.parametrize(
    ("printed", "expected", "right"),
    [
        ("1 2\n3", " 1 2 \n3\n\n", True),
        ("1  2", "1 2", True),  # as numbers
        ("a  b", "a b", False),
        ("1.0", "1", True),
        ("0.1000000001", "0.1", False),
        ("50000000000000001", "50000000000000000", False),
        ("1\n2", "1 2", False),
        ("1 2", "1\n2", False),
        ("YES", "yes", False),
        ("", "\n", True),
        ("nan", "nan", True),
        ("sNaN 1", "sNaN  1", False),
        ("NaN 1", "NaN  1", False),
    ],
)
def test_lines_are_compared_as_livecodebench_does(printed, expected, right):
    assert same_output(printed, expected, "lines") == right
