"""dvc.yaml against the code and the configuration that it names."""

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

import pytest
import yaml

from tests.workspaces import PROJECT
from wmtp import tasksets
from wmtp.config import compose
from wmtp.errors import ConfigError
from wmtp.orchestration import provenance
from wmtp.orchestration.pipeline import expand

SCRIPT = PROJECT / "scripts" / "declare-modules"
TEXT = (PROJECT / "dvc.yaml").read_text()
STAGES = {name: stage.get("do", stage) for name, stage in yaml.safe_load(TEXT)["stages"].items()}
GROUPS = {name: stage["foreach"] for name, stage in yaml.safe_load(TEXT)["stages"].items() if "do" in stage}


@pytest.fixture(scope="module")
def script():
    loader = SourceFileLoader("declare_modules", str(SCRIPT))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graph(script):
    return script.import_graph()


def test_a_stages_modules_are_those_that_it_imports():
    """What to do when this fails is in what the script prints."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_agrees_with_what_python_loads():
    """Importing a stage's module really loads its declared modules, but for those that a function imports when it is called."""
    code = "import sys; import wmtp.stages.train_policy; print(*sorted(m for m in sys.modules if m.startswith('wmtp')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    declared = [dep for dep in STAGES["train_policy"]["deps"] if dep.startswith("src/")]
    modules = {dep.removeprefix("src/").removesuffix(".py").replace("/", ".").removesuffix(".__init__") for dep in declared}
    assert {"wmtp.training.loop", "wmtp.models.mtp", "wmtp.objectives.linear_nll"} <= modules <= set(loaded)


@pytest.mark.parametrize(
    ("stage", "other"),
    [
        ("sample", "src/wmtp/training/loop.py"),
        ("train_policy", "src/wmtp/examples/mutate.py"),
        ("train_policy", "src/wmtp/training/critic_metrics.py"),
        ("train_policy", "src/wmtp/models/value.py"),
        ("tune_reference", "src/wmtp/weightings/rho1.py"),
        ("train_policy", "src/wmtp/weightings/rho1.py"),
        ("evaluate", "src/wmtp/reporting/page.py"),
        ("evaluate", "src/wmtp/training/loop.py"),
        ("report", "src/wmtp/sandbox/pool.py"),
    ],
)
def test_what_a_stage_does_not_use_cannot_make_it_stale(stage, other):
    assert (PROJECT / other).exists() and other not in STAGES[stage]["deps"]


def test_infrastructure_and_what_only_it_imports_is_no_dependency(script, graph):
    found = script.sources(graph, "wmtp.stages.train_policy")
    assert not [path for path in found if "/config/" in path or "/orchestration/" in path or path.endswith("wmtp/__init__.py")]
    assert graph.find_modules_directly_imported_by("wmtp.config.data") & {"wmtp.tasksets"}
    assert "src/wmtp/tasksets/__init__.py" not in found


def test_a_folder_of_data_comes_with_the_module_that_names_it(script, graph):
    assert "src/wmtp/sandbox/guest" in script.sources(graph, "wmtp.sandbox.namespaces")
    assert "src/wmtp/sandbox/guest" not in script.sources(graph, "wmtp.sandbox.checker")
    assert "src/wmtp/reporting/templates" in script.sources(graph, "wmtp.stages.report")


def test_a_parent_that_imports_is_a_dependency_and_one_that_only_speaks_is_not(script, graph):
    assert "src/wmtp/models/__init__.py" in script.sources(graph, "wmtp.models.lora")
    assert "src/wmtp/training/__init__.py" not in script.sources(graph, "wmtp.training.loop")


@pytest.mark.parametrize("stage", ["sample", "evaluate", "report"])
def test_a_task_set_needs_nothing_that_the_stages_that_load_it_do_not_name(script, graph, stage):
    shared = {str(path.relative_to(PROJECT)) for path in (PROJECT / "src/wmtp/problems/published").glob("*.py")}
    for name in tasksets.sources():
        needed = set(script.sources(graph, f"wmtp.tasksets.{name}")) - {f"src/wmtp/tasksets/{name}.py"}
        assert needed - shared <= set(STAGES[stage]["deps"])
        assert not (needed & shared and tasksets.get(name).is_generated), "a generated source does not name them"


def test_rewriting_changes_the_modules_alone(script):
    text = """# head
stages:
  one:
    cmd: x  # why
    deps:
      - data
      # a comment
      - src/old.py
      - ${item.deps[0]}
    outs:
      - src/out
  group:
    foreach: ${runs}
    do:
      deps:
        - src/old.py

  two:
    deps:
      - src/a.py
"""
    after = script.rewritten(text, {"one": ["src/a.py", "src/b.py"], "group": ["src/c.py"], "two": []})
    assert (
        after
        == """# head
stages:
  one:
    cmd: x  # why
    deps:
      - data
      # a comment
      - ${item.deps[0]}
      - src/a.py
      - src/b.py
    outs:
      - src/out
  group:
    foreach: ${runs}
    do:
      deps:
        - src/c.py

  two:
    deps:
"""
    )
    assert script.rewritten(TEXT, script.declared(TEXT)) == TEXT


def test_commands_say_nothing_about_where_a_stage_runs():
    for name, stage in STAGES.items():
        assert stage["cmd"] == (f"wmtp stage {name}@${{key}}" if name in GROUPS else f"wmtp stage {name}")


def test_the_stages_with_ranks_are_those_that_say_so():
    for name, stage in STAGES.items():
        assert stage.get("meta", {}).get("distributed", False) == ("src/wmtp/distributed.py" in stage.get("deps", ())), name


def test_every_stage_leaves_its_provenance_and_nothing_depends_on_one():
    for name, stage in STAGES.items():
        assert provenance.output(f"{name}@${{key}}" if name in GROUPS else name) in stage["outs"]
        assert not [
            dep for dep in stage.get("deps", ()) if dep.startswith(provenance.FOLDER) or provenance.FOLDER.startswith(f"{dep}/")
        ]


def test_the_groups_of_columns_are_those_that_composition_knows():
    groups = {group.removeprefix("${columns.").rstrip("}") for group in GROUPS.values() if group.startswith("${columns.")}
    assert groups == set(compose(PROJECT, "demo").columns)


def test_no_output_persists_or_escapes_the_cache():
    for stage in STAGES.values():
        assert all(isinstance(out, str) and out.startswith("artifacts/") for out in stage["outs"])


def test_a_stages_family_is_its_name():
    names = ["sample", "evaluate@a-s0", "evaluate@b-s0"]
    assert expand("evaluate", names) == ["evaluate@a-s0", "evaluate@b-s0"]
    assert expand("evaluate@a-s0", names) == ["evaluate@a-s0"]
    with pytest.raises(ConfigError, match="did you mean evaluate"):
        expand("evalute", names)
