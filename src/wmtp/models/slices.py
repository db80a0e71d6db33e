"""A pretrained model of which every rank reads its own slices: sharded without parameters first, filled from the files then.

Nothing of the size of the model is ever on a rank, on its host or its device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from wmtp import model_files
from wmtp.errors import ModelError
from wmtp.models.heads import HeadLayout, layers_name
from wmtp.models.load import differing, first_line, head_0, proof_logits, put_heads, ready_for_proof
from wmtp.models.mtp import MTPForCausalLM

_WRAPPER = "_checkpoint_wrapped_module."
_UNREAD = "unread_slices"


@dataclass(frozen=True)
class Place:
    """A tensor in a file."""

    file: Path
    name: str

    def read(self, where: tuple[slice, ...] = ()) -> torch.Tensor:
        """A part of it, as the file has it. The file is opened for it alone: what was mapped leaves the memory again."""
        with safe_open(self.file, framework="pt") as tensors:
            return cast(torch.Tensor, tensors.get_slice(self.name)[where or ...])


@dataclass(frozen=True)
class Unread:
    """What a model without parameters is to be filled from.

    `places`: of every parameter, by its name in the model. `plain`: of every parameter of the plain model that heads were put
    on, by its name there; None for one of wmtp's own, which has no other to be compared with.
    """

    folder: Path
    where: str
    places: Mapping[str, Place]
    plain: Mapping[str, Place] | None

    def fill(self, model: nn.Module, device: torch.device) -> None:
        """Give a sharded model its parameters, in float32; every rank reads what it holds."""
        buffers = [(module, name, buffer) for module in model.modules() for name, buffer in module.named_buffers(recurse=False)]
        model.to_empty(device=device)
        for module, name, buffer in buffers:
            setattr(module, name, buffer.to(device))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                _fill(parameter, self.places[name.replace(_WRAPPER, "")])

    def prove(self, model: MTPForCausalLM, *, is_narrow: bool) -> None:
        """Head 0 of the filled model against the plain one, which rank 0 runs a layer at a time. All ranks call it.

        Raises:
            ModelError: on every rank, what differs.
        """
        keeps = [module for module in model.modules() if isinstance(module, FSDPModule)]
        with ready_for_proof(model):
            for module in keeps:
                module.set_reshard_after_forward(True, recurse=False)
            try:
                expected_BTV = proof_logits(model) if self.plain is None else None
                if self.plain is not None and dist.get_rank() == 0:
                    expected_BTV = _streamed_logits(self.folder, self.plain).to(model.device)
                found = head_0(model, expected_BTV)
            finally:
                for module in keeps:
                    module.reshard()
                    module.set_reshard_after_forward(model.device.type != "cpu", recurse=False)
        fault = [differing(found, model, is_narrow=is_narrow) if found else None]
        dist.broadcast_object_list(fault, src=0)
        if fault[0]:
            raise ModelError(f"{self.where}: {fault[0]}")


def open_slices(folder: Path, n_future: int | None, where: str, layout: HeadLayout | None = None) -> MTPForCausalLM | None:
    """A model without parameters, which `parallelize` shards and then fills; None where it has to be read whole.

    That is so where its files name or hold tensors otherwise than its modules do (transformers converts some families'), are
    no safetensors, or there is but one rank. Whatever is wrong with them is then found by `read_model`.

    Args:
        n_future: heads to put on a plain model, of this layout, copies of its last layer; None: it must have its own.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    model_files.require_model(folder)
    places = {name: Place(path, name) for path in _safetensors(folder) for name in model_files.tensor_names(path)}
    source = _without_parameters(folder)
    plain = None if isinstance(source, MTPForCausalLM) else _found(source, places, lambda name: name)
    if isinstance(source, MTPForCausalLM):
        model: MTPForCausalLM = source
        found = _found(model, places, lambda name: name)
    elif n_future is None or plain is None:
        return None
    else:
        theirs = _plain_names(source)
        model = put_heads(source, n_future, where, layout)
        found = _found(model, places, lambda name: theirs(name, model.last_layer_name))
    if found is None:
        return None
    setattr(model, _UNREAD, Unread(folder, where, found, plain))
    return model


def is_on_plain(model: nn.Module) -> bool:
    """Whether this is a plain model that heads were put on, still to be filled."""
    found: Unread | None = model.__dict__.get(_UNREAD)
    return found is not None and found.plain is not None


def unread(model: nn.Module) -> Unread | None:
    """What a model is still to be filled from; asked once."""
    found: Unread | None = model.__dict__.pop(_UNREAD, None)
    return found


def fill_alike(model: nn.Module, name: str, like: torch.Tensor) -> None:
    """A parameter `name`, which the files do not hold, is to start as `like`; nothing where the model is filled already."""
    found: Unread | None = model.__dict__.get(_UNREAD)
    if found is not None:
        (theirs,) = (known for known, parameter in model.named_parameters() if parameter is like)
        setattr(model, _UNREAD, replace(found, places={**found.places, name: found.places[theirs]}))


def _safetensors(folder: Path) -> list[Path]:
    return [path for path in model_files.weight_files(folder) if path.suffix == ".safetensors"]


def _without_parameters(folder: Path) -> PreTrainedModel:
    """As `from_pretrained` makes it, its buffers computed, its parameters of no memory."""
    try:
        config = AutoConfig.from_pretrained(folder)
        with init_empty_weights(include_buffers=False):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.tie_weights()
        if (folder / "generation_config.json").exists():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    except Exception as error:  # transformers raises whatever it meets in somebody's files
        raise ModelError(f"{folder}: {first_line(error)}") from None
    return model


def _found(model: PreTrainedModel, places: Mapping[str, Place], theirs: Callable[[str], str]) -> dict[str, Place] | None:
    """Every parameter's place, if the files hold exactly the model's tensors under the names that `theirs` gives them."""
    parameters, everywhere = dict(model.named_parameters()), dict(model.named_parameters(remove_duplicate=False))
    found = {name: places[theirs(name)] for name in parameters if theirs(name) in places}
    known = {theirs(name) for name in everywhere}
    ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    more = [name for name in places if name not in known and not any(re.search(pattern, name) for pattern in ignored)]
    if found.keys() != parameters.keys() or more or model.state_dict().keys() - everywhere.keys():
        return None
    for name, parameter in parameters.items():
        with safe_open(found[name].file, framework="pt") as tensors:
            if list(parameter.shape) != tensors.get_slice(found[name].name).get_shape():
                return None
    return found


def _plain_names(source: PreTrainedModel) -> Callable[[str, str], str]:
    """From a name in a model with heads to the one that the plain model has: further heads start as its last layer."""
    names = {id(module): name for name, module in source.named_modules()}
    decoder, unembedding = names[id(source.get_decoder())], names[id(source.get_output_embeddings())]

    def theirs(name: str, last: str) -> str:
        name = re.sub(rf"^{re.escape(last)}\.blocks\.\d+\.", f"{last}.", name)
        if name.startswith("unembedding.lm_head."):
            return name.replace("unembedding.lm_head", unembedding, 1)
        return name.replace("model", decoder, 1)

    return theirs


def _fill(parameter: nn.Parameter, place: Place) -> None:
    held = parameter.data
    if not isinstance(held, DTensor):
        held.copy_(place.read())
        return
    sizes, starts = compute_local_shape_and_global_offset(held.shape, held.device_mesh, held.placements)
    if all(sizes):
        held.to_local().copy_(place.read(tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))))


