"""A model's folder in Hugging Face's form: whether it is whole, and what is in it. No torch, and no tensor is read."""

from __future__ import annotations

import hashlib
import math
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wmtp.errors import ModelError, first_line
from wmtp.files import parse_json

CONFIG = "config.json"
_QUANTISED = ("quantization_config", "compression_config")
"""Settings that say how numbers in the files become weights."""
_OF_EXPERT = re.compile(r"(?P<layer>.+)\.experts\.(?P<number>\d+)\.(?P<part>.+)")
_PLAIN = ("F16", "BF16", "F32", "F64")
_SETTINGS = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""Objects that need not be there; transformers goes on without one that it cannot read, and a model then says other things."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "*.tiktoken", "*.bpe.model")
"""What tokenizers are kept in; any one of them will do."""
_BESIDE_TOKENIZERS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "**/*.jinja")


def require_model(folder: Path, *, tokenizer: bool = False) -> None:
    """A folder that a model can be loaded from: settings, all shards of the weights, and each of them to its end. Weights are
    floating-point numbers, or the settings say how they are quantised.

    Args:
        tokenizer: there must be one, too.
    Raises:
        ModelError: names the file and what is wrong with it.
    """
    if folder.suffix == ".gguf" and folder.is_file():
        raise ModelError(f"{folder} is one file: `wmtp model fetch {folder} FOLDER` writes it as a folder, dequantised")
    if not folder.is_dir():
        raise ModelError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}: name a model's folder")
    if (folder / "adapter_config.json").exists() and not (folder / CONFIG).exists():
        raise ModelError(f"{folder} holds an adapter alone: merge it into its base model (PEFT's merge_and_unload)")
    settings = read_object(folder / CONFIG)
    if not isinstance(settings.get("model_type"), str):
        raise ModelError(f"{folder / CONFIG} names no model_type")
    for name in _SETTINGS:
        if os.path.lexists(folder / name):
            read_object(folder / name)
    files = weight_files(folder)
    if not any(key in settings for key in _QUANTISED):
        _require_floats(files)
    if all(path.suffix == ".safetensors" for path in files):
        names = [name for path in files for name in tensor_names(path)]
        _require_layers(folder, settings, len(names))
        _require_experts(folder, names)
    if tokenizer and not tokenizer_files(folder):
        raise ModelError(f"{folder} holds no tokenizer: copy its files (tokenizer.json, tokenizer_config.json) there")


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights, in the order of their names.

    Raises:
        ModelError: there are none, one that an index names is missing, or one is cut off or broken.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).exists() and index.exists() and {*_places(index).values()} != {name}:
            raise ModelError(f"{folder} holds its weights twice, in {name} and in what {index.name} names: remove one of them")
        if (folder / name).exists():
            files = [folder / name]
            break
        if index.exists():
            files = _shards(index)
            break
    else:
        raise ModelError(f"{folder} holds no weights: neither model.safetensors nor pytorch_model.bin, whole or in shards")
    for path in files:
        if path.suffix == ".safetensors":
            tensor_names(path)
        else:
            _require_whole_zip(path)
    return files


def _places(index: Path) -> Mapping[str, str]:
    """Tensor -> file, as an index has it."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index} has no weight_map from tensors to files")
    return places


def _shards(index: Path) -> list[Path]:
    places = _places(index)
    files = [index.parent / name for name in sorted(set(places.values()))]
    for path in files:
        if path.parent != index.parent:
            raise ModelError(f"{index} names {path}, which is outside of the folder")
        if not path.is_file():
            raise ModelError(f"{path} does not exist, and {index.name} names it: {len(files)} files make up the weights")
    _require_as_named(index, places, [path for path in files if path.suffix == ".safetensors"])
    return files


def _require_as_named(index: Path, places: Mapping[str, str], files: Sequence[Path]) -> None:
    """Raises ModelError: a file lacks what the index says it holds, or holds a tensor that is another file's, too."""
    held: dict[str, Path] = {}
    for path in files:
        names = tensor_names(path)
        wanted = {name for name, file in places.items() if file == path.name}
        if lacking := sorted(wanted - set(names)):
            raise ModelError(f"{path} lacks {lacking[0]}, which {index.name} says it holds")
        for name in names:
            if name in held:
                raise ModelError(f"{path} and {held[name].name} both hold tensor {name}: which one is meant cannot be told")
            held[name] = path


