"""An arm from its keys, what it is refused for, and what its runs depend on."""

import dataclasses
import json
import subprocess
import sys

import pytest

from tests.workspaces import PROJECT
from wmtp import weightings
from wmtp.config import compose
from wmtp.config.arms import NOTHING, NUM_DEPS, ArmConfig, load_arm, load_weighting, make_run, plain, weighting_modules
from wmtp.config.compose import to_plain
from wmtp.errors import ConfigError
from wmtp.weightings.verifiable import Verifiable

ARMS = sorted(path.stem for path in (PROJECT / "configs/arms").glob("*.yaml"))


def test_a_run_depends_on_the_scores_and_modules_that_its_weighting_needs_and_no_others():
    runs = compose(PROJECT, "demo", arms=["baseline", "rho1", "shuffled", "hybrid"], seeds=[0]).runs
    deps = {run.arm: [dep for dep in run.deps if dep != NOTHING] for run in runs.values()}
    assert deps["baseline"] == ["src/wmtp/weightings/uniform.py"]
    assert deps["rho1"] == [
        "artifacts/scores/reference/s0",
        "src/wmtp/objectives/selection.py",
        "src/wmtp/weightings/rho1.py",
    ]
    assert "src/wmtp/weightings/verifiable.py" in deps["shuffled"] and "artifacts/scores/value/s0" in deps["shuffled"]
    assert {"artifacts/scores/reference/s0", "artifacts/scores/value/s0", "src/wmtp/weightings/rho1.py"} < set(deps["hybrid"])
    assert {len(run.deps) for run in runs.values()} == {NUM_DEPS}


def test_a_column_is_made_for_the_runs_that_need_it_and_no_others():
    nothing: dict[str, object] = {"base": {}, "reference": {}, "start": {}, "value": {}, "wrong": {}}
    plain = compose(PROJECT, "demo", arms=["baseline"], seeds=[0, 1])
    assert to_plain(plain)["columns"] == nothing
    config = compose(PROJECT, "demo", arms=["baseline", "sstoken", "token_cleaning"], seeds=[0, 2])
    both = {"s0": {"seed": 0}, "s2": {"seed": 2}}
    assert to_plain(config)["columns"] == nothing | {"base": both, "reference": both, "start": both}
    assert "artifacts/scores/start/s2" in config.runs["sstoken-s2"].deps
    assert {"artifacts/scores/base/s2", "artifacts/scores/reference/s2"} < set(config.runs["token_cleaning-s2"].deps)


def test_a_critic_is_made_from_the_reference_of_its_seed_and_what_is_shared_is_the_first_seeds():
    own = compose(PROJECT, "demo", arms=["baseline", "verifiable"], seeds=[3, 1])
    both = {"s1": {"seed": 1}, "s3": {"seed": 3}}
    assert [to_plain(own)["columns"][group] for group in ("reference", "value")] == [both, both]
    shared = compose(PROJECT, "demo", arms=["baseline", "verifiable"], seeds=[3, 1], overrides=["share_upstream=true"])
    only = {"s3": {"seed": 3}}
    assert [to_plain(shared)["columns"][group] for group in ("reference", "value")] == [only, only]
    assert "artifacts/scores/value/s3" in shared.runs["verifiable-s1"].deps
    assert {name: run.upstream for name, run in shared.runs.items()} == {
        "baseline-s3": 3,
        "baseline-s1": 1,
        "verifiable-s3": 3,
        "verifiable-s1": 3,
    }, "what uses nothing of it does not depend on it"
    assert own.runs["baseline-s1"] == shared.runs["baseline-s1"]
    with pytest.raises(ConfigError, match="share_upstream='maybe' is not allowed: true or false"):
        compose(PROJECT, "demo", overrides=["share_upstream=maybe"])


def test_a_weighting_inside_of_another_brings_what_it_needs():
    inner = ["arms.curriculum.weighting.inner.name=sstoken", "arms.curriculum.weighting.inner.keep_frac=0.5"]
    config = compose(PROJECT, "demo", arms=["curriculum"], seeds=[1], overrides=inner)
    assert config.arms["curriculum"].weighting.inner.keep_frac == 0.5
    assert list(config.columns["start"]) == ["s1"]
    assert {"artifacts/scores/start/s1", "src/wmtp/weightings/sstoken.py"} < set(config.runs["curriculum-s1"].deps)


def declared_by(arm):
    """The modules that a run of this arm depends on."""
    weighting = compose(PROJECT, "demo", arms=[arm]).arms[arm].weighting
    return {path.removeprefix("src/").removesuffix(".py").replace("/", ".") for path in weighting_modules(weighting)}


@pytest.fixture(scope="module")
def imported():
    """In a new interpreter, where nothing of these rooms is imported before: what using each module brings along."""
    names = sorted({name for arm in ARMS for name in declared_by(arm)})
    script = (
        "import importlib, inspect, json, re, sys\n"
        "sources = {name: inspect.getsource(importlib.import_module(name)) for name in sys.argv[1:]}\n"
        "line = r'^ *from (wmtp[.](?:weightings|objectives)[.][a-z0-9_]+) import'\n"
        "print(json.dumps({name: re.findall(line, source, re.M) for name, source in sources.items()}))\n"
    )
    found = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


@pytest.mark.parametrize("arm", ARMS)
def test_the_modules_of_a_weighting_are_what_python_imports(arm, imported):
    declared = declared_by(arm)
    of_every_run = {f"wmtp.objectives.{name}" for name in ("linear_nll", "loss", "shift")} | {"wmtp.weightings.base"}
    assert {name for module in declared for name in imported[module]} - of_every_run <= declared


