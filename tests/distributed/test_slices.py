"""A model whose ranks read their own slices is the model that transformers reads whole, bit for bit, and is proven like it."""

import dataclasses
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.distributed.harness import full_state, run_on_ranks
from tests.unit.models.families import VOCAB, family
from wmtp.config.training import LoraConfig, ModelConfig
from wmtp.errors import ModelError
from wmtp.models.build import build_model, parallelize
from wmtp.models.file_tensors import Place
from wmtp.models.load import from_causal_lm
from wmtp.models.lora import add_adapters
from wmtp.models.save import write_language_model
from wmtp.models.slices import open_heads
from wmtp.models.start import layout_of
from wmtp.models.value import ValueModel, load_value_model, write_value_model

KINDS = ["llama", "gemma3_text", "granite", "mixtral", "qwen3_next", "gpt_oss", "glm4_moe", "gpt_neox", "gpt2"]
"""Windows, tied embeddings, experts one by one and together, buffers that are saved, and names that are other ones in files."""


def build(folder, n_future, **changes):
    config = ModelConfig(pretrained=str(folder), n_future=n_future, **changes)
    return build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=0)


def sharded(world, folder, n_future, **changes):
    """The whole state on rank 0, what generates with it, and whether anything was there before it was sharded."""
    model = build(folder, n_future, **changes)
    size = sum(parameter.numel() for name, parameter in model.named_parameters() if not parameter.is_meta)
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=True)
    return full_state(model), model.generation_config.to_dict(), size


def whole(folder, n_future, variant="parallel", start="copy", **options):
    """The same by transformers' own reading."""
    source = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return from_causal_lm(source, n_future, layout=layout_of(variant, 1, start), start=start, **options)


def require_equal(state, due):
    assert state.keys() == due.keys()
    for name, tensor in due.items():
        assert state[name].dtype == tensor.dtype and torch.equal(state[name], tensor), name


@pytest.mark.parametrize("name", KINDS)
def test_slices_are_the_model_that_transformers_reads(name, tmp_path):
    family(name).bfloat16().save_pretrained(tmp_path / "model", max_shard_size=20_000)
    (state, generation, size), _ = run_on_ranks(2, sharded, tmp_path / "model", 3, tmp_path=tmp_path)
    due = whole(tmp_path / "model", 3)
    assert size == 0 and generation == due.generation_config.to_dict()
    require_equal(state, due.state_dict())


STARTS = [("sequential", "identity"), ("sequential", "copy"), ("parallel", "zero_residual"), ("parallel", "random")]


@pytest.mark.parametrize(("variant", "start"), STARTS)
@pytest.mark.parametrize("name", ["gemma3_text", "qwen3_moe"])
def test_heads_start_as_on_a_model_that_is_read_whole(name, variant, start, tmp_path):
    """Gemma's norms have a gain of one more than their weight."""
    family(name).save_pretrained(tmp_path / "model")
    options = {"head_variant": variant, "head_init": start}
    (state, _, size), _ = run_on_ranks(2, sharded, tmp_path / "model", 3, **options, tmp_path=tmp_path)
    assert size == (0 if variant == "parallel" else 4 * 32)  # norms without gain
    require_equal(state, whole(tmp_path / "model", 3, variant, start, seed=0).state_dict())


def adapted(world, folder, target):
    """Parameters by name, their adapters' second factors no longer zero, and what is saved of them."""
    model = build(folder, 2, lora=LoraConfig(rank=2))
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.fill_(0.25)
    before = {n.replace("_checkpoint_wrapped_module.", ""): p.full_tensor() for n, p in model.named_parameters()}
    if world.is_main:
        target.mkdir()
    world.barrier()
    write_language_model(model, target, is_main=world.is_main, shard_bytes=20_000)
    return before


def test_adapters_are_on_a_model_that_was_read_in_slices_and_are_merged_shard_by_shard(tmp_path):
    family("qwen3").save_pretrained(tmp_path / "model")
    found, _ = run_on_ranks(2, adapted, tmp_path / "model", tmp_path / "saved", tmp_path=tmp_path)
    model = whole(tmp_path / "model", 2)
    add_adapters(model, LoraConfig(rank=2), 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.fill_(0.25)
    require_equal(found, dict(model.named_parameters()))
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 2
    ids = torch.arange(24).view(2, 12)
    for there, due in zip(saved.head_logits(ids), model.eval().head_logits(ids), strict=True):
        torch.testing.assert_close(there, due, rtol=1e-4, atol=1e-4)


def critic(world, folder, target):
    model = ValueModel(open_heads(folder, "the reference"), seed=5)
    empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    if world.is_main:
        target.mkdir()
    world.barrier()
    write_value_model(model, target, is_main=world.is_main)
    return empty, full_state(model)


def test_a_critic_and_a_tuned_model_are_read_and_written_in_slices(tmp_path):
    source = from_causal_lm(family("granite"), 1)
    source.save_pretrained(tmp_path / "tuned", max_shard_size=20_000)
    (empty, state), _ = run_on_ranks(2, critic, tmp_path / "tuned", tmp_path / "critic", tmp_path=tmp_path)
    due = ValueModel(source, seed=5)
    assert empty == [name for name, _ in due.named_parameters() if name.startswith("backbone.")]
    require_equal(state, due.state_dict())
    require_equal(load_value_model(tmp_path / "critic").state_dict(), due.state_dict())


def swapped(world, folder, start):
    """What is said where two layers' slices are read from one another's places."""
    model = build(folder, 2, head_init=start)
    unread = model.__dict__["unread_slices"]
    sources = dict(unread.sources)
    first, second = ("model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight")
    sources[first], sources[second] = sources[second], sources[first]
    model.__dict__["unread_slices"] = dataclasses.replace(unread, sources=sources)
    try:
        parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    except ModelError as error:
        return str(error)
    return None


@pytest.mark.parametrize("start", ["copy", "identity"])
def test_a_wrong_slice_is_found_on_every_rank(start, tmp_path):
    """Also where more would be tried afterwards."""
    family("qwen3").save_pretrained(tmp_path / "model")
    for said in run_on_ranks(2, swapped, tmp_path / "model", start, tmp_path=tmp_path):
        assert said is not None and "/model: head 0 differs by " in said


def biggest(world, folder):
    """How much the largest read of this rank's was, of the largest tensor."""
    reads, real = [], Place.read

    def read(self, part=()):
        found = real(self, part)
        reads.append(found.numel())
        return found

    Place.read = read
    model = build(folder, 1)
    unread = model.__dict__["unread_slices"]
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    shapes = {name: source.shape for name, source in unread.sources.items()}
    whole_size = sum(math.prod(shape) for shape in shapes.values())
    return sum(reads), max(reads), whole_size, max(math.prod(shape) for shape in shapes.values())


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_a_rank_reads_its_half_and_never_more_than_a_tensor_at_once(name, tmp_path):
    """The first rank reads everything a second time, for the proof; experts are read one by one."""
    family(name).save_pretrained(tmp_path / "model")
    (_, largest, *_), (read, other, size, tensor) = run_on_ranks(2, biggest, tmp_path / "model", tmp_path=tmp_path)
    assert size / 2 * 0.9 < read < size / 2 * 1.1
    assert other <= tensor / 2 and largest <= tensor
    assert name == "llama" or largest <= tensor / 2
