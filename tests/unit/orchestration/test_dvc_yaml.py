"""dvc.yaml against the code and the configuration that it names."""

from pathlib import Path

import grimp
import pytest
import yaml

from tests.workspaces import PROJECT
from wmtp.errors import ConfigError
from wmtp.orchestration.pipeline import expand

STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
INFRASTRUCTURE = (
    "wmtp.config",
    "wmtp.errors",
    "wmtp.progress",
    "wmtp.stages.__init__",
    "wmtp.stages.context",
    "wmtp.stages.output",
    "wmtp.tracking",
    "wmtp.types",
)
"""What every stage imports and no result depends on (the configuration's values are params, not code)."""


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph("wmtp")


def source(module):
    path = Path("src", *module.split("."))
    return str(path / "__init__.py") if (PROJECT / path).is_dir() else f"{path}.py"


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_source_dependencies_are_what_it_imports(name, imports):
    stage = STAGES[name].get("do", STAGES[name])
    listed = [dep for dep in stage["deps"] if dep.startswith("src/")]
    used = {f"wmtp.stages.{name}", *imports.find_upstream_modules(f"wmtp.stages.{name}")}
    paths = {source(module) for module in used if not module.startswith(INFRASTRUCTURE) and module != "wmtp"}
    covered = {path for path in paths if any(path == dep or path.startswith(f"{dep}/") for dep in listed)}
    assert paths - covered - {"src/wmtp/stages/__init__.py"} == set()
    needless = [dep for dep in listed if not any(path == dep or path.startswith(f"{dep}/") for path in paths)]
    assert needless in ([], ["src/wmtp/sandbox/guest"])  # it is run, never imported


def test_commands_say_nothing_about_where_a_stage_runs():
    for name, stage in STAGES.items():
        command = stage.get("do", stage)["cmd"]
        assert command == (f"wmtp stage {name}@${{key}}" if "do" in stage else f"wmtp stage {name}")


def test_no_output_persists_or_escapes_the_cache():
    for stage in STAGES.values():
        assert all(isinstance(out, str) and out.startswith("artifacts/") for out in stage.get("do", stage)["outs"])


def test_a_stages_family_is_its_name():
    names = ["sample", "evaluate@a-s0", "evaluate@b-s0"]
    assert expand("evaluate", names) == ["evaluate@a-s0", "evaluate@b-s0"]
    assert expand("evaluate@a-s0", names) == ["evaluate@a-s0"]
    with pytest.raises(ConfigError, match="did you mean evaluate"):
        expand("evalute", names)
