"""docs/configuration.md is made from the code, and every key that a stage depends on is read by it."""

import ast
import inspect
import re
import typing
from pathlib import Path

import grimp
import pytest
import yaml

from docs.make_configuration import PAGE, leaves, made_stale, page, stages_that_read
from tests.workspaces import PROJECT
from wmtp import weightings
from wmtp.config.compose import SECTIONS
from wmtp.config.schema import Config

STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
HINTS = typing.get_type_hints(Config)
KEYS = [key.name for section in SECTIONS for key in leaves(HINTS[section], f"{section}.")]


def test_the_page_is_what_the_schema_says():
    assert PAGE.read_text() == page(), "run `python docs/make_configuration.py`"


def test_every_key_of_every_weighting_is_on_the_page():
    rows = set(re.findall(r"^\| `(\w+)` \| `weighting\.(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert rows == {(name, key) for name in weightings.names() for key in inspect.signature(weightings.kind(name)).parameters}


def names_in(path: Path) -> set[str]:
    """Attributes and texts: configuration is read as `section.key` or `getattr(section, "key")`."""
    tree = ast.walk(ast.parse(path.read_text()))
    return {
        str(node.attr if isinstance(node, ast.Attribute) else node.value)
        for node in tree
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    }


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("wmtp", exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "download"])
def test_a_stage_is_made_stale_by_no_key_that_it_does_not_read(stage, graph):
    modules = {f"wmtp.stages.{stage}", *graph.find_upstream_modules(f"wmtp.stages.{stage}")}
    files = [PROJECT / "src" / module.replace(".", "/") for module in modules if module.partition(".config")[0] == module]
    seen = set().union(*(names_in(file / "__init__.py" if file.is_dir() else file.with_suffix(".py")) for file in files))
    nodes = [node for file in (PROJECT / "src/wmtp/config").glob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    for node in nodes:  # what the configuration says of itself; a check is no use of a key
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "check", "require")):
            seen |= {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    declared = [key for key in KEYS if stage in made_stale(key, STAGES)]
    assert declared and [key for key in declared if key.rpartition(".")[2] not in seen] == []


def test_every_key_makes_some_stage_stale_but_those_that_decide_nothing():
    unread = [key for key in KEYS if not made_stale(key, STAGES)]
    assert unread == [key for key in KEYS if key.startswith("runtime.")]


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith("runtime.")])
def test_what_makes_nothing_stale_is_read_all_the_same(key):
    is_of_evaluation = key in ("runtime.generation_batch_size", "runtime.num_drafts")
    due = ["evaluate"] if is_of_evaluation else ["tune_reference", "train_critic", "train_policy", "tune_wrong"]
    assert made_stale(key, STAGES) == [] and sorted(stages_that_read(key, STAGES)) == sorted(due)
