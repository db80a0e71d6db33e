"""What the testers of APPS and TACO accept: written down by hand, step by step of theirs."""

import pytest

from wmtp.sandbox.checker import same_output
from wmtp.sandbox.loose_checker import same_as_apps, same_as_taco

APPS = [
    # the text as a whole
    ("5\n", "5", True),
    ("\n 5 ", "5\n", True),
    ("1 \n 2", "1\n2\n", True),
    ("1\r\n2", "1\n2", True),
    ("yes", "YES", False),
    ("", "", True),
    ("", "0", False),
    # without empty lines
    ("1\n\n2", "1\n2", True),
    ("1\n2", "1\n\n2", True),
    # one number a line, a hundred thousandth apart
    ("0.333333", "0.3333333333", True),
    ("100001", "100000", True),
    ("100002", "100000", False),
    ("1e3\n2", "1000.0\n2.0", True),
    ("inf", "Infinity", True),
    ("nan", "NaN", False),
    # sets of words, and of numbers with three digits
    ("2 1", "1 2", True),
    ("3 4\n1 2", "1 2\n3 4", True),
    ("1 2 2", "1 2", True),
    ("7\n7\n8", "7\n8", True),
    ("1.0004 2", "1 2.0", True),
    ("1.0006 2", "1 2.0", False),
    ("1 two", "1.0 two", False),
    ("b\na", "a\n\nb", True),
    ("b\na", "a\n \nb", False),
]
TACO = [
    ("5\n", "5", True),
    ("10 \n20", "10\n20", False),
    ("10\n\n20", "10\n20", False),
    ("0.50\n", "0.5", False),
    ("2\n1", "1\n2", True),
    # through the letters
    ("12", "1\n2", True),
    ("21", "1 2", True),
    ("12\n", "2\n1", False),
    ("21 43", "1 2\n3 4", True),
    ("YES NO", "NO YES", False),
]


@pytest.mark.parametrize(("printed", "expected", "right"), APPS)
def test_as_apps_compares(printed, expected, right):
    assert same_as_apps(printed, expected) == same_output(printed, expected, "apps") == right


@pytest.mark.parametrize(("printed", "expected", "right"), TACO)
def test_as_taco_compares(printed, expected, right):
    assert same_as_taco(printed, expected) == same_output(printed, expected, "taco") == right
