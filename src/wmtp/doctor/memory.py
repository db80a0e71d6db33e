"""How much memory a rank's tensors take at the largest moment of a stage, from a model without parameters.

What a block keeps for its backward pass is seen by running it on fake tensors, whatever its family; the rest is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from wmtp.evaluation.nll import LEAST_TOKENS as NLL_TOKENS
from wmtp.evaluation.nll import LOGIT_BYTES as NLL_LOGIT_BYTES
from wmtp.models.mtp import MTPForCausalLM
from wmtp.objectives.linear_nll import CHUNK_BYTES, CHUNK_ROWS

_WIDE = 4
"""Bytes of float32, which is what reductions, losses and the unembedding's logits are in."""


@dataclass(frozen=True)
class Setting:
    """How a training runs: what `TrainConfig` and the launch configuration say of it.

    `rows`, `length`: of one rank's micro-batch; `device`: `cpu` or `cuda`; `momenta`: numbers that the optimizer keeps for each
    number of a block's matrix (1 for Muon) and of anything else; `is_eager`: attention keeps its (T, T) probabilities.
    """

    rows: int
    length: int
    world_size: int = 1
    dtype: str = "float32"
    device: str = "cuda"
    activation_checkpointing: bool = False
    master_bytes: int = 4
    momentum_bytes: int = 4
    momenta: tuple[int, int] = (2, 2)
    compensation_bytes: int = 0
    reads_values: bool = False
    is_eager: bool = False

    @property
    def bytes_of_compute(self) -> int:
        return 2 if self.dtype == "bfloat16" else _WIDE


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank. `state` stays between steps: weights, and what the optimizer keeps; `step` comes on top of it."""

    weights: int
    optimizer: int
    step: int

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.step


def training_memory(model: MTPForCausalLM, setting: Setting) -> Memory:
    """Of a step of `model`, which is on the meta device, and of no use afterwards.

    The largest moment is one of two: the unembedding's, when everything that the backward pass needs is there and one chunk of
    logits; and the last block's backward pass, when its inner results are there (again) with their gradients.
    """
    blocks = [places[index] for places, index in model.blocks()]
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks]
    total = sum(p.numel() for p in model.parameters())
    trained = [p for p in model.parameters() if p.requires_grad]
    num_trained = sum(p.numel() for p in trained)
    inside = {id(p) for block in blocks for p in block.parameters() if p.ndim == 2}
    num_matrices = sum(p.numel() for p in trained if id(p) in inside)
    moments = setting.momenta[0] * num_matrices + setting.momenta[1] * (num_trained - num_matrices)
    optimizer = (moments * setting.momentum_bytes + num_trained * setting.compensation_bytes) // setting.world_size
    kept = _kept(model, setting)
    step = max(
        _at_unembedding(model, sizes, total, kept, setting),
        _at_block(model, blocks, total, kept, setting),
        _at_muon(num_matrices, num_trained, setting),
    )
    return Memory(total * setting.master_bytes // setting.world_size, optimizer, step)


def scoring_memory(model: MTPForCausalLM, setting: Setting) -> Memory:
    """Of a sharded model's forward passes without gradient; of no use afterwards, as `training_memory`.

    The largest moment is a block's, two thirds of whose inner results are there at once, or that of the unembedding's chunk of
    logits.
    """
    sizes = [sum(p.numel() for p in places[index].parameters()) for places, index in model.blocks()]
    total = sum(p.numel() for p in model.parameters())
    kept, compute = _kept(model, setting), setting.bytes_of_compute
    gathered = (total if setting.device == "cpu" else total - sum(sizes) + 2 * max(sizes)) * compute
    logits = 0 if setting.reads_values else _logits(model, setting, 1)
    step = gathered + 2 * kept.hidden + max(max(kept.blocks) * 2 // 3, logits)
    return Memory(total * setting.master_bytes // setting.world_size, 0, step)


@dataclass(frozen=True)
class Generating:
    """How completions are made: so many `rows` at once, `new` tokens at most after prompts of so many.

    `num_bytes`: of one of the model's numbers; `num_proposals`: heads beside the first that run and have caches.
    """

    rows: int
    prompt: int
    new: int
    num_bytes: int = _WIDE
    num_proposals: int = 0


def generation_memory(model: MTPForCausalLM, how: Generating) -> Memory:
    """Of one rank, which holds the whole model.

    Keys and values, which have room for up to twice what they hold, and the logits of a choice; or those of the held-out NLL.
    """
    config: Any = model.config.decoder_config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * width * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    room = how.prompt
    while room < how.prompt + how.new:
        room *= 2
    num_layers = config.num_hidden_layers + how.num_proposals
    cache = how.rows * room * per_token * num_layers * how.num_bytes * (1 + 2 * num_layers) // (2 * num_layers)  # one grows
    num_heads, vocab = len(model.heads), model.config.vocab_size
    chosen = 4 * how.rows * vocab * _WIDE  # logits, their softmax, and both in order
    read = 3 * max(NLL_TOKENS, NLL_LOGIT_BYTES // (_WIDE * vocab * num_heads)) * vocab * num_heads * _WIDE
    return Memory(sum(p.numel() for p in model.parameters()) * how.num_bytes, 0, max(cache + chosen, read))


def _at_muon(num_matrices: int, num_trained: int, setting: Setting) -> int:
    """While ranks exchange momenta: all of them as they come, as matrices and as updates; each rank's share at work."""
    if setting.momenta[0] != 1:
        return 0
    own = num_trained * setting.master_bytes // setting.world_size
    share = num_matrices * _WIDE // setting.world_size
    return own + (3 * num_matrices * _WIDE if setting.world_size > 1 else 0) + 5 * share