def tokenizer_files(folder: Path) -> list[Path]:
    """A tokenizer's, and its chat templates'; none where there is no tokenizer."""
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        return []
    return sorted({path for pattern in (*_TOKENIZERS, *_BESIDE_TOKENIZERS) for path in folder.glob(pattern)})


def tensor_names(path: Path) -> list[str]:
    """The tensors of a safetensors file, which is checked to be as long as they are.

    Raises:
        ModelError: the file is cut off, or none of the format.
    """
    return list(_headers(path))


def _headers(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every tensor's dtype and shape, as `tensor_names`."""
    from safetensors import SafetensorError, safe_open

    _require_file(path)
    try:
        with safe_open(path, framework="numpy") as tensors:
            parts = {name: tensors.get_slice(name) for name in sorted(tensors.keys())}
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} ({path.stat().st_size:,} bytes) is cut off or broken: {first_line(error)}") from None


def num_elements(folder: Path) -> int | None:
    """How many numbers a model's weights are; None where they are quantised, or in PyTorch's own files, which tell it late."""
    files = weight_files(folder)
    settings = read_object(folder / CONFIG)
    if any(key in settings for key in _QUANTISED) or any(path.suffix != ".safetensors" for path in files):
        return None
    return sum(math.prod(shape) for path in files for _, shape in _headers(path).values())


def _require_floats(files: Sequence[Path]) -> None:
    """Raises ModelError: integers or numbers of 8 bits, which a loader would take for the weights, whatever their scale was."""
    for path in (path for path in files if path.suffix == ".safetensors"):
        for name, (dtype, _) in _headers(path).items():
            if name.endswith("weight") and dtype not in _PLAIN:
                raise ModelError(f"{path}: tensor {name} holds {dtype}, and {CONFIG} says nothing of how it is quantised")


def _require_layers(folder: Path, settings: Mapping[str, Any], num_tensors: int) -> None:
    """Raises ModelError: more layers than tensors, which a loader would make up, in hours or in all of the memory."""
    inner = settings.get("text_config")
    layers = (inner if isinstance(inner, dict) else settings).get("num_hidden_layers")
    if isinstance(layers, int) and layers > num_tensors:
        said = f"{folder / CONFIG} says num_hidden_layers={layers}"
        raise ModelError(f"{said}, and the weights are {num_tensors} tensors: is it another model's?")


def _require_experts(folder: Path, names: Iterable[str]) -> None:
    """Raises ModelError: a tensor that one expert has and another of its layer has not. Loaders name the stack."""
    stacks: dict[str, tuple[set[str], set[str]]] = {}
    known = set(names)
    for name in known:
        if (found := _OF_EXPERT.fullmatch(name)) is not None:
            numbers, parts = stacks.setdefault(found["layer"], (set(), set()))
            numbers.add(found["number"])
            parts.add(found["part"])
    for layer, (numbers, parts) in sorted(stacks.items()):
        for name in (f"{layer}.experts.{number}.{part}" for number in sorted(numbers, key=int) for part in sorted(parts)):
            if name not in known:
                raise ModelError(f"{folder}: tensor {name} is missing")


def _require_file(path: Path) -> None:
    """Raises ModelError: it is something else, or may not be read (which safetensors calls missing)."""
    if path.exists() and not path.is_file():
        raise ModelError(f"{path} is no file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None


def _require_whole_zip(path: Path) -> None:
    """PyTorch's files are zip archives, whose directory is their end; what was written before 2020 is not checked here."""
    _require_file(path)
    with path.open("rb") as file:
        start = file.read(2)
    is_pickle = start[:1] == b"\x80"
    if not is_pickle and not (start == b"PK" and zipfile.is_zipfile(path)):
        raise ModelError(f"{path} ({path.stat().st_size:,} bytes) is cut off or broken")


def read_object(path: Path) -> Mapping[str, Any]:
    """A JSON file that holds an object.

    Raises:
        ModelError: it is missing or something else.
    """
    _require_file(path)
    try:
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold a JSON object, and holds {type(found).__name__}")
    return found


def digests(folder: Path) -> dict[str, str]:
    """`sha256:...` of every file that decides what a model says, by name: not of hidden ones, nor of texts about it (.md)."""
    files = {path for path in (*folder.iterdir(), *folder.rglob("*.jinja")) if path.is_file()}
    found = {}
    for path in sorted(path for path in files if not path.name.startswith(".") and path.suffix != ".md"):
        with path.open("rb") as file:
            found[str(path.relative_to(folder))] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return found
