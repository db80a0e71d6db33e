"""How heads start that a pretrained model does not have.

Shapes: B batch, T sequence, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wmtp.models.heads import ChainedBlock, HeadLayout, unit_norm
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.parts import fill, fill_like, without_wrappers

STARTS = ("copy", "identity", "zero_residual", "random", "shipped")

_OUTPUTS = ("o_proj", "out_proj", "c_proj", "dense", "down_proj", "dense_4h_to_h", "fc2", "fc_out", "w2", "wo")
"""What families call the matrices by which a layer adds to the hidden states. That these are all of them is tried out."""


def layout_of(variant: str, stride: int, start: str) -> HeadLayout:
    """Heads of a variant that start like this: what starts as head 0 does reads what head 0 made."""
    if start == "shipped":
        return HeadLayout(variant, stride, "normed")
    reads = "head0" if start == "identity" or variant == "sequential" else "trunk"
    return HeadLayout(variant, stride, reads)


def default_start(variant: str) -> str:
    """What a null `model.head_init` stands for; see docs/models.md for what was measured."""
    return "identity" if variant == "sequential" else "copy"


@torch.no_grad()
def start_heads(model: MTPForCausalLM, start: str, seed: int = 0) -> None:
    """Set the further heads' parameters, of a sharded model this rank's part of them. The model is in evaluation mode.

    - `copy`: the last layer's. Parallel heads then predict what head 0 does.
    - `identity`: a layer that adds nothing, behind head 0: head 0's predictions.
    - `zero_residual`: the last layer's parameters, but it adds nothing: the predictions of the trunk alone.
    - `random`: the family's own distribution, from `seed`.

    (`shipped` ones are `wmtp.models.shipped`'s business.) Adapters keep their values.

    A chain's projection takes the hidden states and leaves the tokens out, but for `random`.
    """
    if start == "shipped":
        return
    first, *others = (_inner(head) for head in model.heads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for head in others:
            _start(model, first, head, start)


def _start(model: MTPForCausalLM, first: nn.Module, head: nn.Module, start: str) -> None:
    block = head.mtp_block if isinstance(head, ChainedBlock) else head
    _take(block, first)
    if isinstance(head, ChainedBlock):
        _take(head.post_norm, model.norm)
        width = head.eh_proj.out_features
        fill(head.eh_proj.weight, lambda part: torch.eye(width, 2 * width).roll(width, dims=1)[part or ...])
    if start == "random":
        for name, module in head.named_modules():
            if "lora_" not in name:
                _draw(model, module)
    elif start != "copy":
        for name, parameter in block.named_parameters():
            if "lora_" not in name and any(
                part in _OUTPUTS or part.removesuffix("_bias") in _OUTPUTS for part in name.split(".")
            ):
                parameter.zero_()


def _inner(block: nn.Module) -> nn.Module:
    """Of a block whose activations are recomputed."""
    inner: nn.Module = getattr(block, "_checkpoint_wrapped_module", block)
    return inner


def _take(block: nn.Module, other: nn.Module) -> None:
    """Another block's numbers, by name."""
    theirs = {without_wrappers(name): tensor for name, tensor in (*other.named_parameters(), *other.named_buffers())}
    for name, tensor in (*block.named_parameters(), *block.named_buffers()):
        if "lora_" not in name:
            fill_like(tensor, theirs[without_wrappers(name)])


def _draw(model: MTPForCausalLM, module: nn.Module) -> None:
    """The family's own numbers for a module's parameters, each of which is whole while they are drawn."""
    held = dict(module.named_parameters(recurse=False))
    for name, parameter in held.items():
        setattr(module, name, nn.Parameter(torch.empty(parameter.shape)))
    try:
        model.model._init_weights(module)
        for name, parameter in held.items():
            drawn = getattr(module, name).detach()
            fill(parameter, lambda part, drawn=drawn: drawn[part or ...])  # type: ignore[misc]
    finally:
        for name, parameter in held.items():
            setattr(module, name, parameter)


def try_start(model: MTPForCausalLM, start: str) -> str | None:
    """What is wrong, if further heads do not make of random tokens what they should."""
    if start not in ("identity", "zero_residual"):
        return None
    pairs = _chained_predictions(model) if model.config.layout.is_chain else _predictions(model, start)
    for head, (found_BTD, due_BTD) in enumerate(pairs, start=1):
        if not torch.allclose(found_BTD, due_BTD, rtol=1e-3, atol=1e-3 * due_BTD.abs().max().item()):
            return f"head {head} does not start as {start}: its layers add by matrices of other names; use copy"
    return None


_Pairs = list[tuple[torch.Tensor, torch.Tensor]]
"""Of every further head: what is, and what is due."""


def _predictions(model: MTPForCausalLM, start: str) -> _Pairs:
    """What goes to the unembedding, and head 0's, or what a norm makes of the trunk."""
    seen: list[torch.Tensor] = []

    def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    with model.layers[-1].register_forward_pre_hook(see, with_kwargs=True):
        first, *others = model.head_hidden(_some_tokens(model))
    due_BTD = first if start == "identity" else model.norm(seen[0])
    return [(other_BTD, due_BTD) for other_BTD in others]


def _chained_predictions(model: MTPForCausalLM) -> _Pairs:
    """What goes to the unembedding, and what a chain's norms alone make of head 0's output.

    Not head 0's predictions: where a model's hidden states are small, a norm's epsilon counts, and in a chain of norms again.
    """
    _, *others = model.head_hidden(_some_tokens(model))
    _, handed_BTD = model.chain_start(_some_tokens(model))
    norm, pairs = unit_norm(model.norm), []
    for other_BTD in others:
        handed_BTD = norm(handed_BTD)
        pairs.append((other_BTD, model.norm(handed_BTD)))
    return pairs


def _some_tokens(model: MTPForCausalLM) -> torch.Tensor:
    return torch.arange(12, device=model.device).unsqueeze(0) % model.config.vocab_size
