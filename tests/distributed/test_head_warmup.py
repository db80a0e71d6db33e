"""Further heads learn alone at first: the rest keeps its bits, and a run that is killed on either side has the same bits."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.trainings import RUN, contents, make_config, make_workspace, run_stages

STAGE = f"train_policy@{RUN}"
SCORES = ("tune_reference@s0", "score_reference@s0")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = make_workspace(tmp_path_factory.mktemp("prepared"))
    run_stages(root, make_config(root), *SCORES, tmp_path=root.parent)
    return root


def heads(warmup_steps):
    return {"warmup_steps": warmup_steps, "lr_factors": {"final": [1.0, 2.0, 2.0]}}


def trained(prepared, place, warmup_steps, *, killed=False, **options):
    """The contents of a policy, killed at step 5 and resumed from the checkpoint of step 4, or of step 2."""
    shutil.copytree(prepared, place, ignore=shutil.ignore_patterns("resume"))
    config = make_config(prepared, heads=heads(warmup_steps), **options)
    if killed:
        with pytest.raises(AssertionError, match="ranks died"):
            run_stages(place, config, STAGE, kill_at=(5, 1), tmp_path=place)
    run_stages(place, config, STAGE, tmp_path=place)
    return contents(place, STAGE)


@pytest.mark.parametrize(("name", "warmup_steps"), [("adamw", 1), ("adamw", 5), ("muon", 4)])
def test_a_run_resumed_before_at_and_after_the_boundary_has_the_same_bits(prepared, tmp_path, capfd, name, warmup_steps):
    optim = {"name": name}
    expected = trained(prepared, tmp_path / "whole", warmup_steps, optim=optim)
    found = trained(prepared, tmp_path / "cut", warmup_steps, killed=True, optim=optim)
    assert "resumed from step" in capfd.readouterr().out
    assert [key for key in expected if found.get(key) != expected[key]] == []


def test_the_trunk_keeps_its_bits_until_its_time_comes(prepared, tmp_path):
    """The best validated model is the result, and whether the last step, which moves everything, is in it, the record says."""
    place, train = tmp_path / "short", {"steps": 6, "early_stopping_patience": 9}
    shutil.copytree(prepared, place)
    run_stages(place, make_config(prepared, heads=heads(5), train=train), STAGE, tmp_path=tmp_path)
    result = load_file(place / f"artifacts/policy/{RUN}/model.safetensors")
    source = load_file(prepared / "plain/model.safetensors")
    last = "model.layers.1"
    further = [name for name in result if f"{last}.blocks.1." in name or f"{last}.blocks.2." in name]
    same = {name: tensor for name, tensor in result.items() if name not in further and "lm_head" not in name}
    moved = [name for name, tensor in same.items() if not torch.equal(tensor, source[name.replace(".blocks.0.", ".")])]
    steps = [row["step"] for row in contents(place, STAGE)[f"artifacts/training/{RUN}/history.jsonl"] if row["is_result"]]
    assert bool(moved) == (steps == [6]) and further
    start = source[f"{last}.mlp.down_proj.weight"]
    assert not torch.equal(result[f"{last}.blocks.1.mlp.down_proj.weight"], start)
