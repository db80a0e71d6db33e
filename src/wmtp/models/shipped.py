"""Multi-token modules that some models ship behind their layers (DeepSeek-V3, GLM-4.5 and others): heads of a chain.

transformers passes them over when it reads the model, and can make them apart.

Shapes: B batch, T sequence, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers.modeling_layers import MtpModel

from wmtp.errors import ModelError
from wmtp.models.load import first_line, prove_heads, ready_for_proof, shipped_names
from wmtp.models.mtp import MTPForCausalLM

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

_RTOL = 1e-4
"""Of the largest number, in float32: what differs by more computes something else."""

_UNKNOWN = {"mtp_hidden_states_first": "are told hidden states first", "chain_hidden_post_norm": "share one norm"}
"""Settings of kinds of modules that heads here are not of."""


def ships_modules(source: PreTrainedModel, folder: Path) -> bool:
    """Whether the files hold modules that transformers can make."""
    return _number(source) > 0 and bool(shipped_names(source, folder))


def _number(source: PreTrainedModel) -> int:
    return int(getattr(source.config, "num_mtp_layers", None) or 0)


def read_modules(source: PreTrainedModel, count: int, where: str) -> MtpModel:
    """The modules of a model that was read from a folder, before heads are put on it.

    Args:
        count: how many there must be at least; where: how errors name the model.
    Raises:
        ModelError: there are none, or fewer, or of another kind than heads can be.
    """
    config, number = source.config, _number(source)
    hint = "use model.head_init=identity"
    if not number:
        raise ModelError(f"{where}: transformers makes no multi-token modules of a {config.model_type} model: {hint}")
    if number < count:
        raise ModelError(f"{where} ships {number} multi-token modules: n_future={count + 1} needs {count}, use {number + 1}")
    for key, what in _UNKNOWN.items():
        if getattr(config, key, None):
            raise ModelError(f"{where}: its multi-token modules {what}, which heads cannot: {hint}")
    kinds = getattr(config, "mtp_layer_types", None)
    if kinds is not None and set(kinds[:count]) != {config.layer_types[-1]}:
        raise ModelError(
            f"{where}: its multi-token modules are layers of {kinds[0]}, its last is of {config.layer_types[-1]}: {hint}"
        )
    patterns = source._keys_to_ignore_on_load_unexpected
    first = config.num_hidden_layers
    numbered = [rf"model\.layers\.{layer}\." for layer in range(first, first + number)]
    named = [pattern for pattern in patterns or () if "mtp" in pattern]
    try:
        source._keys_to_ignore_on_load_unexpected = numbered + named  # the class knows the released sizes' numbers alone
        return cast(MtpModel, MtpModel.from_pretrained(source))
    except Exception as error:  # transformers raises whatever it meets in somebody's files
        raise ModelError(f"{where}: its multi-token modules cannot be read: {first_line(error)}: {hint}") from None
    finally:
        source._keys_to_ignore_on_load_unexpected = patterns


@torch.no_grad()
def take_modules(model: MTPForCausalLM, modules: MtpModel, where: str) -> None:
    """Give every head of the chain its module's parameters, and prove that it computes the same.

    Raises:
        ModelError: a module is built otherwise than the model's last layer, or what a head computes is not what it does.
    """
    for head, module in zip(model.heads[1:], modules.layers, strict=False):
        try:
            head.load_state_dict(cast(Mapping[str, Any], module.state_dict()))
        except RuntimeError:
            raise ModelError(
                f"{where}: its multi-token modules are built otherwise than its last layer: use model.head_init=identity"
            ) from None
    prove_heads(model, where)
    with ready_for_proof(model):
        ids_BT = torch.arange(24).view(2, 12) * 7 % model.config.vocab_size
        first_BTD, *others = model.head_hidden(ids_BT)
        due_BTD = first_BTD
        for place, found_BTD in enumerate(others):
            due_BTD = _of_module(modules.eval(), place, due_BTD[:, : 11 - place], ids_BT)
            difference = (found_BTD[:, : 11 - place] - due_BTD).abs().max().item()
            if not difference <= _RTOL * due_BTD.abs().max().item():
                raise ModelError(f"{where}: head {place + 1} differs by {difference:.2g} from the module that it is to be")


def _of_module(modules: MtpModel, place: int, hidden_BTD: torch.Tensor, ids_BT: torch.Tensor) -> torch.Tensor:
    """transformers' own run of a module, which counts its positions from the token that it is told."""
    ahead_BT = ids_BT[:, place + 1 :]
    positions_BT = torch.arange(place + 1, ids_BT.shape[1]).expand_as(ahead_BT)
    made: torch.Tensor = modules.forward_layer(place, hidden_BTD, positions_BT, None, input_ids=ahead_BT)
    return made
