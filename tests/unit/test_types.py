"""Records that every layer shares: plain, and of no weight."""

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from wmtp.types import AssertTest, IOTest, Limits, Problem, Program, Solution, Verdict


def test_a_verdict_passes_by_its_status_alone():
    assert Verdict("passed", 2, 2).passed
    assert not Verdict("wrong_answer", 2, 2).passed and not Verdict("sandbox_error", 0, 0).passed


def test_records_are_values():
    problem = Problem("p", "Add.", (IOTest("1", "2"), AssertTest("assert f()")), solutions=(Solution("x", True),))
    again = Problem("p", "Add.", (IOTest("1", "2"), AssertTest("assert f()")), solutions=(Solution("x", True),))
    assert problem == again and hash(problem) == hash(again)
    assert IOTest("1", "2") != IOTest("1", "3") and Program("x", problem.tests) == Program("x", again.tests, None)
    with pytest.raises(FrozenInstanceError):
        problem.prompt = "Subtract."
    assert Limits(time_limit_s=problem.time_limit_s, memory_limit_bytes=problem.memory_limit_bytes) == Limits()


def test_they_bring_nothing_along():
    code = (
        "import sys; import wmtp.types; print(*(name for name in sys.modules if name.startswith(('wmtp', 'torch', 'numpy'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"wmtp", "wmtp.types"}
