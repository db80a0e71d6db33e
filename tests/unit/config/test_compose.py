import dataclasses
import subprocess
import sys

import pytest
import yaml

from tests.workspaces import PROJECT
from wmtp.config import compose, read_params, write_params
from wmtp.config.arms import NOTHING, NUM_DEPS, weighting_modules
from wmtp.config.compose import dump, to_plain
from wmtp.errors import ConfigError
from wmtp.weightings import Weighting

PROFILES = sorted(path.stem for path in (PROJECT / "configs/profiles").glob("*.yaml"))
ARMS = sorted(path.stem for path in (PROJECT / "configs/arms").glob("*.yaml"))
FILES = {"mbpp": ["data.train_path=train.jsonl", "data.validation_path=validation.jsonl"]}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("arm", ARMS)
def test_every_profile_with_every_arm_survives_params_yaml(profile, arm, tmp_path):
    config = compose(PROJECT, profile, arms=[arm], seeds=[0, 1], overrides=FILES.get(profile, []))
    assert write_params(config, tmp_path / "params.yaml")
    assert read_params(tmp_path / "params.yaml") == config
    assert not write_params(config, tmp_path / "params.yaml")
    assert sorted(config.runs) == [f"{arm}-s0", f"{arm}-s1"]
    assert isinstance(config.arms[arm].weighting, Weighting)


def test_overrides_come_last_and_leave_the_rest_alone():
    plain, changed = compose(PROJECT, "demo"), compose(PROJECT, "demo", overrides=["evaluate.temperature=0.3"])
    assert changed.evaluate.temperature == 0.3
    assert dataclasses.replace(changed, evaluate=plain.evaluate) == plain


def test_an_override_reaches_one_arm():
    config = compose(PROJECT, "demo", arms=["rho1", "random"], overrides=["arms.rho1.weighting.keep_frac=0.7"])
    assert (config.arms["rho1"].weighting.keep_frac, config.arms["random"].weighting.keep_frac) == (0.7, 0.6)


def test_arms_and_seeds_may_be_overrides():
    config = compose(PROJECT, "demo", overrides=["arms=[baseline,rho1]", "seeds=[3]"])
    assert sorted(config.runs) == ["baseline-s3", "rho1-s3"]


def test_a_run_depends_on_the_scores_and_modules_that_its_weighting_needs_and_no_others():
    runs = compose(PROJECT, "demo", arms=["baseline", "rho1", "shuffled", "hybrid"], seeds=[0]).runs
    deps = {run.arm: [dep for dep in run.deps if dep != NOTHING] for run in runs.values()}
    assert deps["baseline"] == ["src/wmtp/weightings/uniform.py"]
    assert deps["rho1"] == [
        "artifacts/scores/reference",
        "src/wmtp/objectives/selection.py",
        "src/wmtp/weightings/rho1.py",
    ]
    assert "src/wmtp/weightings/verifiable.py" in deps["shuffled"] and "artifacts/scores/value" in deps["shuffled"]
    assert {"artifacts/scores/reference", "artifacts/scores/value", "src/wmtp/weightings/rho1.py"} < set(deps["hybrid"])
    assert {len(run.deps) for run in runs.values()} == {NUM_DEPS}


def test_a_column_is_made_for_the_runs_that_need_it_and_no_others():
    plain = compose(PROJECT, "demo", arms=["baseline", "rho1"], seeds=[0, 1])
    assert to_plain(plain)["columns"] == {"base": {}, "start": {}, "wrong": {}}
    config = compose(PROJECT, "demo", arms=["baseline", "sstoken", "token_cleaning"], seeds=[0, 2])
    start = {"s0": {"seed": 0}, "s2": {"seed": 2}}
    assert to_plain(config)["columns"] == {"base": {"reference": {"seed": None}}, "start": start, "wrong": {}}
    assert "artifacts/scores/start/s2" in config.runs["sstoken-s2"].deps
    assert {"artifacts/scores/base/reference", "artifacts/scores/reference"} < set(config.runs["token_cleaning-s0"].deps)


