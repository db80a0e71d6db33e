"""What is offered can be imported inside; what cannot is refused before anything starts."""

import sys

import pytest

from tests.unit.sandbox.test_packages import made
from wmtp.errors import ConfigError
from wmtp.sandbox.offer import offered_packages


def test_a_package_that_needs_another_is_refused_without_it(tmp_path, monkeypatch):
    made(tmp_path, "thing", **{"thing.py": "import part_of_thing"})
    made(tmp_path, "part", **{"part_of_thing.py": ""})
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(
        ConfigError, match=r"the package thing cannot be imported in the sandbox .* No module named 'part_of_thing'"
    ):
        offered_packages(["thing"])
    assert [package.name for package in offered_packages(["thing", "part", "thing"])] == ["part", "thing"]


def test_nothing_is_started_where_nothing_is_offered():
    assert offered_packages(None) == offered_packages([], ("numpy",)) == ()
