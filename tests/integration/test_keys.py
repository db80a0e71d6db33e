"""On the toy, a changed key makes stale exactly the stages that read it: all stages run here, and every key is changed.

Who reads a key is seen, not told from the source: the configuration's classes note who asks them for what while the stages run.
"""

import dataclasses
import importlib
import re
import sys
from collections import defaultdict

import pytest
import yaml

from docs.make_configuration import stages_that_read
from tests.workspaces import PROJECT
from wmtp.config import LaunchConfig, compose
from wmtp.config.compose import to_plain
from wmtp.errors import ConfigError
from wmtp.stages.context import StageContext
from wmtp.stages.declared import _Part, declared_only
from wmtp.tracking import NullTracker

pytestmark = pytest.mark.slow

ARMS = ["baseline", "rho1", "verifiable"]
STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
COMPOSED = ("profile", "inputs", "runs", "columns", "downloads", "runtime")
"""Sections that nobody sets, or that change no result."""
ITSELF = {"__post_init__", "__eq__", "__repr__", "_view", "plain"}
"""Functions that look at every field of the configuration's, for its own sake."""

MAY_BE_UNREAD = {
    r"arms\.\w+\..*": {"report"},  # which runs again in any case: its runs' outputs change
    r"arms\.\w+\.weighting\.name": {"train_policy", "report"},  # the weighting's class
    r"evaluate\.sandbox\.\w+": {"sample"},  # read where given solutions are judged
    r"(tune_reference|train_policy)\.model\.pretrained": {"sample"},  # its tokenizer is the data's
}
"""Stages that a key makes stale and that do not read it, by the key's pattern."""


def leaves(tree, prefix=""):
    """{dotted key: value}"""
    found = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


class Readers:
    """Who asks the configuration's objects for their fields: {dotted key: stages}."""

    def __init__(self, config):
        self.found, self.stage, self.declared = defaultdict(set), None, ()
        self._keys, self._prefixes = {}, defaultdict(set)
        self._walk(config, "")

    def _walk(self, value, key):
        if dataclasses.is_dataclass(value):
            self._keys[id(value)] = key
            self._prefixes[type(value)].add(key)
            for field in dataclasses.fields(value):
                self._walk(getattr(value, field.name), f"{key}.{field.name}".strip("."))
        elif isinstance(value, dict):
            for name, inner in value.items():
                self._walk(inner, f"{key}.{name}")

    def watch(self, monkeypatch):
        for kind in self._prefixes:
            monkeypatch.setattr(kind, "__getattribute__", self._noting({field.name for field in dataclasses.fields(kind)}))
        monkeypatch.setattr(_Part, "__getattribute__", self._noting(None))

    def _noting(self, names):
        def ask(one, name):
            value = object.__getattribute__(one, name)
            if self.stage is not None and (name in names if names is not None else name[0] != "_") and not looks_at_all():
                for prefix in self._where(one, names is None):
                    self.found[f"{prefix}.{name}".strip(".")].add(self.stage)
            return value

        return ask

    def _where(self, one, is_part):
        """The object's key; of a copy, those of its class that the stage declares."""
        if is_part:
            return [object.__getattribute__(one, "__dict__")["_about"][0]]
        if id(one) in self._keys:
            return [self._keys[id(one)]]
        return [key for key in self._prefixes[type(one)] if key.startswith(self.declared)]


def looks_at_all():
    frame = sys._getframe(2)
    for _ in range(6):
        if frame is None:
            return False
        if frame.f_code.co_name in ITSELF or frame.f_globals.get("__name__") == "dataclasses":
            return True
        frame = frame.f_back
    return False


def instances(group, plain):
    """(name, params, outs) of each stage that dvc.yaml's group becomes."""
    items = {None: None}
    if "foreach" in STAGES[group]:
        items = plain
        for part in STAGES[group]["foreach"].strip("${}").split("."):
            items = items.get(part) or {}
    for key, item in items.items():
        spec = yaml.safe_dump(STAGES[group].get("do", STAGES[group]))
        for name, value in {"key": key, **{f"item.{name}": value for name, value in (item or {}).items()}}.items():
            spec = spec.replace(f"${{{name}}}", str(value))
        spec = yaml.safe_load(spec)
        outs = [out if isinstance(out, str) else next(iter(out)) for out in spec["outs"]]
        yield group if key is None else f"{group}@{key}", spec.get("params", []), outs


