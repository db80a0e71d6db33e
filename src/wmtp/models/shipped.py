"""Multi-token modules that some models ship behind their layers (DeepSeek-V3, GLM-4.5, Qwen3-Next): heads of a chain.

transformers passes them over when it reads the model, and can make them apart.

Shapes: B batch, T sequence, D width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from accelerate import init_empty_weights
from torch import nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_layers import MtpModel

from wmtp.errors import ModelError, described
from wmtp.models.file_tensors import Source, shipped_names, sources
from wmtp.models.heads import layers_name
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.streamed import stream

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from wmtp.models.slices import Opened

_RTOL = 1e-4
"""Of the largest number, in float32: what differs by more computes something else."""

_UNKNOWN = {"mtp_hidden_states_first": "are told hidden states first", "chain_hidden_post_norm": "share one norm"}
"""Settings of kinds of modules that heads here are not of."""

_APART = {
    "mtp.fc.": "layers.0.eh_proj.",
    "mtp.pre_fc_norm_embedding.": "layers.0.enorm.",
    "mtp.pre_fc_norm_hidden.": "layers.0.hnorm.",
    "mtp.norm.": "layers.0.post_norm.",
    "mtp.layers.0.": "layers.0.mtp_block.",
}
"""Names of Qwen3-Next's one module, and of those that are named like it, and transformers' for the same parts."""

_HINT = "use model.head_init=identity"


@dataclass(frozen=True)
class Modules:
    """transformers' own modules, without parameters, what these are read from, and the model that ships them."""

    model: MtpModel
    sources: Mapping[str, Source]
    plain: Opened

    def sources_of_heads(self, prefix: str, n_future: int) -> dict[str, Source]:
        """By the names that heads' tensors have: `prefix`, the head's number, the name in its module."""
        found = {}
        for name, source in self.sources.items():
            _, place, rest = name.split(".", 2)
            if int(place) < n_future - 1:
                found[f"{prefix}{int(place) + 1}.{rest}"] = source
        return found

    def differing(self, model: MTPForCausalLM) -> str | None:
        """What of the heads computes something else than its module, which rank 0 runs. All ranks call it."""
        ids_BT = torch.arange(24).view(2, 12) * 7 % model.config.vocab_size
        first_BTD, *others = (hidden_BTD.cpu() for hidden_BTD in model.head_hidden(ids_BT.to(model.device)))
        if dist.get_rank() > 0:
            return None
        stream(self.model, self.sources, self.model.layers)
        self.model.tie_with_main_model(self.plain.model)
        due_BTD = first_BTD.float()
        for place, found_BTD in enumerate(others):
            due_BTD = _of_module(self.model.eval(), place, due_BTD[:, : 11 - place], ids_BT)
            difference = (found_BTD[:, : 11 - place] - due_BTD).abs().max().item()
            if not difference <= _RTOL * due_BTD.abs().max().item():
                return f"head {place + 1} differs by {difference:.2g} from the module that it is to be"
        return None


def ships_modules(opened: Opened) -> bool:
    """Whether the files hold modules that transformers can make."""
    return _number(opened) > 0 and bool(_names(opened))


def _number(opened: Opened) -> int:
    if _is_apart(opened):
        return 1
    return int(getattr(opened.model.config, "num_mtp_layers", None) or 0)


def _is_apart(opened: Opened) -> bool:
    names = {name for name in opened.places if name.startswith("mtp.")}
    return bool(names) and all(name.startswith(tuple(_APART)) for name in names)


def _names(opened: Opened) -> list[str]:
    return shipped_names(opened.model, opened.places)


def open_modules(opened: Opened, count: int) -> Modules:
    """The modules of a model, none of which is read.

    Args:
        count: how many there must be at least.
    Raises:
        ModelError: there are none, or fewer, or of another kind than heads can be.
    """
    config, number, where = opened.model.config, _number(opened), opened.where
    if not number:
        raise ModelError(f"{where}: transformers makes no multi-token modules of a {config.model_type} model: {_HINT}")
    if number < count:
        raise ModelError(f"{where} ships {number} multi-token modules: n_future={count + 1} needs {count}, use {number + 1}")
    for key, what in _UNKNOWN.items():
        if getattr(config, key, None):
            raise ModelError(f"{where}: its multi-token modules {what}, which heads cannot: {_HINT}")
    kinds = getattr(config, "mtp_layer_types", None)
    if kinds is not None and set(kinds[:count]) != {config.layer_types[-1]}:
        raise ModelError(
            f"{where}: its multi-token modules are layers of {kinds[0]}, its last is of {config.layer_types[-1]}: {_HINT}"
        )
    try:
        modules, transforms = _made(opened, number)
    except Exception as error:  # transformers raises whatever it meets in somebody's settings
        raise ModelError(f"{where}: its multi-token modules cannot be made: {described(error)}: {_HINT}") from None
    places = [opened.places[name] for name in _names(opened)]
    try:
        found = sources(modules, places, transforms, where)
    except ModelError as error:
        said = str(error).removeprefix(f"{where}: ")
        raise ModelError(f"{where}: its multi-token modules cannot be read: {said}: {_HINT}") from None
    decoder = opened.model.get_decoder()
    last = getattr(decoder, layers_name(decoder))[-1]
    if _shapes(cast(nn.Module, modules.layers[0].mtp_block)) != _shapes(last):
        raise ModelError(f"{where}: its multi-token modules are built otherwise than its last layer: {_HINT}")
    return Modules(modules, found, opened)


def _shapes(block: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in block.state_dict().items()}


def _made(opened: Opened, number: int) -> tuple[MtpModel, list[Any]]:
    """The modules without parameters and without what they share with the model, and transformers' ways to their tensors."""
    main: PreTrainedModel = opened.model
    config = main.config
    try:
        if _is_apart(opened):
            main.config = _with_one_module(main)
        with init_empty_weights(include_buffers=False):
            modules = MtpModel(main, number)
    finally:
        main.config = config
    modules.embed_tokens = modules.shared_head = nn.Identity()
    if _is_apart(opened):
        renamed: list[Any] = [WeightRenaming(f"^{re.escape(name)}", ours) for name, ours in _APART.items()]
        return modules, renamed + get_model_conversion_mapping(main)
    return modules, modules.get_weight_conversions(main)


def _with_one_module(main: PreTrainedModel) -> Any:
    """Its configuration with the module that it ships and says nothing of: a layer like the last one."""
    config = type(main.config).from_dict(main.config.to_dict())
    config._attn_implementation = main.config._attn_implementation
    config.num_mtp_layers = 1
    for key in ("layer_types", "mlp_layer_types"):
        kinds = getattr(config, key, None)
        if kinds is not None:
            setattr(config, f"mtp_{key}", [kinds[-1]])
    return config


def _of_module(modules: MtpModel, place: int, hidden_BTD: torch.Tensor, ids_BT: torch.Tensor) -> torch.Tensor:
    """transformers' own run of a module, which counts its positions from the token that it is told."""
    ahead_BT = ids_BT[:, place + 1 :]
    positions_BT = torch.arange(place + 1, ids_BT.shape[1]).expand_as(ahead_BT)
    made: torch.Tensor = modules.forward_layer(place, hidden_BTD, positions_BT, None, input_ids=ahead_BT)
    return made
