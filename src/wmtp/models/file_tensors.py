"""What each tensor of a model is made of in the files of its folder, and any part of it on its own.

Files name and cut tensors otherwise than some families' modules do (experts one by one, GPT-NeoX's unembedding). What is made
of what is transformers' own business: its tables and operations are used, on as much of the files as is asked for.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from safetensors import safe_open
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)
from transformers.utils.loading_report import LoadStateDictInfo

from wmtp import model_files
from wmtp.errors import ModelError, described

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Part = tuple[slice, ...]
"""A slice of each of the first dimensions; none of them for the whole."""


class Source(Protocol):
    """What a tensor is read from."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self, part: Part = ()) -> torch.Tensor:
        """A part of it; what was read for it leaves the memory again."""


@dataclass(frozen=True)
class Place:
    """A tensor in a file, as the file has it."""

    file: Path
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        if self.file.suffix != ".safetensors":
            return tuple(_unpickled(self.file)[self.name].shape)
        with safe_open(self.file, framework="pt") as tensors:
            return tuple(tensors.get_slice(self.name).get_shape())

    def read(self, part: Part = ()) -> torch.Tensor:
        """The file is opened for it alone: what was mapped leaves the memory again."""
        if self.file.suffix != ".safetensors":
            return _unpickled(self.file)[self.name][part or ...]
        with safe_open(self.file, framework="pt") as tensors:
            return cast(torch.Tensor, tensors.get_slice(self.name)[part or ...])


def _unpickled(file: Path) -> Mapping[str, torch.Tensor]:
    return _mapped(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _mapped(file: Path, _changed: int) -> Mapping[str, torch.Tensor]:
    try:
        return cast(Mapping[str, torch.Tensor], load_mapped(file))
    except Exception as error:  # torch raises whatever it meets in somebody's files
        raise ModelError(f"{file} cannot be read: {described(error)}") from None


def load_mapped(file: Path) -> Any:
    """PyTorch's own files: mapped, or read whole where they are of the form that cannot be (before 2020)."""
    with file.open("rb") as start:
        is_zip = start.read(2) == b"PK"
    return torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)


@dataclass(frozen=True)
class Converted:
    """A tensor that transformers makes of several, or of a part of one.

    `first`: the tensor that its operations are named after, of those that they make. `parts`: what they are made of, by the
    pattern of its name. `model`: whose they are, without parameters; operations look for sizes there.
    """

    name: str
    first: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    converter: WeightConverter
    parts: Mapping[str, list[Place]]
    model: PreTrainedModel = field(repr=False)

    def read(self, part: Part = ()) -> torch.Tensor:
        """Of tensors that are stacked, those alone that are asked for; otherwise all of it is made, and a part kept."""
        first = part[0] if part and self._is_stack else slice(None)
        made = converted(self.converter, self.first, self.parts, self.model, self.dtype, first)
        rest = (slice(None), *part[1:]) if part and self._is_stack else part
        return made[self.name][rest or ...]

    @property
    def _is_stack(self) -> bool:
        """Whether row i of it is made of the i-th tensors alone."""
        stacked, *others = self.converter.operations
        is_along_rows = isinstance(stacked, MergeModulelist) and stacked.dim == 0
        keeps_rows = all(isinstance(one, Concatenate) and one.dim > 0 for one in others)
        return is_along_rows and keeps_rows and all(len(places) == self.shape[0] for places in self.parts.values())


def converted(
    converter: WeightConverter,
    first: str,
    parts: Mapping[str, list[Place]],
    model: PreTrainedModel,
    dtype: torch.dtype,
    chosen: slice = slice(None),
    *,
    shapes_alone: bool = False,
) -> dict[str, torch.Tensor]:
    """What transformers makes of tensors, by name.

    Args:
        chosen: which of each list of tensors; shapes_alone: nothing is read, and what is made has no memory.
    """

    def read(place: Place) -> torch.Tensor:
        return torch.empty(place.shape, dtype=dtype, device="meta") if shapes_alone else place.read().to(dtype)

    own = copy.deepcopy(converter)
    for pattern, places in parts.items():
        for place in places[chosen]:
            own.add_tensor(first, place.name, pattern, cast(Any, partial(read, place)))
    made = own.convert(first, model=model, config=model.config)
    return {name: one[0] if isinstance(one, list) else one for name, one in made.items()}


def places_in(folder: Path) -> dict[str, Place]:
    """Every tensor of a folder's weights by its name there.

    Raises:
        ModelError: see `wmtp.model_files.weight_files`.
    """
    found: dict[str, Place] = {}
    for file in model_files.weight_files(folder):
        names: Iterable[str] = model_files.tensor_names(file) if file.suffix == ".safetensors" else _unpickled(file)
        found |= {name: Place(file, name) for name in names}
    return found


