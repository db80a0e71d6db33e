"""What is given from outside: paths and hub ids that become edges of the pipeline and stages of it."""

import pytest

from tests.unit.config.own_files import configured, model, tokenizer, workspace
from wmtp.config import compose
from wmtp.config.compose import build, to_plain
from wmtp.config.given import require_given
from wmtp.config.inputs import DownloadConfig, given, is_hub_id, located
from wmtp.errors import ConfigError

KEYS = {
    "tune_reference.model.pretrained": "reference_model",
    "train_critic.model.pretrained": "critic_model",
    "train_policy.model.pretrained": "policy_model",
    "data.tokenizer.path": "tokenizer",
    "data.train_path": "train",
    "data.validation_path": "validation",
    "data.test_path": "test",
}


@pytest.fixture
def root(tmp_path):
    return workspace(tmp_path)


@pytest.mark.parametrize(("key", "slot"), KEYS.items())
def test_every_given_path_is_a_dependency_and_one_that_is_missing_is_refused(root, key, slot):
    config = configured(root, **{key: "no/such"})
    assert getattr(config.inputs, slot) == "no/such"
    with pytest.raises(ConfigError, match=rf"{key}=no/such does not exist .*owner/name.*@REVISION") as caught:
        require_given(root, config)
    assert "\n" not in str(caught.value)


def test_benchmarks_are_dependencies_too_and_places_that_are_not_needed_name_what_is_there(root):
    config = configured(root, **{"data.benchmarks": "['mbpp:b.jsonl','jsonl:no/such']"})
    assert config.inputs.benchmarks == ["b.jsonl", "no/such", *["src/wmtp/stages/sample.py"] * 2]
    with pytest.raises(ConfigError, match=r"data\.benchmarks\[1\]=no/such does not exist"):
        require_given(root, config)


def test_a_header_is_a_dependency_too_and_never_of_the_hub(root):
    assert configured(root).inputs.testlib == "src/wmtp/sandbox/testlib.py"
    config = configured(root, **{"evaluate.sandbox.testlib": "org/testlib.h@v1"})
    assert config.inputs.testlib == "org/testlib.h@v1" and config.downloads == {}
    said = r"^evaluate\.sandbox\.testlib=org/testlib\.h@v1 does not exist \(paths are relative to [^;]*\)$"
    with pytest.raises(ConfigError, match=said):
        require_given(root, config)


@pytest.mark.parametrize("value", ["org/some.model@main", "org/some.model@HEAD"])
def test_a_branch_is_no_revision_whose_weights_stay(root, value):
    with pytest.raises(ConfigError, match=rf"^train_policy\.model\.pretrained='?{value}'? is not allowed: a commit or a tag"):
        require_given(root, configured(root, **{"train_policy.model.pretrained": value}))


def test_without_any_nothing_is_read_and_nothing_downloaded(root):
    config = compose(root, "toy")
    assert list(given(config)) == [] and config.downloads == {}
    require_given(root, config)


def test_a_hub_id_becomes_a_stage_and_the_folder_that_it_writes_a_dependency(root):
    config = configured(
        root, **{"train_policy.model.pretrained": "org/some.model@3f1a", "data.train_path": "org/set:full:train@v1"}
    )
    by_kind = {one.kind: (key, one.source) for key, one in config.downloads.items()}
    assert by_kind["data"][1] == "org/set:full:train@v1" and by_kind["model"][1] == "org/some.model@3f1a"
    assert config.inputs.train == f"artifacts/downloads/{by_kind['data'][0]}"
    assert config.inputs.policy_model == f"artifacts/downloads/{by_kind['model'][0]}"
    assert config.data.tokenizer.path == "org/some.model@3f1a", "the model's own"
    require_given(root, config)
    assert build(to_plain(config)) == config


def test_another_revision_is_another_folder():
    one, other = (DownloadConfig("model", f"org/model@{revision}") for revision in ("main", "v2"))
    assert one.key != other.key and one.key.startswith("model-org-model-main-")
    assert DownloadConfig("tokenizer", one.source).key != one.key


@pytest.mark.parametrize(
    ("value", "kind", "is_one"),
    [
        ("org/name@abc", "model", True),
        ("org/name", "model", False),
        ("./org/name@abc", "model", False),
        ("/abs/name@abc", "model", False),
        ("org/name:full@abc", "model", False),
        ("org/name@abc", "data", False),
        ("org/name:train@abc", "data", True),
        ("org/name:full:train@abc", "data", True),
        ("org/name:full:train", "data", False),
        ("data/train.jsonl", "data", False),
    ],
)
def test_what_is_a_hub_id_is_told_by_its_form(value, kind, is_one):
    assert is_hub_id(value, kind) is is_one
    assert (located(value, kind) == value) is not is_one


def test_a_model_that_nothing_reads_is_refused(root):
    with pytest.raises(ConfigError, match=r"train_critic\.model\.pretrained='m' is not allowed: null, or init=scratch"):
        configured(root, **{"train_critic.init": "reference", "train_critic.model.pretrained": "m"})
    with pytest.raises(ConfigError, match=r"train_critic\.model\.n_layers=3 is not allowed: 7, or init=scratch: with init=ref"):
        configured(root, **{"train_critic.init": "reference", "train_critic.model.n_layers": 3})


def test_the_tokenizer_is_the_models_where_none_is_named(root):
    tokenizer(model(root / "model"))
    config = configured(root, **{"tune_reference.model.pretrained": "model"})
    assert config.data.tokenizer.path == config.inputs.tokenizer == "model"
    require_given(root, config)
