"""Profiles, arms and overrides become one configuration, and params.yaml holds all of it."""

import dataclasses
import json
import shutil

import pytest
import yaml

from tests.workspaces import PROJECT
from wmtp.config import compose, read_params, write_params
from wmtp.config.compose import build, dump, says, to_plain
from wmtp.errors import ConfigError
from wmtp.weightings import Weighting

PROFILES = sorted(path.stem for path in (PROJECT / "configs/profiles").glob("*.yaml"))
ARMS = sorted(path.stem for path in (PROJECT / "configs/arms").glob("*.yaml"))
GIVEN = ["data.train_path=train.jsonl", "data.validation_path=validation.jsonl"]
FILES = dict.fromkeys(("mbpp", "smollm2", "codecontests", "jsonl", "local", "production"), GIVEN) | {"text": GIVEN[:1]}
INNER = "arms.curriculum.weighting.inner"
OF_SOLUTIONS = ("contrastive", "filtered", "gae", "hybrid", "rho_loss", "shuffled", "verifiable")


@pytest.mark.parametrize(("profile", "arms"), [*(("demo", [arm]) for arm in ARMS), *((profile, ARMS) for profile in PROFILES)])
def test_every_profile_with_all_arms_and_every_arm_alone_survive_params_yaml(profile, arms, tmp_path):
    arms = [arm for arm in arms if profile != "text" or arm not in OF_SOLUTIONS]
    config = compose(PROJECT, profile, arms=arms, seeds=[0, 1], overrides=FILES.get(profile, []))
    assert write_params(config, tmp_path / "params.yaml")
    assert read_params(tmp_path / "params.yaml") == config
    assert not write_params(config, tmp_path / "params.yaml")
    assert sorted(config.runs) == sorted(f"{arm}-s{seed}" for arm in arms for seed in (0, 1))
    assert all(isinstance(config.arms[arm].weighting, Weighting) for arm in arms)


@pytest.mark.parametrize("arm", OF_SOLUTIONS)
def test_documents_are_refused_to_arms_of_solutions(arm):
    with pytest.raises(ConfigError, match=rf"arms\.{arm}\.\S+ is not allowed: .*data\.source=text gives documents"):
        compose(PROJECT, "text", arms=[arm], overrides=FILES["text"])


@pytest.mark.parametrize("profile", ["codecontests", "jsonl"])
def test_data_with_wrong_solutions_of_their_own_get_no_mutants_and_no_noise(profile):
    data = compose(PROJECT, profile, overrides=GIVEN).data
    assert (data.mutants_per_solution, data.noise.frac, data.pairwise) == (0, 0.0, True)


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
        ("demo", None, ["report.k=[1,100]"], "report.k=[1, 100] is not allowed: at most evaluate.num_samples=10"),
        ("demo", None, ["data.noise.comments=0.9"], "the four kinds' shares add up to 1"),
        ("demo", None, ["arms.rho1.weighting.keep_fraction=1"], "did you mean keep_frac?"),
        ("demo", None, ["arms.rho1.weighting.keep_frac=0"], "arms.rho1.weighting.keep_frac=0.0 is not allowed: a number in"),
        ("demo", ["curriculum"], [f"{INNER}.name=rho1", f"{INNER}.keep_frac=0"], f"{INNER}.keep_frac=0.0 is not allowed"),
        ("demo", ["curriculum"], [f"{INNER}.keep=1"], f"unknown key {INNER}.keep: there are none"),
        ("demo", None, ["arms.rho1.weighting.name=rho"], "unknown weighting 'rho'"),
        ("demo", None, ["arms.nobody.n_future=2"], "unknown arm in an override 'nobody'"),
        (
            "demo",
            None,
            ["train_critic.init=scratch", "train_critic.model.n_future=2", "train_critic.model.n_layers=4"],
            "train_critic.model.n_future=2 is not allowed: 1: reference and critic are next-token models",
        ),
        ("demo", None, ["seeds=[a]"], "is not a list of int"),
        ("demo", None, ["seeds=[true]"], "seeds=[True] is not a list of int"),
        ("demo", None, ["seeds=[0,4294967296]"], "seeds=4294967296 is not allowed: 0 to 4294967295"),
        ("demo", None, ["data.heldout_seed=-1"], "data.heldout_seed=-1 is not allowed: 0 to 4294967295"),
        ("demo", ["rho1", "rho1"], [], "must name at least one, each once"),
        ("demo", ["sstoken"], ["arms.sstoken.n_future=2"], "arms.sstoken.n_future=2 is not allowed: weighting sstoken"),
        ("demo", ["gae"], ["arms.gae.weighting.alpha=0.05"], "arms.gae.weighting.alpha=0.05 is not allowed: null, or lam=null"),
        ("demo", None, ["evaluate.temperature"], "is not of the form key=value"),
        ("toy", None, ["tune_reference.model.n_future=2"], "tune_reference.model.n_future=2 is not allowed: 1: reference and"),
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
        ("demo", ["evaluate.benchmark=nowhere"], "evaluate.benchmark='nowhere' is not allowed: use one of apps, codecontests"),
        ("demo", ["data.source=gsm8k"], "trusted with data.source=gsm8k: its answers are texts"),
        ("demo", ["data.source=humaneval"], "trusted with data.source=humaneval: its solutions are bodies of functions"),
        ("demo", ["data.source=jsonl"], "data.train_path=None is not allowed"),
        ("demo", ["evaluate=3"], "evaluate=3 is not allowed: a mapping"),
    ],
)
def test_a_task_set_that_cannot_be_what_it_is_asked_to_be_is_refused_in_one_line(profile, overrides, said):
    with pytest.raises(ConfigError) as caught:
        compose(PROJECT, profile, overrides=overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"[" * 2000, b"a: ${nothing}"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"params\.yaml") as caught:
        read_params(path)
    assert "\n" not in str(caught.value)