@dataclass(frozen=True)
class _Kept:
    """Bytes that the backward pass needs of the forward pass: of each block, and outside; `hidden`: of one (B, T, D)."""

    blocks: Sequence[int]
    outside: int
    hidden: int

    def between(self, num_heads: int, setting: Setting) -> int:
        """Once the forward pass is over. With activation checkpointing what every block read; heads read the same."""
        if not setting.activation_checkpointing:
            return sum(self.blocks) + self.outside
        return self.outside + self.hidden * (len(self.blocks) - num_heads + 1)

    def until(self, index: int, num_heads: int, setting: Setting) -> int:
        """Likewise, once the backward pass has come to that block. What is outside belongs to the heads, and is given back."""
        num_trunk = len(self.blocks) - num_heads
        outside = self.outside if index >= num_trunk else 0
        if not setting.activation_checkpointing:
            return outside + sum(self.blocks[: index + 1])
        return outside + self.hidden * min(index + 1, num_trunk + 1)


def _at_unembedding(model: MTPForCausalLM, sizes: Sequence[int], total: int, kept: _Kept, setting: Setting) -> int:
    num_heads, compute = 0 if setting.reads_values else len(model.heads), setting.bytes_of_compute
    between = kept.between(len(model.heads), setting)
    matrix = model.unembedding.lm_head.weight.numel()
    gathered = total if setting.device == "cpu" else total - sum(sizes) + max(sizes)
    if not num_heads:
        return between + gathered * compute
    is_narrow, on_cpu = compute < _WIDE, setting.device == "cpu"
    chunk = _logits(model, setting, num_heads)
    products = matrix * _WIDE * (1 + (1 + on_cpu) * is_narrow)
    handed = 3 * num_heads * kept.hidden  # what the heads made, the same in one piece, and its gradient
    if model.token_order is not None:  # comes after the others, whose gradients wait; its softmax takes a second chunk
        chunk = max(chunk, 2 * _logits(model, setting, 1))
        products, handed = products + matrix * _WIDE, handed + kept.hidden
    return between + gathered * compute + chunk + products + handed


