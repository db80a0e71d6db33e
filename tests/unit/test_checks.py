"""What is refused is named with its key, its value and what is allowed."""

import pytest

from wmtp.checks import nearest, one_of, require
from wmtp.errors import ConfigError


def test_what_holds_is_silent_and_what_does_not_names_everything():
    require(True, "data.seed", 3, "0 or more")
    with pytest.raises(ConfigError) as caught:
        require(False, "data.seed", "three", "0 or more")
    assert str(caught.value) == "data.seed='three' is not allowed: 0 or more"


def test_one_of_lists_what_there_is():
    one_of("train.dtype", "float32", ("float32", "bfloat16"))
    with pytest.raises(ConfigError) as caught:
        one_of("train.dtype", "float16", ("float32", "bfloat16"))
    assert str(caught.value) == "train.dtype='float16' is not allowed: use one of float32, bfloat16"


@pytest.mark.parametrize(
    ("name", "said"),
    [("basline", ": did you mean baseline?"), ("xyz", ": known are baseline, rho1"), (7, ": known are baseline, rho1")],
)
def test_the_nearest_name_is_asked_for_and_all_are_listed_where_none_is_near(name, said):
    assert nearest(name, {"rho1", "baseline"}) == said


def test_where_nothing_is_known_that_is_said():
    assert nearest("keep_frac", []) == ": there are none"