def test_a_weighting_inside_of_another_brings_what_it_needs():
    inner = ["arms.curriculum.weighting.inner.name=sstoken", "arms.curriculum.weighting.inner.keep_frac=0.5"]
    config = compose(PROJECT, "demo", arms=["curriculum"], seeds=[1], overrides=inner)
    assert config.arms["curriculum"].weighting.inner.keep_frac == 0.5
    assert list(config.columns["start"]) == ["s1"]
    assert {"artifacts/scores/start/s1", "src/wmtp/weightings/sstoken.py"} < set(config.runs["curriculum-s1"].deps)


@pytest.mark.parametrize("arm", ARMS)
def test_the_modules_of_a_weighting_are_what_python_imports(arm):
    """In a new interpreter, where nothing of these rooms is imported before: what using the weighting brings along."""
    weighting = compose(PROJECT, "demo", arms=[arm]).arms[arm].weighting
    declared = {path.removeprefix("src/").removesuffix(".py").replace("/", ".") for path in weighting_modules(weighting)}
    script = (
        "import sys, re, inspect\n"
        f"for name in {sorted(declared)}: __import__(name)\n"
        "source = ''.join(inspect.getsource(sys.modules[name]) for name in sys.argv[1:])\n"
        "print(*re.findall(r'^ *from (wmtp[.](?:weightings|objectives)[.][a-z0-9_]+) import', source, re.M))\n"
    )
    found = subprocess.run([sys.executable, "-c", script, *declared], capture_output=True, text=True, check=True)
    of_every_run = {f"wmtp.objectives.{name}" for name in ("linear_nll", "loss", "shift")} | {"wmtp.weightings.base"}
    assert set(found.stdout.split()) - of_every_run <= declared


def test_an_option_that_can_have_no_effect_is_refused():
    for arm, option in (("rho1", "alignment=source"), ("baseline", "alignment=source"), ("ntp", "normalise=none")):
        with pytest.raises(ConfigError, match=f"arms.{arm}.{option.partition('=')[0]}"):
            compose(PROJECT, "demo", arms=[arm], overrides=[f"arms.{arm}.{option}"])
    assert compose(PROJECT, "demo", arms=["hybrid"], overrides=["arms.hybrid.alignment=source"]).arms["hybrid"]


def test_params_yaml_is_sorted_and_says_where_it_comes_from():
    text = dump(compose(PROJECT, "toy"))
    assert text.startswith("# Resolved by `wmtp params --profile toy`")
    loaded = yaml.safe_load(text)
    assert list(loaded) == sorted(loaded) and list(loaded["data"]) == sorted(loaded["data"])
    assert loaded == to_plain(compose(PROJECT, "toy"))


def test_the_committed_params_yaml_is_the_demo():
    assert (PROJECT / "params.yaml").read_text() == dump(compose(PROJECT, "demo"))