def test_an_arm_is_not_called_what_the_reports_metrics_have_already(tmp_path):
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    shutil.copy(tmp_path / "configs/arms/baseline.yaml", tmp_path / "configs/arms/critic.yaml")
    with pytest.raises(ConfigError, match=r"^arms='critic' is not allowed: another name: in the report's metrics\.json"):
        compose(tmp_path, "toy", arms=["critic", "baseline"])
    compose(tmp_path, "toy")


@pytest.mark.parametrize("name", ["x;touch PWNED", "base.v2", "$(id)", "a b", "-rf", "a\nb", "ä"])
def test_a_name_that_a_shell_or_dvc_would_read_otherwise_is_refused_before_anything_is_written(tmp_path, name):
    """Arms' and profiles' names end in commands, file names and dotted keys."""
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    shutil.copy(tmp_path / "configs/arms/baseline.yaml", tmp_path / f"configs/arms/{name}.yaml")
    shutil.copy(tmp_path / "configs/profiles/toy.yaml", tmp_path / f"configs/profiles/{name}.yaml")
    for what in ({"profile": "toy", "arms": [name]}, {"profile": name}):
        with pytest.raises(ConfigError, match="is not allowed: a name of letters, digits, _ and -") as caught:
            compose(tmp_path, **what)
        assert "\n" not in str(caught.value)
    plain = to_plain(compose(tmp_path, "toy"))
    plain["runs"][name] = next(iter(plain["runs"].values()))
    with pytest.raises(ConfigError, match="runs="):
        build(plain)


def test_params_that_dvc_wrote_anew_are_the_same_experiment(tmp_path):
    """`dvc exp run -S` keeps the content and not the form."""
    config = compose(PROJECT, "toy")
    path = tmp_path / "params.yaml"
    assert not says(path, config) and write_params(config, path)
    path.write_text("# another head\n" + json.dumps(to_plain(config)))
    assert says(path, config) and write_params(config, path) is False
    assert not says(path, compose(PROJECT, "toy", overrides=["evaluate.seed=9"]))
    path.write_text("{broken")
    assert not says(path, config) and write_params(config, path)


@pytest.mark.parametrize("profile", ["mbpp", "smollm2"])
def test_validation_is_never_the_test_set_in_a_profile_for_mbpp(profile):
    """Both are drawn from the ends of one order of the 90 problems of MBPP's validation split."""
    data = compose(PROJECT, profile, overrides=FILES[profile]).data
    assert data.num_validation_problems + data.num_test_problems <= 90


@pytest.mark.parametrize(
    ("overrides", "arms", "said"),
    [
        (
            ["evaluate.temperature=0.5", "evaluate.temperature=0.7"],
            None,
            "evaluate.temperature is given twice: .*=0.5 and .*=0.7",
        ),
        (["arms=[rho1]"], ["ntp"], r"arms is given twice: as arms=\['rho1'\] and as \['ntp'\]"),
    ],
)
def test_a_key_that_is_given_twice_is_nobodys_guess(overrides, arms, said):
    with pytest.raises(ConfigError, match=said):
        compose(PROJECT, "toy", overrides=overrides, arms=arms)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["train_policy.model.n_future=3"],
            r"^train_policy\.model\.n_layers=3 is not allowed: .* \(the override is train_policy\.model\.n_future=3\)$",
        ),
        (
            ["train_policy.model.n_heads=3"],
            r"^train_policy\.model\.hidden_size=16 .* \(the override is train_policy\.model\.n_heads=3\)$",
        ),
        (
            ["train_critic.lambda_final=0.5"],
            r"^train_critic\.lambda_hold_steps=300 .* \(the override is train_critic\.lambda_final=0\.5\)$",
        ),
        (
            ["train_policy.model.n_layers=3", "train_policy.model.n_future=3"],
            r"^train_policy\.model\.n_layers=3 .* need a trunk$",
        ),
        (
            ["tune_reference.optim.lr=1", "train_policy.model.n_heads=3"],
            r"\(the override is train_policy\.model\.n_heads=3\)$",
        ),
    ],
)
def test_a_refusal_of_another_key_names_the_override_that_it_is_about(overrides, said):
    with pytest.raises(ConfigError, match=said):
        compose(PROJECT, "toy", overrides=overrides)


@pytest.mark.parametrize("value", [10**9 + 1, 2**63 - 1, 2**63])
def test_a_whole_number_that_none_can_be_so_large_is_refused(value):
    for key in ("train_policy.train.steps", "data.max_length", "evaluate.limit", "score.batch_tokens"):
        with pytest.raises(ConfigError, match=rf"^{key}={value} is not allowed: at most 1000000000$"):
            compose(PROJECT, "toy", overrides=[f"{key}={value}"])
    compose(PROJECT, "toy", seeds=[2**32 - 1], overrides=["evaluate.sandbox.memory_limit_bytes=8589934592"])
    with pytest.raises(ConfigError, match=r"memory_limit_bytes=.* is not allowed: at most 1099511627776$"):
        compose(PROJECT, "toy", overrides=[f"evaluate.sandbox.memory_limit_bytes={2**40 + 1}"])