def groups_of(key, plain):
    """The groups of dvc.yaml that a key makes stale."""
    return {
        group
        for group in STAGES
        for _, params, _ in instances(group, plain)
        if any(f"{key}.".startswith(f"{param}.") for param in params)
    }


@pytest.fixture(scope="module")
def config():
    return compose(PROJECT, "toy", arms=ARMS, seeds=[0])


@pytest.fixture(scope="module")
def readers(config, tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    readers = Readers(config)
    with pytest.MonkeyPatch.context() as patched:
        readers.watch(patched)
        for group in STAGES:
            for name, params, outs in instances(group, to_plain(config)):
                outputs = {out: root / out for out in outs}
                for folder in (*outputs.values(), root / "resume" / name):
                    folder.mkdir(parents=True)
                context = StageContext(
                    name=name,
                    root=root,
                    outputs=outputs,
                    resume=root / "resume" / name,
                    fingerprint="0",
                    launch=LaunchConfig(nproc_per_node=1),
                    tracker=NullTracker(),
                    runtime=config.runtime,
                )
                view = declared_only(config, params, name)
                readers.stage, readers.declared = group, tuple(params)
                importlib.import_module(f"wmtp.stages.{group}").run(view, context)
                readers.stage = None
    return readers.found


def composed(key, value):
    """(the configuration with this value, None), or (None, why not)."""
    try:
        return compose(PROJECT, "toy", arms=ARMS, seeds=[0], overrides=[f"{key}={value}"]), None
    except ConfigError as error:
        return None, str(error)


def flipped(key, value):
    """The configuration with another value of the key; None where it can have no other, and nothing reads it."""
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, int | float):
        others = [value + 1, value * 2, value / 2, value - 1, 1.0]
    else:
        others = ["other", 1, 0.5, "[1]", "[a]", *([] if value is None else ["null"])]
    while others:
        other = others.pop(0)
        changed, refusal = composed(key, other) if str(other) != str(value) else (None, "")
        if changed is not None:
            return changed
        if "is not read here" in refusal:
            return None
        if other == "other" and "use one of " in refusal:
            others = re.findall(r"\w+", refusal.rpartition("use one of ")[2])
    return None


def test_a_changed_key_makes_stale_who_reads_it_and_nobody_else(config, readers):
    plain = to_plain(config)
    before, wrong, num_changed = leaves(plain), [], 0
    for key, value in before.items():
        if key.split(".")[0] in COMPOSED or key.endswith("weighting.source"):
            continue
        allowed = {group for pattern, groups in MAY_BE_UNREAD.items() if re.fullmatch(pattern, key) for group in groups}
        changed = flipped(key, value)
        if changed is None:
            continue
        num_changed += 1
        after = leaves(to_plain(changed))
        differ = {one for one in {*before, *after} if before.get(one) != after.get(one)}
        stale = {group for one in differ for group in groups_of(one, to_plain(changed))}
        if not readers[key] <= stale or not stale - allowed <= readers[key]:
            wrong.append(f"{key}: {sorted(stale)} are stale, {sorted(readers[key])} read it")
    assert not wrong, "\n".join(wrong)
    assert num_changed > 120


def test_the_page_names_everybody_who_reads_a_key(config, readers):
    """More on the page may read it with other settings; of `runtime` there are none."""
    ran = {group for group in STAGES if list(instances(group, to_plain(config)))}
    for key in leaves(to_plain(config)):
        section, *rest = key.split(".")
        if section in COMPOSED and section != "runtime":
            continue
        named = set(stages_that_read(".".join(["arms", "baseline", *rest[1:]]) if section == "arms" else key, STAGES))
        assert readers[key] <= named, key
        assert section != "runtime" or readers[key] == named & ran, key