@pytest.mark.parametrize(
    ("profile", "arms", "overrides", "said"),
    [
        ("demmo", None, [], "unknown profile 'demmo': did you mean demo?"),
        ("demo", ["basline"], [], "unknown arm 'basline': did you mean baseline?"),
        ("demo", None, ["dta.seed=1"], "unknown override 'dta': did you mean data?"),
        ("demo", None, ["data.sed=1"], "unknown key data.sed: did you mean seed?"),
        ("demo", None, ["data.noise.fraction=1"], "unknown key data.noise.fraction: did you mean frac?"),
        ("demo", None, ["train_policy.optim.name=adam"], "optim.name='adam' is not allowed: use one of adamw, muon"),
        ("demo", None, ["train_policy.train.steps=1.5"], "train_policy.train.steps"),
        ("demo", None, ["evaluate.k=[1,100]"], "evaluate.k=[1, 100] is not allowed: every k in [1, num_samples=10]"),
        ("demo", None, ["data.noise.comments=0.9"], "the four kinds' shares add up to 1"),
        ("demo", None, ["arms.rho1.weighting.keep_fraction=1"], "did you mean keep_frac?"),
        ("demo", None, ["arms.rho1.weighting.keep_frac=0"], "keep_frac"),
        ("demo", None, ["arms.rho1.weighting.name=rho"], "unknown weighting 'rho'"),
        ("demo", None, ["arms.nobody.n_future=2"], "unknown arm in an override 'nobody'"),
        ("demo", None, ["seeds=[a]"], "is not a list of int"),
        ("demo", ["rho1", "rho1"], [], "must name at least one, each once"),
        ("demo", ["sstoken"], ["arms.sstoken.n_future=2"], "arms.sstoken.n_future=2 is not allowed: weighting sstoken"),
        ("demo", ["gae"], ["arms.gae.weighting.alpha=0.05"], "weighting.alpha=0.05 is not allowed: null, or lam=null"),
        ("demo", None, ["evaluate.temperature"], "is not of the form key=value"),
        ("demo", None, ["tune_reference.model.n_future=2"], "the reference is a next-token model"),
        ("demo", None, ["data.max_length=4"], "train_policy.model.n_future=4 is not allowed: less than data.max_length=4"),
        ("mbpp", None, [], "data.train_path=None is not allowed: source=mbpp reads this file"),
    ],
)
def test_a_mistake_names_the_key_the_value_and_what_is_allowed(profile, arms, overrides, said):
    with pytest.raises(ConfigError) as caught:
        compose(PROJECT, profile, arms=arms, overrides=overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_params_yaml_edited_by_hand_is_checked_too(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(dump(compose(PROJECT, "toy")).replace("temperature:", "temprature:"))
    with pytest.raises(ConfigError, match="did you mean temperature"):
        read_params(path)


OWN = ["data.source=jsonl", "data.train_path=a.jsonl", "data.validation_path=b.jsonl"]


def test_the_benchmark_is_the_source_and_params_yaml_names_it(tmp_path):
    for profile, overrides, name in (
        ("demo", [], "synthetic"),
        ("mbpp", FILES["mbpp"], "mbpp"),
        ("mbpp", OWN, "jsonl"),
        ("mbpp", [*OWN, "evaluate.benchmark=null"], "jsonl"),
        ("mbpp", [*OWN, "evaluate.benchmark=jsonl"], "jsonl"),
    ):
        config = compose(PROJECT, profile, overrides=overrides)
        assert (config.data.source, config.evaluate.benchmark) == (name, name)
        write_params(config, tmp_path / "params.yaml")
        assert yaml.safe_load((tmp_path / "params.yaml").read_text())["evaluate"]["benchmark"] == name
        assert read_params(tmp_path / "params.yaml") == config


@pytest.mark.parametrize(
    ("profile", "overrides", "said"),
    [
        ("mbpp", [*FILES["mbpp"], "evaluate.benchmark=gsm8k"], "evaluate.benchmark='gsm8k' is not allowed: the test problems"),
        ("mbpp", [*OWN, "evaluate.benchmark=mbpp"], "are data.source=jsonl's, so use jsonl, or null"),
        ("demo", ["evaluate.benchmark=apps"], "evaluate.benchmark='apps' is not allowed: use one of codecontests, gsm8k"),
        ("demo", ["data.source=gsm8k"], "data.source='gsm8k' is not allowed: its answers are texts"),
        ("demo", ["data.source=humaneval"], "data.source='humaneval' is not allowed: it is a test set"),
        ("demo", ["data.source=jsonl"], "data.train_path=None is not allowed"),
        ("demo", ["evaluate=3"], "evaluate=3 is not allowed: a mapping"),
    ],
)
def test_a_task_set_that_cannot_be_what_it_is_asked_to_be_is_refused_in_one_line(profile, overrides, said):
    with pytest.raises(ConfigError) as caught:
        compose(PROJECT, profile, overrides=overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)
