"""The core operations and reducers by hand, and the form that each must have."""

import pytest

from wmtp.synthetic.operations import CORE, CORE_REDUCERS

OPERATIONS = {operation.name: operation for operation in CORE}
REDUCERS = {reducer.name: reducer for reducer in CORE_REDUCERS}
VALUES = [3, -1, 4, 1, 4]


@pytest.mark.parametrize(
    ("name", "constant", "after"),
    [
        ("even", None, [4, 4]),
        ("odd", None, [3, -1, 1]),
        ("gt", 1, [3, 4, 4]),
        ("lt", 3, [-1, 1]),
        ("add", 2, [5, 1, 6, 3, 6]),
        ("sub", 2, [1, -3, 2, -1, 2]),
        ("mul", 3, [9, -3, 12, 3, 12]),
        ("square", None, [9, 1, 16, 1, 16]),
        ("sort", None, [-1, 1, 3, 4, 4]),
        ("reverse", None, [4, 1, 4, -1, 3]),
        ("take", 2, [3, -1]),
        ("skip", 2, [4, 1, 4]),
    ],
)
def test_an_operation_does_to_a_list_what_its_words_say(name, constant, after):
    given = list(VALUES)
    assert OPERATIONS[name].meaning(given, constant) == after
    assert given == VALUES, "the list before stays as it is"
    assert OPERATIONS[name].meaning([], constant) == []


def test_every_core_operation_is_tried_here():
    (cases,) = (m for m in test_an_operation_does_to_a_list_what_its_words_say.pytestmark if m.name == "parametrize")
    assert [case[0] for case in cases.args[1]] == [operation.name for operation in CORE]


@pytest.mark.parametrize(("name", "of_values", "of_nothing"), [("sum", 11, 0), ("len", 5, 0), ("max", 4, 0), ("min", -1, 0)])
def test_a_reducer_prints_what_its_words_say(name, of_values, of_nothing):
    assert (REDUCERS[name].meaning(VALUES), REDUCERS[name].meaning([])) == (of_values, of_nothing)
    assert len(REDUCERS) == 4


@pytest.mark.parametrize("operation", CORE, ids=lambda operation: operation.name)
def test_an_operation_has_one_kind_of_code_and_a_place_for_its_constant_where_it_has_one(operation):
    assert sum(map(bool, (operation.keep, operation.each, operation.whole))) == 1
    assert bool(operation.loop) == bool(operation.whole), "what is done to the whole list needs its own loop"
    has_constant = tuple(operation.constants) != (None,)
    code = operation.keep + operation.each + operation.whole
    assert ["{k}" in text for text in (*operation.phrases, code)] == [has_constant] * 3
    assert len(set(operation.constants)) == len(operation.constants) and 0 not in operation.constants
