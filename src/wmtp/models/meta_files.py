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
from wmtp.errors import ModelError

_NUMBERED = re.compile(r"consolidated\.(\d+)\.pth")
_OUTPUTS = ("wq", "wk", "wv", "w1", "w3", "output")
"""Matrices that are cut along what they put out (rows); `wo` and `w2` along what they take in (columns)."""
_INPUTS = ("wo", "w2")
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
            ModelError: there are none, or a number between them is missing.
        """
        if not folder.is_dir():
            raise ModelError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}: name a folder of Meta's files")
        numbered = {int(match[1]): path for path in folder.iterdir() if (match := _NUMBERED.fullmatch(path.name))}
        if (folder / "consolidated.pth").exists() and not numbered:
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
        """Of every whole tensor, by its name, in the files' order."""
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
            ModelError: they have several.
        """
        tensors = self._open(self.files[0])
        found = {str(tensor.dtype): tensor.dtype for name, tensor in tensors.items() if not name.endswith(FREQUENCIES)}
        if len(found) > 1:
            raise ModelError(f"{self.files[0]} holds weights of several dtypes: {', '.join(sorted(found))}")
        return next(iter(found.values()))

    @property
    def largest_bytes(self) -> int:
        """Size of the largest file."""
        return max(path.stat().st_size for path in self.files)

    def read(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """These tensors, joined. The files are closed again, so that what was read of them leaves the memory."""
        parts = [self._open(path) for path in self.files]
        return {name: self._joined(name, [tensors[name] for tensors in parts]) for name in names}

    def _open(self, path: Path) -> dict[str, torch.Tensor]:
        """Mapped, not read."""
        try:
            tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:  # of the zip, of the pickle, of the disk
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{path} ({path.stat().st_size:,} bytes) is cut off or broken: {line}") from None
        if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
            raise ModelError(f"{path} is no checkpoint of Meta's: it must hold tensors by their names")
        return tensors

    def _dimension(self, name: str, parts: Sequence[torch.Tensor]) -> int | None:
        """Along which a tensor is cut; None where every file holds the whole of it."""
        kind = name.split(".")[-2] if "." in name else name
        if kind in _OUTPUTS:
            return 0
        if kind in _INPUTS:
            return 1
        if kind == "tok_embeddings":  # Llama 3 cuts the vocabulary, those before it the width
            return 0 if parts[0].shape[1] == self.params.get("dim") else 1
        return None

    def _whole(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Size:
        dimension = self._dimension(name, parts) if len(parts) > 1 else None
        shape = list(parts[0].shape)
        if dimension is not None:
            shape[dimension] = sum(part.shape[dimension] for part in parts)
        return torch.Size(shape)

    def _joined(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        dimension = self._dimension(name, parts) if len(parts) > 1 else None
        return parts[0] if dimension is None else torch.cat(list(parts), dim=dimension)
