"""A mapping becomes a dataclass as it is, or an error that names the key."""

import shutil
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Optional

import pytest

from tests.workspaces import PROJECT
from wmtp.config import LaunchConfig, compose, read_params, write_params
from wmtp.config.strict import parse_yaml, reject_unknown, structured
from wmtp.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: list[str] = field(default_factory=lambda: ["a"])

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError("rate is negative")


@dataclass(frozen=True)
class Outer:
    count: int = 1
    on: bool = False
    path: Optional[str] = None
    inner: Inner = field(default_factory=Inner)


def test_what_is_given_is_kept_and_the_rest_is_default_and_nothing_can_be_changed():
    made = structured(Outer, {"count": 3, "inner": {"rate": 0.25}}, "outer")
    assert made == Outer(3, False, None, Inner(0.25, ["a"])) and isinstance(made.inner, Inner)
    assert structured(Outer, {}, "outer") == Outer()
    with pytest.raises(FrozenInstanceError):
        made.inner.rate = 1.0
    assert structured(Outer, {"inner": {"names": []}}, "outer").inner.names == []
    assert structured(Outer, {"inner": {"rate": 1}}, "outer").inner.rate == 1.0, "a whole number is a number"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"cuont": 1}, "unknown key outer.cuont: did you mean count?"),
        ({"inner": {"rte": 1}}, "unknown key outer.inner.rte: did you mean rate?"),
        ({"zzz": 1}, "unknown key outer.zzz: known are count, inner, on, path"),
        ({"count": 1.5}, "outer.count=1.5 is not allowed: a whole number"),
        ({"count": "many"}, "outer.count='many' is not allowed: a whole number"),
        ({"on": "perhaps"}, "outer.on='perhaps' is not allowed: true or false"),
        ({"inner": {"rate": "fast"}}, "outer.inner.rate='fast' is not allowed: a number"),
        ({"inner": {"names": 3}}, "outer.inner.names=3 is not allowed: a list of texts"),
        ({"count": None}, "outer.count=None is not allowed: a whole number"),
        ([1], "outer=[1] is not allowed: a mapping with keys of count, on, path, inner"),
        ("text", "outer='text' is not allowed: a mapping with keys of count, on, path, inner"),
    ],
)
def test_what_does_not_fit_is_one_line_with_the_key(tree, said):
    with pytest.raises(ConfigError) as caught:
        structured(Outer, tree, "outer")
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_range_is_checked_when_the_part_is_built():
    with pytest.raises(ConfigError, match="rate is negative"):
        structured(Outer, {"inner": {"rate": -1.0}}, "outer")


def test_the_first_unknown_name_is_refused():
    reject_unknown(["a", "b"], ("a", "b", "c"), "arm")
    with pytest.raises(ConfigError, match="unknown arm 'x': known are a, b"):
        reject_unknown(["a", "x", "y"], ("a", "b"), "arm")


@pytest.mark.parametrize("text", ["1.10", "on", "0123", "yes", "1e3", "2020-01-01", "0x1F", "~x"])
def test_a_text_is_what_is_written(text, tmp_path):
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    path = tmp_path / "configs/profiles/own.yaml"
    toy = (PROJECT / "configs/profiles/toy.yaml").read_text()
    path.write_text(toy.replace("title: wmtp toy", f"title: {text}"))
    assert compose(tmp_path, "own").report.title == text
    config = compose(tmp_path, "toy", overrides=[f"report.title={text}"])
    write_params(config, tmp_path / "params.yaml")
    assert config.report.title == read_params(tmp_path / "params.yaml").report.title == text


def test_texts_in_lists_and_mappings_too_and_null_is_none():
    assert parse_yaml("env: {A: on, B: 0123}\nsrun: [1.10]\ntracking_uri: null\nslots: 2", LaunchConfig) == {
        "env": {"A": "on", "B": "0123"},
        "srun": ["1.10"],
        "tracking_uri": None,
        "slots": 2,
    }
