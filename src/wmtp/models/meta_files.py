"""Meta's checkpoints on disk: `params.json` and `consolidated.*.pth`, read a few tensors at a time.

A large model is cut for model parallelism: every file holds every tensor's part, along one of its dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from wmtp import model_files
from wmtp.errors import ModelError, first_line
from wmtp.models.file_tensors import load_mapped

_NUMBERED = re.compile(r"consolidated\.(\d+)\.pth")
_OUTPUTS = ("wq", "wk", "wv", "w1", "w3", "output")
"""Matrices that are cut along what they put out (rows); `wo` and `w2` along what they take in (columns)."""
_INPUTS = ("wo", "w2")
_EMBEDDINGS = "tok_embeddings"
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
FREQUENCIES = "rope.freqs"


@dataclass(frozen=True)
class MetaFiles:
    """The files of one checkpoint, in the order of their numbers."""

    folder: Path
    files: tuple[Path, ...]

    @classmethod
    def find(cls, folder: Path) -> MetaFiles:
        """
        Raises:
            ModelError: there are none, a number between them is missing, or there are the same tensors twice.
        """
        if not folder.is_dir():
            raise ModelError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}: name a folder of Meta's files")
        numbered: dict[int, Path] = {}
        for path in sorted(folder.iterdir()):
            match = _NUMBERED.fullmatch(path.name)
            if match and path != numbered.setdefault(int(match[1]), path):
                raise ModelError(f"{folder} holds part {match[1]} twice: {numbered[int(match[1])].name} and {path.name}")
        if (folder / "consolidated.pth").exists():
            if numbered:
                raise ModelError(f"{folder} holds its weights twice: consolidated.pth and {min(numbered.values()).name}, ...")
            return cls(folder, (folder / "consolidated.pth",))
        if not numbered:
            raise ModelError(f"{folder} holds no weights of Meta's: neither consolidated.pth nor consolidated.00.pth, ...")
        missing = sorted(set(range(max(numbered) + 1)) - numbered.keys())
        if missing:
            raise ModelError(f"{folder} lacks consolidated.{missing[0]:02d}.pth: {max(numbered) + 1} files make up the weights")
        return cls(folder, tuple(path for _, path in sorted(numbered.items())))

    @cached_property
    def params(self) -> dict[str, Any]:
        """What params.json holds."""
        return dict(model_files.read_object(self.folder / "params.json"))

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Of every whole tensor, by its name, in the files' order.

        Raises:
            ModelError: a file cannot be read, or parts do not fit together.
        """
        parts = [self._open(path) for path in self.files]
        for path, tensors in zip(self.files, parts, strict=True):
            if tensors.keys() != parts[0].keys():
                odd = sorted(tensors.keys() ^ parts[0].keys())[0]
                raise ModelError(f"{path} and {self.files[0].name} do not hold the same tensors: {odd} is in one of them")
        return {name: self._whole(name, [tensors[name] for tensors in parts]) for name in parts[0]}

    @cached_property
    def dtype(self) -> torch.dtype:
        """The one that all weights have.

        Raises:
            ModelError: they have several, or one whose numbers are no weights as they are.
        """
        parts = [self._open(path) for path in self.files]
        weights = (tensor for part in parts for name, tensor in part.items() if not name.endswith(FREQUENCIES))
        found = {str(tensor.dtype): tensor.dtype for tensor in weights}
        if len(found) > 1:
            raise ModelError(f"{self.folder} holds weights of several dtypes: {', '.join(sorted(found))}")
        (dtype,) = found.values()
        if dtype not in _DTYPES:
            raise ModelError(f"{self.folder} holds weights of {dtype}: they must be numbers of 16 or more bits with a point")
        return dtype

    @property
    def largest_bytes(self) -> int:
        """Size of the largest file."""
        return max(path.stat().st_size for path in self.files)

    def read(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """These tensors, joined. The files are closed again, so that what was read of them leaves the memory.

        Raises:
            ModelError: one of which every file holds the whole is not the same in all of them.
        """
        parts = [self._open(path) for path in self.files]
        return {name: self._joined(name, [tensors[name] for tensors in parts]) for name in names}

    def _open(self, path: Path) -> dict[str, torch.Tensor]:
        """Mapped, not read, where its format can be."""
        try:
            tensors = load_mapped(path)
        except Exception as error:  # of the zip, of the pickle, of the disk
            raise ModelError(f"{path} ({path.stat().st_size:,} bytes) is cut off or broken: {first_line(error)}") from None
        if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
            raise ModelError(f"{path} is no checkpoint of Meta's: it must hold tensors by their names")
        for name, tensor in tensors.items():
            if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
                raise ModelError(f"{path} is no checkpoint of Meta's: {name} is no plain tensor")
            if _kind(name) in (*_OUTPUTS, *_INPUTS, _EMBEDDINGS) and tensor.dim() != 2:
                raise ModelError(f"{path}: tensor {name} is {tuple(tensor.shape)} and must be a matrix")
        return tensors

    def _dimension(self, name: str, parts: Sequence[torch.Tensor]) -> int | None:
        """Along which a tensor is cut; None where every file holds the whole of it."""
        kind = _kind(name)
        if len(parts) == 1:
            return None
        if kind == _EMBEDDINGS:  # Llama 3 cuts the vocabulary, those before it the width
            return 0 if parts[0].shape[1] == self.params.get("dim") else 1
        return 0 if kind in _OUTPUTS else 1 if kind in _INPUTS else None

    def _whole(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Size:
        dimension = self._dimension(name, parts)
        shape = list(parts[0].shape)
        for path, part in zip(self.files, parts, strict=True):
            if [size for at, size in enumerate(part.shape) if at != dimension] != [
                size for at, size in enumerate(shape) if at != dimension
            ]:
                shapes = f"is {tuple(shape)} in {self.files[0].name} and {tuple(part.shape)} in {path.name}"
                raise ModelError(f"{self.folder}: the parts of tensor {name} do not fit together: it {shapes}")
        if dimension is not None:
            shape[dimension] = sum(part.shape[dimension] for part in parts)
        return torch.Size(shape)

    def _joined(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        dimension = self._dimension(name, parts)
        if dimension is not None:
            return torch.cat(list(parts), dim=dimension)
        for path, part in zip(self.files[1:], parts[1:], strict=True):
            if not torch.equal(part, parts[0]):
                raise ModelError(f"{self.folder}: tensor {name} is not the same in {self.files[0].name} and {path.name}")
        return parts[0]


def _kind(name: str) -> str:
    return name.split(".")[-2] if "." in name else name
