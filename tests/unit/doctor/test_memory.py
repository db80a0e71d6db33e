"""What is said of a step's memory against what torch's own profiler sees a step allocate, under a fake process group."""

import gc

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from torch.testing._internal.distributed.fake_pg import FakeStore

from wmtp.config.arms import load_arm
from wmtp.config.training import LoraConfig, ModelConfig, OptimConfig
from wmtp.distributed import World
from wmtp.doctor import memory
from wmtp.doctor.memory import Generating, Setting, generation_memory, scoring_memory, training_memory
from wmtp.evaluation.generate import Decoding, Prompt, generate
from wmtp.models.build import build_model, parallelize
from wmtp.models.lora import add_adapters
from wmtp.models.skeleton import skeleton
from wmtp.models.token_order import add_token_order
from wmtp.tokens.data import Batch
from wmtp.training.optim import build_optimizers
from wmtp.training.steps import LanguageModelStep

pytestmark = pytest.mark.slow

SHAPE = {"hidden_size": 128, "intermediate_size": 344, "n_layers": 6, "n_heads": 4, "n_kv_heads": 2, "n_future": 3}


@pytest.fixture
def mesh_of():
    def start(size):
        dist.init_process_group("fake", rank=0, world_size=size, store=FakeStore())
        return dist.init_device_mesh("cpu", (size,))

    yield start
    dist.destroy_process_group()


def held(model, optimizers):
    """Bytes that this rank has between steps."""
    state = [value for one in optimizers for values in one.state.values() for value in values.values()]
    local = [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in (*model.parameters(), *state)]
    return sum(tensor.nbytes for tensor in local)


def measured(mesh, shape, vocab, setting, optimizer, lora, token_order):
    """The largest sum of what a rank's allocator has given, in the second step."""
    config = ModelConfig(**shape)
    model = build_model(config, vocab_size=vocab, max_length=setting.length, pad_token_id=0, eos_token_id=1, seed=0)
    if lora is not None:
        add_adapters(model, lora, seed=0)
    if token_order:
        add_token_order(model)
    masters = {4: "float32", 2: "kahan" if setting.compensation_bytes else "stochastic"}[setting.master_bytes]
    recomputed, is_narrow = setting.activation_checkpointing, masters != "float32"
    sharded = parallelize(model, mesh, dtype=setting.dtype, activation_checkpointing=recomputed, has_narrow_masters=is_narrow)
    if setting.is_eager:
        sharded.set_attn_implementation("eager")
    for module in sharded.modules():
        if isinstance(module, FSDPModule):
            module.set_reshard_after_forward(setting.device == "cuda", recurse=False)
    world = World(0, setting.world_size, torch.device("cpu"), mesh)
    optimizers = build_optimizers(sharded, OptimConfig(name=optimizer), masters=masters)
    arm = load_arm({"weighting": {"name": "uniform"}, "token_order": token_order}, "arm")
    step = LanguageModelStep(world, sharded, arm, config.n_future, num_steps=1)
    ids, whole = torch.randint(2, vocab, (setting.rows, setting.length)), torch.full((setting.rows,), setting.length)
    rows = torch.arange(setting.rows)
    batch = Batch(ids, ids.clone(), torch.zeros_like(whole), whole, torch.ones(setting.rows), rows, rows, {})

    def take(number):
        step([batch], number)
        torch.nn.utils.clip_grad_norm_(sharded.parameters(), 1.0)
        for one in optimizers:
            one.step()
            one.zero_grad(set_to_none=True)

    take(0)
    return held(sharded, optimizers) + allocated(lambda: take(1))


def allocated(work):
    """The most bytes that torch's allocator has given and not got back while this ran."""
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = largest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        largest = max(largest, live)
    return largest


