"""Numbers on a command line, and what is said of the wrong ones."""

import argparse

import pytest

from wmtp.arguments import Parser, names, nonempty, positive, whole, wholes
from wmtp.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (whole(0), "0", 0),
        (whole(1), "37", 37),
        (whole(1, 8), "8", 8),
        (wholes(1), "1,10,100", (1, 10, 100)),
        (positive(), "0.8", 0.8),
        (positive(1), "1", 1.0),
        (positive(or_zero=True), "0", 0.0),
        (nonempty, "a b", "a b"),
        (names, "numpy", ("numpy",)),
        (names, "numpy, sympy", ("numpy", "sympy")),
        (names, "none", ()),
    ],
)
def test_what_is_allowed_is_what_is_meant(kind, given, value):
    assert kind(given) == value


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (whole(0), "-1", "must be 0 or more, not -1"),
        (whole(1), "0", "must be 1 or more, not 0"),
        (whole(1, 8), "9", "must be 8 or less, not 9"),
        (names, "numpy,", "must be names with commas between them, or `none`, not 'numpy,'"),
        (whole(1), "1.5", "must be a whole number, 1 or more, not '1.5'"),
        (whole(1), "", "must be a whole number, 1 or more, not ''"),
        (whole(1), "1" * 5000, "must be a whole number"),
        (wholes(1), "1,0", "must be 1 or more, not 0"),
        (wholes(1), "1,,2", "must be a whole number, 1 or more, not ''"),
        (positive(), "0", "must be a finite number above 0, not '0'"),
        (positive(), "-1", "must be a finite number above 0, not '-1'"),
        (positive(), "inf", "must be a finite number above 0, not 'inf'"),
        (positive(), "hot", "must be a finite number above 0, not 'hot'"),
        (positive(or_zero=True), "-1", "must be a finite number of 0 or more, not '-1'"),
        (positive(or_zero=True), "nan", "must be a finite number of 0 or more, not 'nan'"),
        (positive(1), "nan", "must be a finite number above 0, at most 1, not 'nan'"),
        (positive(1), "1.01", "must be a finite number above 0, at most 1, not '1.01'"),
        (nonempty, " ", "is empty"),
    ],
)
def test_what_is_not_is_refused_with_what_would_be_right(kind, given, said):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{said}"):
        kind(given)


def test_a_mistake_is_one_line_for_commands_of_commands_too():
    parser = Parser(prog="tool")
    inner = parser.add_subparsers(required=True, metavar="COMMAND").add_parser("inner")
    inner.add_argument("--number", type=whole(1), required=True)
    for argv, said in (
        ([], "the following arguments are required: COMMAND (see `tool --help`)"),
        (["inner"], "the following arguments are required: --number (see `tool inner --help`)"),
        (["inner", "--number", "0"], "argument --number: must be 1 or more, not 0 (see `tool inner --help`)"),
        (["innr"], "argument COMMAND: unknown 'innr': did you mean inner? (see `tool --help`)"),
        (["inner", "--nubmer=1"], "unrecognized arguments: --nubmer=1: did you mean --number? (see `tool inner --help`)"),
        (["inner", "--number", "1", "more"], "unrecognized arguments: more (see `tool --help`)"),
    ):
        with pytest.raises(ConfigError) as refused:
            parser.parse_args(argv)
        assert str(refused.value) == said