def test_weightings_inside_of_weightings_are_followed_all_the_way():
    inner = {"name": "curriculum", "inner": {"name": "sstoken"}}
    modules = weighting_modules(load_weighting({"name": "curriculum", "direction": "reverse", "inner": inner}, "weighting"))
    assert {f"src/wmtp/weightings/{name}.py" for name in ("curriculum", "sstoken")} < set(modules)


def test_an_option_that_can_have_no_effect_is_refused():
    without_effect = ("alignment=source", "normalise=none", "token_order_window=8")
    for arm, option in (("rho1", "alignment=source"), *(("baseline", option) for option in without_effect)):
        with pytest.raises(ConfigError, match=f"arms.{arm}.{option.partition('=')[0]}"):
            compose(PROJECT, "demo", arms=[arm], overrides=[f"arms.{arm}.{option}"])
    assert compose(PROJECT, "demo", arms=["hybrid"], overrides=["arms.hybrid.alignment=source"]).arms["hybrid"]
    ranking = ["arms.rho1.token_order=0.5", "arms.rho1.token_order_window=8"]
    assert compose(PROJECT, "demo", arms=["rho1"], overrides=ranking).arms["rho1"].token_order_window == 8


@pytest.mark.parametrize("option", ["token_order=-1", "token_order=0.5 token_order_window=1"])
def test_an_order_of_nothing_is_refused(option):
    with pytest.raises(ConfigError, match=r"arms\.baseline\.token_order"):
        compose(PROJECT, "demo", arms=["baseline"], overrides=[f"arms.baseline.{one}" for one in option.split()])


def test_an_arm_is_its_options_and_its_weightings_keys():
    arm = load_arm({"n_future": 2, "solutions": "correct", "weighting": {"name": "verifiable", "beta": 0.5}}, "mine")
    assert arm == ArmConfig(n_future=2, solutions="correct", weighting=Verifiable(beta=0.5)) and arm.is_weighted
    assert plain(arm) == {
        "n_future": 2,
        "solutions": "correct",
        "alignment": "target",
        "reduction": "head_mean",
        "normalise": "mean_one",
        "token_order": 0.0,
        "token_order_window": 32,
        "head_variant": None,
        "head_stride": None,
        "weighting": {"name": "verifiable", **dataclasses.asdict(Verifiable(beta=0.5))},
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        arm.n_future = 3


@pytest.mark.parametrize("name", weightings.names())
def test_an_arm_of_any_weighting_is_loaded_back_from_its_plain_form(name):
    arm = load_arm({"weighting": {"name": name}}, name)
    assert load_arm(plain(arm), name) == arm


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({}, "arms.mine.weighting needs a name: one of contrastive, "),
        ({"weighting": "rho1"}, "arms.mine.weighting='rho1' is not allowed: a mapping with a name, {name: rho1}"),
        ({"weight": {"name": "rho1"}}, "unknown key arms.mine.weight: did you mean weighting?"),
        ({"weighting": {"keep_frac": 0.5}}, "arms.mine.weighting needs a name: one of contrastive, "),
        ({"weighting": {"name": "rho2"}}, "unknown weighting 'rho2': did you mean rho1?"),
        ({"weighting": {"name": "rho1", "keep": 1}}, "unknown key arms.mine.weighting.keep"),
        ({"weighting": {"name": "rho1", "keep_frac": "x"}}, "arms.mine.weighting.keep_frac='x' is not allowed: a number"),
        ({"weighting": {"name": "rho1"}, "n_futur": 2}, "unknown key arms.mine.n_futur: did you mean n_future?"),
        ({"weighting": {"name": "rho1"}, "n_future": 0}, "arms.mine.n_future=0 is not allowed: at least 1"),
        ({"weighting": {"name": "rho1"}, "solutions": "wrong"}, "arms.mine.solutions='wrong' is not allowed: use one of all,"),
        ({"weighting": {"name": "rho1"}, "alignment": "both"}, "arms.mine.alignment='both' is not allowed: use one of target,"),
        (
            {"weighting": {"name": "rho1"}, "reduction": "sum"},
            "arms.mine.reduction='sum' is not allowed: use one of head_mean,",
        ),
        ({"weighting": {"name": "rho1"}, "normalise": "l2"}, "arms.mine.normalise='l2' is not allowed: use one of mean_one,"),
        ({"weighting": {"name": "curriculum", "inner": {"name": "x"}}}, "unknown weighting 'x'"),
        ({"weighting": {"name": "curriculum", "inner": 3}}, "arms.mine.weighting.inner=3 is not allowed: a mapping"),
        (
            {"weighting": {"name": "curriculum", "inner": {"name": "rho1", "keep": 1}}},
            "unknown key arms.mine.weighting.inner.keep",
        ),
    ],
)
def test_a_mistake_in_an_arm_names_it(tree, said):
    with pytest.raises(ConfigError) as caught:
        load_arm(tree, "mine")
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_run_has_a_place_for_every_dependency_in_dvc_yaml():
    run = make_run(load_arm({"weighting": {"name": "uniform"}}, "plain"), "plain", 3, upstream=0)
    assert (run.arm, run.seed) == ("plain", 3)
    assert run.deps == ["src/wmtp/weightings/uniform.py"] + [NOTHING] * (NUM_DEPS - 1)


def test_every_module_that_a_weighting_depends_on_is_a_file():
    for name in weightings.names():
        modules = weighting_modules(load_weighting({"name": name}, "weighting"))
        assert f"src/wmtp/weightings/{name}.py" in modules and modules == sorted(set(modules))
        assert all((PROJECT / module).is_file() for module in modules)