@contextmanager
def _read_for_a_while(module: nn.Module, where: Mapping[int, Place]) -> Iterator[None]:
    """A module of the plain model has its parameters, whole and in float32. `where`: by the identity of the empty ones."""
    empty = [(part, key, p) for part in module.modules() for key, p in part.named_parameters(recurse=False)]
    for part, key, parameter in empty:
        setattr(part, key, nn.Parameter(where[id(parameter)].read().float(), requires_grad=False))
    try:
        yield
    finally:
        for part, key, parameter in empty:
            setattr(part, key, parameter)


def _streamed_logits(folder: Path, places: Mapping[str, Place]) -> torch.Tensor:
    """The plain model's logits for the proof's tokens, on the CPU: a layer or a matrix is in memory while it runs."""
    source = _without_parameters(folder)
    empty = dict(source.named_parameters(remove_duplicate=False))
    where = {id(parameter): places[name] for name, parameter in empty.items() if name in places}  # a tied one by one name
    decoder = source.get_decoder()
    layers = cast(nn.ModuleList, getattr(decoder, layers_name(decoder)))
    inside = {id(part) for layer in layers for part in layer.modules()}
    outside = [part for part in source.modules() if id(part) not in inside and dict(part.named_parameters(recurse=False))]
    for part in (*layers, *outside):
        _stream(part, where)
    with ready_for_proof(source):
        return proof_logits(source)


def _stream(module: nn.Module, where: Mapping[int, Place]) -> None:
    forward: Any = module.forward

    def run(*arguments: Any, **options: Any) -> Any:
        with _read_for_a_while(module, where):
            return forward(*arguments, **options)

    module.forward = run
