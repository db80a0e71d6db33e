"""Ones."""

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.weightings.base import target_weights


def test_none_stands_for_ones():
    assert target_weights(make("uniform"), make_inputs()) is None
