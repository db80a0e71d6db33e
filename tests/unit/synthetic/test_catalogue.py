"""Every operation and reducer against an executor: the words' meaning and the code are written apart."""

import pytest

from tests.unit.synthetic.trusted import run_trusted
from wmtp.synthetic.catalogue import CATALOGUES
from wmtp.synthetic.generate import NAMINGS, STYLES, Composition


@pytest.mark.parametrize("operations", ["core", "all"])
def test_every_operation_and_reducer_of_the_catalogue_means_what_its_code_does(operations):
    ops, reducers = CATALOGUES[operations]
    assert len(ops) == (12 if operations == "core" else 44)
    assert len({op.name for op in ops}) == len(ops)
    inputs = {"integers": ("3 -1 4 1 -5 9 2 6 5 3\n", "7 8\n", "\n"), "words": ("tree star rose a tree toast\n", "ore\n", "\n")}
    for op in ops:
        for reducer in (r for r in reducers if r.takes == op.gives):
            for constant in op.constants:
                problem = Composition(((op, constant),), reducer, (0, 0, 0))
                for style in STYLES:
                    for stdin in inputs[op.takes]:
                        values = [int(v) if op.takes == "integers" else v for v in stdin.split()]
                        assert run_trusted(problem.code(style, NAMINGS[0]), stdin) == str(problem.answer(values)).split()


@pytest.mark.parametrize("operations", ["core", "all"])
def test_no_two_operations_or_reducers_read_alike(operations):
    """A statement must say which it is: what one phrase with its constants says, no other may say."""
    ops, reducers = CATALOGUES[operations]
    said = [phrase.format(k=k) for op in ops for k in op.constants for phrase in op.phrases]
    assert len(set(said)) == len(said)
    ends = [phrase for reducer in reducers for phrase in reducer.phrases]
    assert len({reducer.name for reducer in reducers}) == len(reducers) and len(set(ends)) == len(ends)


def test_the_core_is_part_of_all_and_every_type_can_be_printed():
    core, every = CATALOGUES["core"], CATALOGUES["all"]
    assert set(core[0]) < set(every[0]) and set(core[1]) < set(every[1])
    assert {op.takes for op in core[0]} == {op.gives for op in core[0]} == {"integers"}
    for operations, reducers in (core, every):
        assert {op.gives for op in operations} <= {reducer.takes for reducer in reducers}
