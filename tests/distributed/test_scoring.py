"""The columns that stages write, against the models that they say they are of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.distributed.trainings import STAGES, make_config, make_workspace, run_stages
from tests.tables import VOCAB
from wmtp.config.training import ModelConfig
from wmtp.models.build import build_model
from wmtp.models.mtp import MTPForCausalLM
from wmtp.tokens.data import TokenData

MINE = ("score_base@s0", "score_start@s3", "tune_wrong@s0", "score_wrong@s0")
SHAPE = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=3, n_heads=2, n_kv_heads=2, n_future=2)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A workspace where the reference starts from a pretrained model and the policy from scratch, with two heads."""
    root = make_workspace(tmp_path_factory.mktemp("scored") / "workspace")
    config = make_config(root)
    config = replace(config, train_policy=replace(config.train_policy, model=SHAPE))
    metrics = run_stages(root, config, *MINE, tmp_path=root.parent)
    return root, metrics


def token_nlls(model, tokens):
    """From the logits of one sequence; 0 for the first token."""
    ids = torch.from_numpy(tokens.astype("int64"))
    with torch.no_grad():
        logprobs = model.eval()(input_ids=ids[None]).logits[0].double().log_softmax(-1)
    return np.array([0.0, *(-logprobs[t - 1, ids[t]].item() for t in range(1, len(ids)))])


def models(root):
    fresh = build_model(SHAPE, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3)
    return {
        "base_nll": ("base/s0", MTPForCausalLM.from_pretrained(root / "pretrained")),
        "start_nll": ("start/s3", fresh),
        "wrong_nll": ("wrong/s0", MTPForCausalLM.from_pretrained(root / "artifacts/wrong/s0")),
    }


@pytest.mark.parametrize("column", ["base_nll", "start_nll", "wrong_nll"])
def test_a_column_is_its_models_nll_of_every_token(scored, column):
    root, metrics = scored
    folder, model = models(root)[column]
    data = TokenData.open(root / "artifacts/data", "train", columns={column: root / "artifacts/scores" / folder})
    for row in range(len(data)):
        span = slice(data.offsets[row], data.offsets[row + 1])
        np.testing.assert_allclose(data.columns[column][span], token_nlls(model, data.tokens[span]), rtol=1e-4, atol=1e-4)
    (stage,) = (name for name in metrics if STAGES[name][1] == (f"artifacts/scores/{folder}",))
    assert metrics[stage][f"train/{column}"] == pytest.approx(float(data.columns[column].mean()), rel=1e-5)


def test_the_wrong_reference_learns_from_wrong_solutions(scored):
    """Its own start is the base; after its tuning the wrong rows are likelier, and they gained more than the right ones."""
    root, _ = scored
    places = {name: root / "artifacts/scores" / folder for name, folder in (("base_nll", "base/s0"), ("wrong_nll", "wrong/s0"))}
    gains = {}
    for label in ("right", "wrong"):
        data = TokenData.open(root / "artifacts/data", "train", columns=places)
        rows = np.flatnonzero(data.is_correct == (label == "right"))
        tokens = np.concatenate([np.arange(data.offsets[row] + data.prompt_lens[row], data.offsets[row + 1]) for row in rows])
        gains[label] = float((data.columns["base_nll"] - data.columns["wrong_nll"])[tokens].mean())
    assert gains["wrong"] > 0 and gains["wrong"] > gains["right"]
