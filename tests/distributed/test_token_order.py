"""Token-order prediction on real ranks: its unembedding starts as the model's, trains, resumes, and is not in the policy."""

import dataclasses
import shutil

import pytest
import torch

from tests.distributed.harness import run_on_ranks
from tests.distributed.trainings import RUN, contents, make_config, make_workspace, run_stages
from tests.unit.models.families import VOCAB, family
from wmtp.config.arms import load_arm
from wmtp.config.training import ModelConfig
from wmtp.models.build import build_model, parallelize
from wmtp.models.load import read_heads
from wmtp.models.token_order import add_token_order

STAGE = f"train_policy@{RUN}"


def start(world, folder):
    """Whether it was read in slices; the unembedding and the one that ranks, whole."""
    config = ModelConfig(pretrained=str(folder), n_future=2, n_layers=2)
    model = build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=0)
    add_token_order(model)
    in_slices = all(parameter.is_meta for parameter in model.parameters())
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    return in_slices, *(part.lm_head.weight.full_tensor() for part in (model.unembedding, model.token_order))


@pytest.mark.parametrize("name", ["qwen3", "granite", "mixtral"])
def test_it_starts_as_the_unembedding_however_that_is_read(name, tmp_path):
    """Granite's is tied to the embeddings, and Mixtral's files name tensors otherwise."""
    family(name).save_pretrained(tmp_path / "model")
    for in_slices, unembedding, ranking in run_on_ranks(2, start, tmp_path / "model", tmp_path=tmp_path):
        assert torch.equal(unembedding, ranking) and in_slices


@pytest.mark.parametrize("adapters", [False, True])
def test_a_killed_run_resumes_to_the_same_bits_and_its_policy_has_no_ranking(tmp_path, adapters):
    root = make_workspace(tmp_path / "prepared")
    arm = load_arm({"weighting": {"name": "uniform"}, "token_order": 0.5}, "rho1")
    plain = make_config(root, heads={"warmup_steps": 3}, adapters=adapters)
    config = dataclasses.replace(plain, arms={"rho1": arm})
    for place, kill_at in (("whole", None), ("cut", (5, 1))):
        shutil.copytree(root, tmp_path / place)
        if kill_at is not None:
            with pytest.raises(AssertionError, match="ranks died"):
                run_stages(tmp_path / place, config, STAGE, kill_at=kill_at, tmp_path=tmp_path)
        run_stages(tmp_path / place, config, STAGE, tmp_path=tmp_path)
    whole, cut = (contents(tmp_path / place, STAGE) for place in ("whole", "cut"))
    assert whole.keys() == cut.keys() and [key for key in whole if whole[key] != cut[key]] == []
    losses = [row["train/token_order"] for row in whole[f"artifacts/training/{RUN}/history.jsonl"]]
    assert len(losses) == 6 and losses[2] < losses[0], "it learns while the trunk rests, too"
    policy = read_heads(tmp_path / f"whole/artifacts/policy/{RUN}", "the policy")
    assert policy.token_order is None and not any("token_order" in name for name in policy.state_dict())
