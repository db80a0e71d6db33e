"""A file as `torch.save` writes it, made a tensor at a time: no more than one is ever in memory."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

_CHECKSUM, _LENGTHS, _ENTRY = 16, 28, 46
"""Where an entry of a zip file's directory has them, and how long it is without its name, extra field and comment."""


def write_checkpoint(
    path: Path, shapes: Mapping[str, torch.Size], dtype: torch.dtype, read: Callable[[str], torch.Tensor]
) -> None:
    """A dictionary of tensors that `torch.load` reads.

    Args:
        read: makes the tensor of a name.
    Raises:
        OSError: what the disk says.
    """
    with torch.serialization.skip_data():
        torch.save({name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}, path)  # memory never touched
    with FakeTensorMode():
        places = torch.load(path, weights_only=True)
    checksums = {}
    with path.open("r+b") as file:
        for name, empty in ((name, empty) for name, empty in places.items() if empty.numel()):
            tensor = read(name)
            assert (tensor.shape, tensor.dtype) == (empty.shape, dtype), name
            data = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
            offset = file.seek(empty.untyped_storage()._checkpoint_offset)
            file.write(data)
            checksums[offset] = zlib.crc32(data)
            file.write(struct.pack("<4sI", b"PK\x07\x08", checksums[offset]))
        file.flush()
        os.fsync(file.fileno())
    _write_checksums(path, checksums)


def _write_checksums(path: Path, checksums: Mapping[int, int]) -> None:
    """Into the zip file's directory, of the entries whose data begin at these offsets."""
    with zipfile.ZipFile(path) as archive:
        starts, entry = [info.header_offset for info in archive.infolist()], archive.start_dir
    of_entry = {bisect_right(starts, offset) - 1: checksum for offset, checksum in checksums.items()}
    with path.open("r+b") as file:
        for number in range(len(starts)):
            file.seek(entry + _LENGTHS)
            lengths = struct.unpack("<3H", file.read(6))
            if number in of_entry:
                file.seek(entry + _CHECKSUM)
                file.write(struct.pack("<I", of_entry[number]))
            entry += _ENTRY + sum(lengths)