def sources(model: PreTrainedModel, places: Iterable[Place], transforms: list[Any], where: str) -> dict[str, Source]:
    """What every tensor of a model is made of, as `from_pretrained` would make it.

    Args:
        model: without parameters, of the dtypes that are wanted. transforms: transformers' own, of
            `get_model_conversion_mapping`. where: how errors name the model.
    Raises:
        ModelError: names the first tensor that is missing, of no part of the model, or misshapen.
    """
    tensors = model.state_dict()
    found: dict[str, Source] = {}
    info = LoadStateDictInfo(set(), set(), set(), [], {}, set())
    groups: dict[str, tuple[WeightConverter, dict[str, list[Place]]]] = {}
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
    for place in sorted(places, key=lambda one: dot_natural_key(one.name)):
        name, pattern = rename_source_key(place.name, renamings, converters, model.base_model_prefix, tensors)
        if name not in tensors and place.name in tensors:
            name, pattern = place.name, None
        if name not in tensors:
            info.unexpected_keys.add(place.name)
        elif pattern is None:
            found[name] = place
        else:
            _, parts = groups.setdefault(name, (by_pattern[pattern], defaultdict(list)))
            parts[pattern].append(place)
    for first, (converter, parts) in groups.items():
        dtype = tensors[first].dtype
        try:
            made = converted(converter, first, parts, model, dtype, shapes_alone=True)
        except Exception as error:  # transformers' operations raise whatever they meet in somebody's files
            info.error_msgs.append(f"tensor {first} cannot be made of what is there: {described(error)}")
            continue
        for name, tensor in made.items():
            found[name] = Converted(name, first, tuple(tensor.shape), dtype, converter, parts, model)
    _account(model, found, info, where)
    return found


def _account(model: PreTrainedModel, found: Mapping[str, Source], info: LoadStateDictInfo, where: str) -> None:
    """Raises ModelError, see `sources`. A tied tensor may be there by any of its names; a buffer has a value without files."""
    tensors, alike = model.state_dict(keep_vars=True), defaultdict(set)
    for name, tensor in tensors.items():
        alike[id(tensor)].add(name)
    missing = {name for name, tensor in tensors.items() if not alike[id(tensor)] & found.keys()}
    shapes = {name: (tuple(one.shape), tuple(tensors[name].shape)) for name, one in found.items() if name in tensors}
    misshapen = {(name, there, due) for name, (there, due) in shapes.items() if there != due}
    info.missing_keys = set(missing)
    model._adjust_missing_and_unexpected_keys(info)
    info.missing_keys |= missing & {name for name, _ in model.named_parameters(remove_duplicate=False)}
    info.unexpected_keys -= set(shipped_names(model, info.unexpected_keys))
    require_every_tensor({**vars(info), "mismatched_keys": misshapen}, where)


def require_every_tensor(info: Mapping[str, Any], where: str) -> None:
    """Every tensor of a model's files had its place, and every place its tensor.

    Args:
        info: what `from_pretrained` returns of it with `output_loading_info`.
    Raises:
        ModelError: names the first that had not.
    """
    faults = [
        *info["error_msgs"],
        *(f"tensor {name} is missing" for name in sorted(info["missing_keys"])),
        *(f"tensor {name} is of no part of the model" for name in sorted(info["unexpected_keys"])),
        *(f"tensor {n} is {tuple(found)} and must be {tuple(due)}" for n, found, due in sorted(info["mismatched_keys"])),
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ModelError(f"{where}: {faults[0]}{more}")


def passed_over(model: PreTrainedModel) -> list[str]:
    """Patterns of the tensors that transformers leaves in the files: multi-token modules that some models ship, for instance.

    The classes know the released sizes' numbers alone: modules are behind the last layer.
    """
    first, number = getattr(model.config, "num_hidden_layers", 0), getattr(model.config, "num_mtp_layers", None) or 0
    numbered = [rf"^model\.layers\.{layer}\." for layer in range(first, first + number)]
    return [*(model._keys_to_ignore_on_load_unexpected or ()), *numbered]


def shipped_names(model: PreTrainedModel, names: Iterable[str]) -> list[str]:
    """Those of a folder's tensors that `passed_over` means."""
    patterns = passed_over(model)
    return [name for name in names if any(re.search(pattern, name) for pattern in patterns)]


def say_unread(names: list[str], where: str) -> None:
    """A line about tensors that have no place in transformers' model, where there are any."""
    if names:
        no_place = "have no place in transformers' model and are not read with it"
        print(f"{where}: {len(names)} tensors {no_place}, the first is {names[0]}")
