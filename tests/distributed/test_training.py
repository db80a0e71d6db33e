"""The engine's promises on real gloo ranks: the same numbers for every topology, and bit-exact resumption."""

import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from tests.distributed.harness import full_state, run_on_ranks
from tests.tables import VOCAB, make_tables
from wmtp.checkpoint import Checkpointer
from wmtp.config.arms import load_arm
from wmtp.config.runtime import RuntimeConfig
from wmtp.config.schema import CriticConfig
from wmtp.config.training import LoraConfig, ModelConfig, OptimConfig, TrainConfig
from wmtp.errors import NumericsError
from wmtp.models.build import build_model, parallelize
from wmtp.models.token_order import add_token_order
from wmtp.models.value import ValueModel
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.critic_step import CriticStep
from wmtp.training.loop import train
from wmtp.training.scoring import reference_nll, score_rows, validation_nll
from wmtp.training.steps import LanguageModelStep
from wmtp.training.weight_report import measure

MODEL = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=4, n_heads=2, n_kv_heads=2, n_future=3)
OPTIM, ADAMW = OptimConfig(warmup_steps=2), OptimConfig(name="adamw", warmup_steps=2)


def fit(
    world,
    folder,
    *,
    arm="baseline",
    accumulation=1,
    remat=False,
    steps=6,
    optim=OPTIM,
    kill_at=None,
    resume="resume",
    poison=None,
    patience=None,
    micro_tokens=None,
    model=MODEL,
    dtype="float32",
    masters="float32",
    backend=None,
):
    """Train a tiny policy; (rows of metrics, full state dict)."""
    columns = {"reference_nll": folder / "reference", "value": folder / "value"}
    data = TokenData.open(folder / "data", "train", columns=columns)
    sizes = {"steps": steps, "global_batch_size": 16, "micro_batch_size": 16 // accumulation}
    options = {"activation_checkpointing": remat, "early_stopping_patience": patience, "masters": masters}
    config = TrainConfig(**sizes, eval_interval=3, **options)
    built = build_model(model, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3)
    if arm.endswith("+order"):
        add_token_order(built)
    narrow = {"has_narrow_masters": masters != "float32"}
    sharded = parallelize(built, world.mesh, dtype=dtype, activation_checkpointing=remat, compile_backend=backend, **narrow)
    loader = TrainLoader(
        data,
        batch_size=16,
        num_micro=accumulation,
        micro_tokens=micro_tokens,
        seed=5,
        rank=world.rank,
        world_size=world.size,
    )
    step_function = interrupted(policy_step(world, sharded, data, arm), world, sharded, kill_at, poison)
    state = train(
        world=world,
        model=sharded,
        step_function=step_function,
        loader=loader,
        config=config,
        runtime=RuntimeConfig(log_interval=1, checkpoint_interval=2),
        optim=optim,
        checkpointer=Checkpointer(folder / resume, world),
        validate=lambda: validation_nll(world, sharded, data, 3, batch_tokens=64),
        objective="val/nll_head0",
        on_row=lambda row: None,
        seed=5,
    )
    return state.rows, full_state(sharded)


def interrupted(step_function, world, sharded, kill_at, poison):
    """The same until a rank is killed in a step, `kill_at` (step, rank), or a weight is NaN from a step on."""

    def step_of(batches, step):
        if (step, world.rank) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == poison:
            with torch.no_grad():
                next(p for p in sharded.parameters()).mul_(float("nan"))
        return step_function(batches, step)

    return step_of


def policy_step(world, sharded, data, arm):
    name = arm.removesuffix("+order")
    order = {"token_order": 0.5, "token_order_window": 5} if name != arm else {}
    config = load_arm({"weighting": {"name": "uniform" if name == "baseline" else name}, **order}, arm)
    statistics = measure(config, 3, data, seed=3, num_steps=6)
    return LanguageModelStep(world, sharded, config, 3, num_steps=6, seed=3, statistics=statistics)


def losses(result):
    return torch.tensor([[row["train/loss"], row["train/nll_head2"]] for row in result[0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    make_tables(folder)
    return folder


@pytest.fixture(scope="module")
def alone(tables, tmp_path_factory):
    """One rank, no accumulation: what every other topology must agree with."""

    def train_alone(arm):
        folder = tmp_path_factory.mktemp("alone")
        return run_on_ranks(1, fit, tables, tmp_path=folder, arm=arm, resume=str(folder / "resume"))[0]

    results = {}
    return lambda arm: results.setdefault(arm, train_alone(arm))


TOPOLOGIES = [(1, 4, True), (2, 1, False), (2, 1, True), (2, 4, False), (2, 4, True), (4, 1, True), (4, 4, False)]
SOME = [(2, 4, True), (4, 1, True)]


@pytest.mark.parametrize(
    ("arm", "ranks", "accumulation", "remat"),
    [("rho1", *one) for one in TOPOLOGIES]
    + [(arm, *one) for arm in ("baseline", "verifiable", "random", "entropy", "baseline+order", "rho1+order") for one in SOME],
)
def test_every_topology_trains_the_same_model(tables, alone, tmp_path, arm, ranks, accumulation, remat):
    expected = alone(arm)
    results = run_on_ranks(
        ranks, fit, tables, tmp_path=tmp_path, arm=arm, accumulation=accumulation, remat=remat, resume=str(tmp_path / "resume")
    )
    for result in results:
        torch.testing.assert_close(losses(result), losses(expected), rtol=2e-5, atol=2e-5)
        assert torch.equal(losses(result), losses(results[0])), "every rank reports the same loss"
    for name, tensor in expected[1].items():
        torch.testing.assert_close(results[0][1][name], tensor, rtol=1e-3, atol=2e-4, msg=name)


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    step=st.integers(1, 5),
    rank=st.integers(0, 1),
    arm=st.sampled_from(["rho1", "verifiable"]),
    patience=st.sampled_from([None, 1]),
)
def test_a_run_killed_anywhere_and_resumed_is_bit_identical(tables, tmp_path, step, rank, arm, patience):
    place = tmp_path / f"{step}-{rank}-{arm}-{patience}"
    options = {"tmp_path": tmp_path, "arm": arm, "patience": patience}
    whole = run_on_ranks(2, fit, tables, resume=str(place / "whole"), **options)
    with pytest.raises(AssertionError, match="ranks died"):
        run_on_ranks(2, fit, tables, resume=str(place / "cut"), kill_at=(step, rank), **options)
    resumed = run_on_ranks(2, fit, tables, resume=str(place / "cut"), **options)
    assert all(torch.equal(resumed[0][1][name], tensor) for name, tensor in whole[0][1].items())
    assert torch.equal(losses(resumed[0]), losses(whole[0]))


def test_a_token_budget_changes_the_micro_batches_and_nothing_else(tables, alone, tmp_path):
    results = run_on_ranks(2, fit, tables, tmp_path=tmp_path, arm="rho1", micro_tokens=40, resume=str(tmp_path / "resume"))
    torch.testing.assert_close(losses(results[0]), losses(alone("rho1")), rtol=2e-5, atol=2e-5)
    for name, tensor in alone("rho1")[1].items():
        torch.testing.assert_close(results[0][1][name], tensor, rtol=1e-3, atol=2e-4, msg=name)


def test_bfloat16_compute_follows_float32(tables, alone, tmp_path):
    result = run_on_ranks(2, fit, tables, tmp_path=tmp_path, dtype="bfloat16", resume=str(tmp_path / "resume"))[0]
    torch.testing.assert_close(losses(result), losses(alone("baseline")), rtol=2e-2, atol=2e-2)
    assert {tensor.dtype for tensor in result[1].values()} == {torch.float32}


@pytest.mark.parametrize("masters", ["stochastic", "kahan"])
def test_bfloat16_weights_follow_float32_on_any_number_of_ranks_and_resume_to_the_same_bits(tables, tmp_path, masters):
    def run(ranks, name, **options):
        resume = str(tmp_path / name)
        return run_on_ranks(ranks, fit, tables, tmp_path=tmp_path, optim=ADAMW, resume=resume, **options)[0]

    wide, whole = run(1, "wide"), run(2, "whole", masters=masters)
    torch.testing.assert_close(losses(whole), losses(wide), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(losses(run(1, "alone", masters=masters)), losses(whole), rtol=2e-3, atol=2e-3)
    assert {tensor.dtype for tensor in whole[1].values()} == {torch.bfloat16}
    with pytest.raises(AssertionError, match="ranks died"):
        run(2, "killed", masters=masters, kill_at=(5, 1))
    resumed = run(2, "killed", masters=masters)
    assert all(torch.equal(resumed[1][name], tensor) for name, tensor in whole[1].items())


def test_compiled_blocks_train_the_same_model(tables, alone, tmp_path):
    result = run_on_ranks(2, fit, tables, tmp_path=tmp_path, backend="aot_eager", resume=str(tmp_path / "resume"))[0]
    torch.testing.assert_close(losses(result), losses(alone("baseline")), rtol=2e-4, atol=2e-4)
    assert result[1].keys() == alone("baseline")[1].keys()


def test_adapters_train_alike_on_any_number_of_ranks_and_end_as_plain_weights(tables, tmp_path):
    base = build_model(MODEL, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3)
    base.save_pretrained(tmp_path / "base")
    model = replace(MODEL, pretrained=str(tmp_path / "base"), lora=LoraConfig(rank=2))
    options = {"tmp_path": tmp_path, "model": model, "optim": OptimConfig(name="adamw", warmup_steps=2)}
    (one,) = run_on_ranks(1, fit, tables, resume=str(tmp_path / "one"), **options)
    two = run_on_ranks(2, fit, tables, remat=True, resume=str(tmp_path / "two"), **options)[0]
    torch.testing.assert_close(losses(two), losses(one), rtol=2e-5, atol=2e-5)
    before = base.state_dict()
    assert two[1].keys() == one[1].keys() == before.keys()
    changed = {name for name, tensor in two[1].items() if not torch.equal(tensor, before[name])}
    adapted, further = {name for name in before if ".self_attn." in name}, {name for name in before if ".blocks." in name}
    assert changed == adapted | {name for name in further if ".blocks.0." not in name}, "heads beyond the first train whole"


def test_early_stopping_ends_with_the_best_checkpoint(tables, tmp_path):
    """A learning rate that diverges: validation is best early, and the result is that step's model."""
    options = {
        "tmp_path": tmp_path,
        "steps": 30,
        "optim": OptimConfig(warmup_steps=0, lr=1.0, muon_lr=1.0, schedule="constant"),
    }
    rows, tensors = run_on_ranks(2, fit, tables, resume=str(tmp_path / "stopped"), patience=2, **options)[0]
    validations = {row["step"]: row["val/nll_head0"] for row in rows if "val/nll_head0" in row}
    best = min(validations, key=validations.get)
    assert max(validations) == best + 6 < 30
    (tmp_path / "best").mkdir()
    kept = tmp_path / "stopped" / f"step-{best:08d}"
    shutil.copytree(kept, tmp_path / "best" / kept.name)
    again = run_on_ranks(2, fit, tables, resume=str(tmp_path / "best"), **{**options, "steps": best})[0]
    assert all(torch.equal(again[1][name], tensor) for name, tensor in tensors.items())


def test_resuming_on_another_number_of_ranks_agrees_to_rounding(tables, tmp_path):
    whole = run_on_ranks(2, fit, tables, tmp_path=tmp_path, resume=str(tmp_path / "whole"))
    run_on_ranks(2, fit, tables, tmp_path=tmp_path, steps=6, resume=str(tmp_path / "cut"))
    resumed = run_on_ranks(1, fit, tables, tmp_path=tmp_path, resume=str(tmp_path / "cut"))
    torch.testing.assert_close(losses(resumed[0]), losses(whole[0]), rtol=2e-5, atol=2e-5)


def test_a_truncated_checkpoint_is_passed_over(tables, tmp_path, capfd):
    resume = tmp_path / "resume"
    whole = run_on_ranks(2, fit, tables, tmp_path=tmp_path, resume=str(resume))
    damaged = next((resume / "step-00000004").glob("*.distcp"))
    damaged.write_bytes(damaged.read_bytes()[:-10])
    resumed = run_on_ranks(2, fit, tables, tmp_path=tmp_path, resume=str(resume))
    assert "step-00000004 is damaged" in capfd.readouterr().out
    assert all(torch.equal(resumed[0][1][name], tensor) for name, tensor in whole[0][1].items())


def poisoned(world, folder, resume):
    """What is said of a NaN in the first step, and in the fifth."""
    said = []
    for step in (0, 4):
        try:
            fit(world, folder, resume=resume, poison=step)
        except NumericsError as error:
            said.append(str(error))
    return said


def test_nan_stops_every_rank_and_names_the_step(tables, tmp_path):
    messages = run_on_ranks(2, poisoned, tables, str(tmp_path / "resume"), tmp_path=tmp_path)
    first, fifth = messages[0]
    assert messages[1] == messages[0]
    assert first.endswith(" at step 1; there is no checkpoint yet")
    assert fifth.endswith(" at step 5; the checkpoint of step 4 is kept")
    assert (tmp_path / "resume" / "step-00000004").is_dir()


def train_critic(world, folder, resume):
    data = TokenData.open(folder / "data", "train", columns={"reference_nll": folder / "reference"})
    backbone = build_model(
        ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1),
        vocab_size=VOCAB,
        max_length=32,
        pad_token_id=0,
        eos_token_id=1,
        seed=0,
    )
    sharded = parallelize(ValueModel(backbone), world.mesh, dtype="float32", activation_checkpointing=False)
    loader = TrainLoader(data, batch_size=16, num_micro=1, seed=0, rank=world.rank, world_size=world.size)
    state = train(
        world=world,
        model=sharded,
        step_function=CriticStep(world, sharded, CriticConfig()),
        loader=loader,
        config=TrainConfig(steps=30, global_batch_size=16, micro_batch_size=16),
        runtime=RuntimeConfig(log_interval=1),
        optim=OptimConfig(warmup_steps=2, lr=0.01),
        checkpointer=Checkpointer(folder / resume, world),
        validate=dict,
        objective="",
        on_row=lambda row: None,
        seed=0,
    )
    return [row["train/loss"] for row in state.rows]


def test_the_critic_starts_at_a_half_learns_and_does_not_depend_on_ranks(tables, tmp_path):
    (one,) = run_on_ranks(1, train_critic, tables, str(tmp_path / "one"), tmp_path=tmp_path)
    two = run_on_ranks(2, train_critic, tables, str(tmp_path / "two"), tmp_path=tmp_path)
    last_epoch = sum(one[-3:]) / 3
    assert one[0] == pytest.approx(0.25) and last_epoch < 0.21
    assert two[0] == two[1] and two[0] == pytest.approx(one, abs=1e-3)


def train_narrow_critic(world, folder, resume, pretrained):
    """Two steps in bfloat16 from a checkpoint in bfloat16: the losses, and the dtypes of the weights that are trained."""
    data = TokenData.open(folder / "data", "train", columns={"reference_nll": folder / "reference"})
    config = ModelConfig(pretrained=pretrained, n_future=1)
    backbone = build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=0)
    sharded = parallelize(ValueModel(backbone), world.mesh, dtype="bfloat16", activation_checkpointing=False)
    loader = TrainLoader(data, batch_size=4, num_micro=1, seed=0, rank=world.rank, world_size=world.size)
    state = train(
        world=world,
        model=sharded,
        step_function=CriticStep(world, sharded, CriticConfig()),
        loader=loader,
        config=TrainConfig(steps=2, global_batch_size=4, micro_batch_size=4, dtype="bfloat16"),
        runtime=RuntimeConfig(log_interval=1),
        optim=OptimConfig(warmup_steps=1),
        checkpointer=Checkpointer(folder / resume, world),
        validate=dict,
        objective="",
        on_row=lambda row: None,
        seed=0,
    )
    return [row["train/loss"] for row in state.rows], {str(p.dtype) for p in sharded.parameters()}


def test_a_bfloat16_checkpoint_is_trained_as_a_critic_in_bfloat16_with_float32_weights(tables, tmp_path):
    shape = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, **shape)).bfloat16().save_pretrained(tmp_path / "model")
    found = run_on_ranks(2, train_narrow_critic, tables, str(tmp_path / "bf"), str(tmp_path / "model"), tmp_path=tmp_path)
    assert found[0] == found[1] and found[0][1] == {"torch.float32"}
    assert found[0][0][0] == pytest.approx(0.25, abs=0.01) and len(found[0][0]) == 2