def _logits(model: MTPForCausalLM, setting: Setting, num_heads: int) -> int:
    """Of one chunk of rows."""
    compute = setting.bytes_of_compute
    num_rows = num_heads * setting.rows * setting.length
    rows = min(num_rows, max(CHUNK_ROWS, CHUNK_BYTES[setting.device] // (_WIDE * model.config.vocab_size)))
    # rounded to the dtype; a CPU widens them again for its products
    copies = (compute + _WIDE * (setting.device == "cpu")) * (compute < _WIDE)
    return rows * model.config.vocab_size * (_WIDE + copies)


def _at_block(model: MTPForCausalLM, blocks: Sequence[nn.Module], total: int, kept: _Kept, setting: Setting) -> int:
    """Of the block whose backward pass takes the most: those after it are done, and have left their gradients."""
    compute = setting.bytes_of_compute
    num_heads = 0 if setting.reads_values else len(model.heads)
    matrix = model.unembedding.lm_head.weight if num_heads else None
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks]
    trained = [sum(p.numel() for p in block.parameters() if p.requires_grad) for block in blocks]
    gathered = total if setting.device == "cpu" else total - sum(sizes) + 2 * max(sizes)
    reduced = max(*sizes, 0 if matrix is None else matrix.numel())
    reduced *= compute + (_WIDE if compute < _WIDE or setting.world_size > 1 else 0)
    num_done = matrix.numel() if matrix is not None and matrix.requires_grad else 0  # numbers whose gradients there are
    largest = 0
    for index in reversed(range(len(blocks))):
        num_done += trained[index]
        again = kept.blocks[index] if setting.activation_checkpointing else 0
        inner = kept.blocks[index] // 3  # gradients of what the block kept
        own = num_done * setting.master_bytes // setting.world_size
        largest = max(largest, kept.until(index, len(model.heads), setting) + again + inner + own)
    return largest + gathered * compute + reduced + num_heads * kept.hidden


def _kept(model: MTPForCausalLM, setting: Setting) -> _Kept:
    num_trunk = len(model.layers) - 1
    if setting.is_eager:
        model.set_attn_implementation("eager")
    del model.layers[2:-1]  # layers of one kind keep the same: the first two stand for all
    blocks = [places[index] for places, index in model.blocks()]
    found: dict[int, tuple[Any, int]] = {}
    length = setting.length | 1  # no other dimension is odd
    nn.Module.to(model, torch.bfloat16 if setting.dtype == "bfloat16" else torch.float32).train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        own = {p.untyped_storage()._cdata for p in model.parameters()}
        with _watched(blocks) as running:

            def pack(tensor: torch.Tensor) -> torch.Tensor:
                storage = tensor.untyped_storage()
                has_heads = tensor.dim() > 3 and tensor.shape[1] > 1
                is_mask = tensor.shape[-2:] == (length, length) and not has_heads  # none in a batch that is padded on the right
                if storage._cdata not in own and not is_mask:
                    found.setdefault(storage._cdata, (storage, running[-1]))
                return tensor

            ids_BT = torch.zeros(setting.rows, length, dtype=torch.long)
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                model.head_hidden(ids_BT, num_heads=1 if setting.reads_values else None)
    sums = [0] * (len(blocks) + 1)
    for storage, block in found.values():
        sums[block] += storage.nbytes() * setting.length // length
    hidden = setting.rows * setting.length * model.config.hidden_size * setting.bytes_of_compute
    trunk, heads = sums[: len(model.layers) - 1], sums[len(model.layers) - 1 : -1]
    return _Kept([*trunk[:1], *trunk[1:] * (num_trunk - 1), *heads], sums[-1], hidden)


@contextmanager
def _watched(blocks: Sequence[nn.Module]) -> Iterator[list[int]]:
    """Which block is running: the last number of the list, -1 outside of all."""
    running, handles, number_of = [-1], [], {block: number for number, block in enumerate(blocks)}

    def enter(module: nn.Module, args: Any) -> None:
        running.append(number_of[module])

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        running.pop()

    for block in blocks:
        handles += [block.register_forward_pre_hook(enter), block.register_forward_hook(leave)]
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()
