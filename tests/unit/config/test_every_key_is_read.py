"""A key that nobody reads does not exist: every leaf of the schema is read by the code or by dvc.yaml.

Told from the source (`tests.unit.config.reads` says what that cannot see), and per section: a key that two sections share must
be read in both, as `train_policy.train.seed` was not while staleness followed it.
"""

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.config.reads import Flow, Program, key_types, leaves
from wmtp.config import Config, LaunchConfig
from wmtp.config.training import SeededTrainConfig

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[3]


def modules():
    """{dotted name: source} of everything that runs."""
    found = {}
    for folder, base in (("src/wmtp", "src"), ("flows", "."), ("tasks", ".")):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(PROJECT / base).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def read_by_dvc():
    """Keys that dvc.yaml interpolates: `${inputs.train}`, and `${item.deps[0]}` for each of `${runs}`."""
    found = set()
    for stage in yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values():
        group = stage.get("foreach", "").strip("${}")
        for key in re.findall(r"\$\{([\w.]+)", str(stage)):
            found.add(key.replace("item", f"{group}.*", 1) if key.startswith("item") else key)
    return found


@pytest.fixture(scope="module")
def program():
    return Program(modules())


def unread(program, overrides=None):
    everything = key_types(Config, overrides=overrides) | key_types(LaunchConfig, "launch")
    return leaves(everything) - Flow(program, everything).reads - read_by_dvc()


def test_every_key_is_read(program):
    assert sorted(unread(program)) == []


def test_a_key_that_one_section_reads_and_another_does_not_is_found(program):
    """The policy's own seed, as it once was: the run's is used, and tuning's and the critic's sections read theirs."""
    assert unread(program, {"train_policy.train": SeededTrainConfig}) == {"train_policy.train.seed"}


SMALL = {
    "wmtp.config.schema": """
class Section: ...
class Config: ...
""",
    "wmtp.stage": """
from functools import partial
from wmtp.config.schema import Config
from wmtp.other import Worker, use

def run(config: Config):
    section, rest = config.one, config.two
    def inner():
        return section.nested
    use(inner().a)
    Worker(section, keep=rest).work()
    for member in config.many.values():
        use(member.d)
    check_all(config)

def check_all(config: Config):
    assert config.two.f
""",
    "wmtp.other": """
class Worker:
    def __init__(self, section, keep):
        self.section, self.keep = section, keep

    def work(self):
        return self.section.b, getattr(self.keep, "c")

def use(value):
    return value
""",
}


def test_sections_are_followed_through_variables_calls_objects_and_loops():
    paths = ("one", "one.nested", "one.nested.a", "one.b", "two", "two.c", "two.f", "many", "many.*", "many.*.d", "many.*.e")
    named = {"": type("Config", (), {})} | {path: type(path, (), {}) for path in paths}
    flow = Flow(Program(SMALL), named)
    assert leaves(named) - flow.reads == {"many.*.e", "two.f"}, "a check is not what a key is for"
