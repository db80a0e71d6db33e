"""Every number from its seed: whole stages twice from scratch, and killed and resumed, with dropout and with adapters."""

import shutil

import pytest
import torch

from tests.distributed.harness import run_on_ranks
from tests.distributed.trainings import STAGES, TRAININGS, contents, make_config, make_workspace, run_stages
from tests.tables import VOCAB
from wmtp.config.training import LoraConfig, ModelConfig
from wmtp.distributed import generator_states, restore_generators, seed_everything
from wmtp.models.build import build_model
from wmtp.models.value import ValueModel

VARIANTS = {"whole": {"init": "reference"}, "adapters": {"adapters": True, "init": "scratch"}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module", params=VARIANTS)
def first(request, prepared, tmp_path_factory):
    """All stages, once: (workspace, configuration)."""
    root = tmp_path_factory.mktemp(request.param) / "first"
    shutil.copytree(prepared, root)
    config = make_config(prepared, **VARIANTS[request.param])
    run_stages(root, config, *STAGES, tmp_path=root.parent)
    return root, config


def test_every_training_and_scoring_repeats_from_scratch_to_the_bit(prepared, first, tmp_path):
    root, config = first
    again = tmp_path / "again"
    shutil.copytree(prepared, again)
    run_stages(again, config, *STAGES, tmp_path=tmp_path)
    expected, found = contents(root, *STAGES), contents(again, *STAGES)
    assert found.keys() == expected.keys() and len(found) > 15
    assert [name for name in found if found[name] != expected[name]] == []


@pytest.mark.parametrize("stage", TRAININGS)
def test_every_training_killed_and_resumed_has_the_same_bits(first, tmp_path, stage, capfd):
    root, config = first
    cut = tmp_path / "cut"
    shutil.copytree(root, cut, ignore=shutil.ignore_patterns("resume"))
    for output in STAGES[stage][1]:
        shutil.rmtree(cut / output)
    with pytest.raises(AssertionError, match="ranks died"):
        run_stages(cut, config, stage, kill_at=(5, 1), tmp_path=tmp_path)
    assert contents(cut, stage) == {}
    run_stages(cut, config, stage, tmp_path=tmp_path)
    assert "resumed from step" in capfd.readouterr().out
    expected, found = contents(root, stage), contents(cut, stage)
    assert [name for name in expected if found.get(name) != expected[name]] == []


@pytest.mark.parametrize("stage", TRAININGS)
def test_every_rank_draws_its_own_dropout_at_every_step(first, stage):
    root, config = first
    places = [line for rank in (0, 1) for line in (root / f"drawn-{stage}-{rank}").read_text().splitlines()]
    assert len(places) == len(set(places)) == 2 * config.train_critic.train.steps


def test_dropout_is_on_and_another_seed_draws_another_critic(prepared, first, tmp_path):
    """What the tests above rest on: something is drawn, and it is the seed that decides what."""
    root, config = first
    other = tmp_path / "other"
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("resume"))
    changed = make_config(prepared, adapters=config.train_policy.model.lora.rank > 0, init=config.train_critic.init, seed=5)
    run_stages(other, changed, "train_critic@s0", tmp_path=tmp_path)
    expected, found = contents(root, "train_critic@s0"), contents(other, "train_critic@s0")
    heads = "artifacts/critic/s0/value_head.safetensors"
    assert found[heads] != expected[heads]


def test_on_another_number_of_ranks_dropout_is_seeded_anew_and_it_is_said(first, tmp_path, capfd):
    root, config = first
    outcomes = []
    for name in ("one", "two"):
        place = tmp_path / name
        shutil.copytree(root, place)
        shutil.rmtree(place / "artifacts/critic/s0")
        run_stages(place, config, "train_critic@s0", ranks=1, tmp_path=tmp_path)
        outcomes.append(contents(place, "train_critic@s0"))
        said = capfd.readouterr().out
        assert said.count("was written on 2 x cpu, here is 1 x cpu: dropout is seeded anew") == 1
        assert "resumed from step 4" in said
    assert outcomes[0] == outcomes[1]


def drawn(world, folder):
    """Parameters that building draws (others are still to be read), and dropout masks of two steps, as `train` seeds them."""
    shape = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)
    kinds = {
        "scratch": shape,
        "adapters": ModelConfig(pretrained=str(folder / "pretrained"), n_future=1, n_layers=2, lora=LoraConfig(rank=2)),
    }
    seed_everything(world.rank)  # whatever a rank has drawn before
    built = {}
    for name, config in kinds.items():
        model = build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=7)
        critic = ValueModel(model, head="mlp", seed=7)
        built[name] = {key: tensor.clone() for key, tensor in critic.state_dict().items() if not tensor.is_meta}
    masks = {}
    for seed in (7, 8):
        seed_everything(seed, world.rank)
        masks[seed] = [torch.nn.functional.dropout(torch.ones(64), 0.5) for _ in range(2)]
    return built, masks


def test_ranks_build_the_same_model_and_drop_different_features(prepared, tmp_path):
    (built, masks), (other_built, other_masks) = run_on_ranks(2, drawn, prepared, tmp_path=tmp_path)
    assert len(built["scratch"]) > len(built["adapters"]) and any("lora_A" in key for key in built["adapters"])
    for name, tensors in built.items():
        assert all(torch.equal(tensor, other_built[name][key]) for key, tensor in tensors.items())
    everything = [mask for part in (masks, other_masks) for pair in part.values() for mask in pair]
    assert len({tuple(mask.tolist()) for mask in everything}) == 8


def test_a_critics_own_parameters_do_not_depend_on_what_was_drawn_before():
    shape = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)
    backbone = build_model(shape, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=0)
    one = ValueModel(backbone, seed=3)
    torch.rand(17)
    two, three = ValueModel(backbone, seed=3), ValueModel(backbone, seed=4)
    assert torch.equal(one.nll_projection.weight, two.nll_projection.weight)
    assert not torch.equal(one.nll_projection.weight, three.nll_projection.weight)
    bound = 2**-0.5
    assert one.nll_projection.weight.abs().max() <= bound and one.nll_projection.weight.std() > bound / 3


def test_generators_go_on_where_they_were():
    import random

    import numpy as np

    def draw():
        return random.random(), float(np.random.random()), float(np.random.normal()), torch.rand(3).tolist()

    device = torch.device("cpu")
    seed_everything(11, 1)
    draw()
    states = generator_states(device)
    expected = draw()
    seed_everything(12)
    assert draw() != expected
    restore_generators(states, device)
    assert draw() == expected
