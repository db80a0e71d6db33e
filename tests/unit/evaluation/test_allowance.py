"""Limits that somebody asks for."""

import pytest

from wmtp import tasksets
from wmtp.errors import ConfigError
from wmtp.evaluation.allowance import AS_PUBLISHED, Allowance
from wmtp.types import AssertTest, Problem

PROBLEMS = [Problem("a", "", (AssertTest("pass"),), time_limit_s=3.0), Problem("b", "", (AssertTest("pass"),))]


def test_what_is_asked_for_takes_the_place_of_every_problems_own():
    both = Allowance(timeout=7.5, memory=100).of(PROBLEMS)
    assert [(one.time_limit_s, one.memory_limit_bytes) for one in both] == [(7.5, 104_857_600)] * 2
    assert [one.time_limit_s for one in Allowance(memory=100).of(PROBLEMS)] == [3.0, 4.0]
    assert AS_PUBLISHED.of(PROBLEMS) == PROBLEMS and AS_PUBLISHED.as_dict() == {"timeout": None, "memory": None}


@pytest.mark.parametrize(("allowance", "option"), [(Allowance(timeout=1.0), "--timeout"), (Allowance(memory=64), "--memory")])
def test_texts_take_nothing(allowance, option):
    allowance.require_use(tasksets.get("mbpp"))
    AS_PUBLISHED.require_use(tasksets.get("gsm8k"))
    with pytest.raises(ConfigError, match=f"^gsm8k has answers that are texts: there is no program for {option} to bound"):
        allowance.require_use(tasksets.get("gsm8k"))
