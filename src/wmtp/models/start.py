"""How heads start that a pretrained model does not have.

Shapes: B batch, T sequence, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wmtp.errors import ModelError
from wmtp.models.heads import ChainedBlock, HeadLayout
from wmtp.models.mtp import MTPForCausalLM

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
def start_heads(model: MTPForCausalLM, start: str, where: str) -> None:
    """Set the further heads' parameters. The model's modules are in evaluation mode.

    - `copy`: the last layer's. Parallel heads then predict what head 0 does.
    - `identity`: a layer that adds nothing, behind head 0: head 0's predictions.
    - `zero_residual`: the last layer's parameters, but it adds nothing: the predictions of the trunk alone.
    - `random`: the family's own distribution, from torch's generator.

    (`shipped` ones are `wmtp.models.shipped`'s business.)

    A chain's projection takes the hidden states and leaves the tokens out, but for `random`.

    Args:
        where: how errors name the model.
    Raises:
        ModelError: it cannot be told by which matrices the family's layers add to the hidden states.
    """
    for head in model.heads[1:]:
        if start == "random":
            _draw(model, head)
            continue
        if isinstance(head, ChainedBlock):
            width = head.eh_proj.out_features
            head.eh_proj.weight.copy_(torch.eye(width, 2 * width).roll(width, dims=1))
        if start in ("identity", "zero_residual"):
            _silence(head.mtp_block if isinstance(head, ChainedBlock) else head)
    if start in ("identity", "zero_residual"):
        _try(model, start, where)


def _draw(model: MTPForCausalLM, head: nn.Module) -> None:
    for module in head.modules():
        for tensor in module.parameters(recurse=False):
            tensor._is_hf_initialized = False  # type: ignore[attr-defined]
        model.model._init_weights(module)


def _silence(block: nn.Module) -> None:
    for name, parameter in block.named_parameters():
        if any(part in _OUTPUTS or part.removesuffix("_bias") in _OUTPUTS for part in name.split(".")):
            parameter.zero_()


def _try(model: MTPForCausalLM, start: str, where: str) -> None:
    """Whether further heads make of random tokens what they should."""
    ids_BT = torch.arange(12, device=model.device).unsqueeze(0) % model.config.vocab_size
    seen: list[torch.Tensor] = []

    def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handle = model.layers[-1].register_forward_pre_hook(see, with_kwargs=True)
    try:
        first, *others = model.head_hidden(ids_BT)
    finally:
        handle.remove()
    due_BTD = first if start == "identity" else model.norm(seen[0])
    for head, found_BTD in enumerate(others, start=1):
        if not torch.allclose(found_BTD, due_BTD, rtol=1e-3, atol=1e-3 * due_BTD.abs().max().item()):
            raise ModelError(
                f"{where}: head {head} does not start as {start}: its layers add by matrices of other names; use copy"
            )