CASES = {
    "one process": (1, 900, {}, {"device": "cpu"}),
    "recomputed": (1, 900, {}, {"device": "cpu", "activation_checkpointing": True}),
    "attention that keeps its probabilities": (1, 900, {}, {"device": "cpu", "is_eager": True}),
    "eight ranks": (8, 900, {}, {"activation_checkpointing": True}),
    "eight ranks that keep everything": (8, 900, {}, {}),
    "a large vocabulary": (4, 9000, {"tie_embeddings": False}, {"activation_checkpointing": True}),
    "tied": (4, 9000, {}, {}),
    "a head": (2, 900, {"n_future": 1}, {}),
    "bfloat16": (2, 900, {}, {"dtype": "bfloat16", "device": "cpu"}),
    "bfloat16 weights": (4, 900, {}, {"master_bytes": 2, "momentum_bytes": 2}),
    "compensated": (4, 900, {}, {"master_bytes": 2, "momentum_bytes": 2, "compensation_bytes": 2}),
    "muon": (4, 900, {"hidden_size": 256, "intermediate_size": 688}, {"activation_checkpointing": True, "momenta": (1, 2)}),
    "token order": (2, 9000, {"n_future": 1}, {}),
    "adapters": (2, 900, {}, {"activation_checkpointing": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_steps_memory_is_what_is_measured(mesh_of, monkeypatch, case):
    size, vocab, shape, options = CASES[case]
    monkeypatch.setattr(memory, "CHUNK_BYTES", dict.fromkeys(("cpu", "cuda"), memory.CHUNK_BYTES["cpu"]))
    setting, shape = Setting(4, 192, size, **options), {**SHAPE, **shape}
    lora = LoraConfig(rank=4, targets=["q_proj", "v_proj"], full_heads=False) if case == "adapters" else None
    optimizer, token_order = "muon" if case == "muon" else "adamw", float(case == "token order")
    model = skeleton(ModelConfig(**shape), vocab_size=vocab, max_length=192, n_future=shape["n_future"], folder=None)
    if lora is not None:
        add_adapters(model, lora, seed=0)
    if token_order:
        add_token_order(model)
    found = training_memory(model, setting)
    measure = measured(mesh_of(size), shape, vocab, setting, optimizer, lora, token_order)
    assert found.total == pytest.approx(measure, rel=0.15)


@pytest.mark.parametrize(("heads", "rows", "gib"), [(1, 8, 19.9), (4, 16, 21.8), (4, 32, 27.1)])
def test_a_step_on_a_gpu_takes_no_more_than_is_said_and_not_much_less(heads, rows, gib):
    """What an H100 allocated for a model of 1.1B parameters (benchmarks/RESULTS.md)."""
    shape = {"hidden_size": 2048, "intermediate_size": 5632, "n_layers": 22, "n_heads": 16, "n_kv_heads": 16}
    model = skeleton(ModelConfig(**shape, n_future=heads), vocab_size=32000, max_length=2048, n_future=heads, folder=None)
    found = training_memory(model, Setting(rows, 2048, 1, "bfloat16", "cuda", activation_checkpointing=True))
    assert gib <= found.total / 2**30 <= 1.2 * gib


@pytest.mark.parametrize(("size", "vocab", "dtype"), [(1, 900, "float32"), (4, 9000, "float32"), (4, 900, "bfloat16")])
def test_a_scoring_passes_memory_is_what_is_measured(mesh_of, monkeypatch, size, vocab, dtype):
    monkeypatch.setattr(memory, "CHUNK_BYTES", dict.fromkeys(("cpu", "cuda"), memory.CHUNK_BYTES["cpu"]))
    config = ModelConfig(**{**SHAPE, "n_future": 1})
    setting = Setting(4, 192, size, dtype, "cuda" if size > 1 else "cpu")
    model = build_model(config, vocab_size=vocab, max_length=192, pad_token_id=0, eos_token_id=1, seed=0)
    sharded = parallelize(model, mesh_of(size), dtype=dtype, activation_checkpointing=False).eval()
    for module in sharded.modules():
        if isinstance(module, FSDPModule):
            module.set_reshard_after_forward(setting.device == "cuda", recurse=False)
    ids = torch.randint(2, vocab, (4, 192))

    def score():
        with torch.no_grad():
            sharded(input_ids=ids, labels_BTH=ids.unsqueeze(-1))

    own = held(sharded, [])
    found = scoring_memory(skeleton(config, vocab_size=vocab, max_length=192, n_future=1, folder=None), setting)
    assert found.total == pytest.approx(own + allocated(score), rel=0.15)


@pytest.mark.parametrize("num_drafts", [0, 2])
def test_what_completions_need_is_what_is_measured(monkeypatch, num_drafts):
    """The cache alone: the held-out NLL has no part in it."""
    monkeypatch.setattr(memory, "NLL_LOGIT_BYTES", 1)
    monkeypatch.setattr(memory, "NLL_TOKENS", 1)
    config = ModelConfig(**SHAPE)
    model = build_model(config, vocab_size=300, max_length=512, pad_token_id=0, eos_token_id=1, seed=0).eval()
    prompts = [Prompt(str(i), tuple([2 + i % 7] * 100)) for i in range(24)]
    decoding = Decoding(0, 0.0, 1.0, 0, 120, 24, num_drafts=num_drafts, eos_token_ids=())

    class Text:
        pad_token_id = 0

        def decode(self, tokens):
            return ""

    found = allocated(lambda: generate(model, Text(), prompts, decoding))
    shape = skeleton(config, vocab_size=300, max_length=512, n_future=3, folder=None)
    said = generation_memory(shape, Generating(24, 100, 120, num_proposals=num_drafts))
    assert said.weights == sum(p.numel() for p in model.parameters()) * 4
    assert said.step == pytest.approx(found, rel=0.15)
