"""Columns over several tables: each is scored once, and a model of another vocabulary is refused."""

import json
import shutil

import numpy as np
import pytest

from tests.distributed.harness import run_processes
from tests.distributed.trainings import make_workspace
from tests.tables import VOCAB
from wmtp.config import LaunchConfig
from wmtp.config.schema import ScoreConfig
from wmtp.config.training import ModelConfig
from wmtp.errors import ConfigError
from wmtp.models.build import build_model
from wmtp.stages.context import StageContext
from wmtp.stages.scoring import load_tuned, score_nll
from wmtp.tokens.data import TokenData
from wmtp.tracking import NullTracker

SHAPE = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)


def make_context(root):
    outputs = {"artifacts/scores/x": root / "artifacts/scores/x"}
    launch = LaunchConfig(device="cpu")
    return StageContext("score_x", root, outputs, root / "resume", "f", launch, NullTracker(), world_size=1)


@pytest.fixture
def root(tmp_path):
    make_workspace(tmp_path)
    data = tmp_path / "artifacts/data"
    shutil.copy(data / "train.arrow", data / "critic.arrow")
    (tmp_path / "artifacts/scores/x").mkdir(parents=True)
    return tmp_path


class Counting:
    """How many models were made, and for which tokens."""

    def __init__(self):
        self.made = []

    def __call__(self, meta):
        self.made.append((meta.vocab_size, meta.pad_token_id))
        return build_model(SHAPE, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3)


def score(root):
    load = Counting()
    tables = ("train", "critic", "critic_validation")
    section = ScoreConfig(batch_tokens=64)
    result = score_nll(make_context(root), load, "x_nll", "artifacts/scores/x", tables=tables, section=section)
    return result, load.made


def test_every_table_has_its_column_and_one_with_the_same_rows_is_scored_once(root, tmp_path):
    ((result, made),) = run_processes(1, score, root, tmp_path=tmp_path)
    assert made == [(VOCAB, 0)]
    folder = root / "artifacts/scores/x"
    names = ("critic.arrow", "critic_validation.arrow", "train.arrow")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names), "the scratch files are gone"
    assert (folder / "critic.arrow").read_bytes() == (folder / "train.arrow").read_bytes()
    assert set(result.metrics) == {"train/x_nll", "critic_validation/x_nll"}
    for table in ("train", "critic", "critic_validation"):
        data = TokenData.open(root / "artifacts/data", table, columns={"x_nll": folder})
        if table != "critic":
            assert result.metrics[f"{table}/x_nll"] == pytest.approx(float(np.mean(data.columns["x_nll"], dtype="float64")))
        assert (data.columns["x_nll"][data.offsets[:-1]] == 0).all() and data.columns["x_nll"].max() > 1
        assert result.counts[f"table/{table}/rows/kept"] == 24


def test_a_model_of_another_tokenizer_is_refused(root):
    """Of another vocabulary, or of the same one for other texts."""
    tuned = root / "artifacts/reference"
    shutil.copytree(root / "pretrained", tuned)
    tokenizer = json.loads((root / "artifacts/data/tokenizer/tokenizer.json").read_text())
    (tuned / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert load_tuned(make_context(root), "artifacts/reference").config.vocab_size == VOCAB
    vocabulary = dict(tokenizer["model"]["vocab"])
    vocabulary["w3"], vocabulary["w4"] = vocabulary["w4"], vocabulary["w3"]  # as many tokens, and other ones
    others = {
        "has number 4 for 'w3', where the data has number 3": {"model": {**tokenizer["model"], "vocab": vocabulary}},
        "normalises text in another way": {"normalizer": {"type": "Lowercase"}},
    }
    for difference, change in others.items():
        (tuned / "tokenizer.json").write_text(json.dumps({**tokenizer, **change}))
        with pytest.raises(ConfigError) as caught:
            load_tuned(make_context(root), "artifacts/reference")
        says = "artifacts/reference has another tokenizer than the data ("
        assert str(caught.value).startswith(says)
        assert str(caught.value).endswith(f": it {difference}; tune it on this dataset")