def score(world, folder, scratch):
    data = TokenData.open(folder / "data", "train")
    model = build_model(
        ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1),
        vocab_size=VOCAB,
        max_length=32,
        pad_token_id=0,
        eos_token_id=1,
        seed=0,
    ).eval()
    sharded = parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    flat = score_rows(world, data, reference_nll(sharded), scratch, batch_tokens=70, say=lambda line: None)
    return torch.from_numpy(flat.copy())


def test_scores_are_each_tokens_nll_for_any_number_of_ranks(tables, tmp_path):
    (one,) = run_on_ranks(1, score, tables, tmp_path / "one.npy", tmp_path=tmp_path)
    for scores in run_on_ranks(2, score, tables, tmp_path / "two.npy", tmp_path=tmp_path):
        torch.testing.assert_close(scores, one, rtol=1e-5, atol=1e-5)
    data = TokenData.open(tables / "data", "train")
    model = build_model(
        ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1),
        vocab_size=VOCAB,
        max_length=32,
        pad_token_id=0,
        eos_token_id=1,
        seed=0,
    ).eval()
    ids = torch.from_numpy(data.tokens[: data.offsets[1]].astype("int64"))
    with torch.no_grad():
        logprobs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
    expected = torch.cat([torch.zeros(1), -logprobs[:-1].gather(1, ids[1:, None]).squeeze(1)])
    torch.testing.assert_close(one[: len(ids)], expected, rtol=1e-4, atol=1e-5)
