"""Statements are the same whatever their layout."""

from wmtp.problems.decontaminate import normalised


def test_statements_match_whatever_their_layout_and_asserts():
    assert normalised("Write a function,\n to ADD!\nassert add(1) == 2") == normalised(
        "write a function to add\nassert plus(1)"
    )
    assert normalised("add 2 numbers") != normalised("add 3 numbers")
