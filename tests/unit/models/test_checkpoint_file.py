"""A checkpoint that is made a tensor at a time against torch.save's own."""

import subprocess
import sys
import zipfile

import pytest
import torch

from wmtp.models.checkpoint_file import write_checkpoint

SHAPES = {"first": (3, 5), "one number": (), "row": (7,), "none": (0, 4), "large": (300, 400), "first again": (3, 5)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_it_is_what_torch_writes(dtype, tmp_path):
    generator = torch.Generator().manual_seed(0)
    due = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    due["first"] = due["first"].t().contiguous().t()  # not in the order of its rows
    asked = []

    def read(name):
        asked.append(name)
        return due[name]

    write_checkpoint(tmp_path / "a.pth", {name: tensor.shape for name, tensor in due.items()}, dtype, read)
    assert sorted(asked) == sorted(name for name in due if due[name].numel()), "each once"
    for options in ({}, {"mmap": True}, {"weights_only": True}):
        found = torch.load(tmp_path / "a.pth", **options)
        assert list(found) == list(due) and all(torch.equal(found[name], due[name]) for name in due)
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert archive.testzip() is None, "every checksum is that of what is there"


def test_what_the_disk_says_is_an_error(tmp_path):
    """A program of its own: what it may write is limited."""
    program = """
import resource, signal, sys, torch
from wmtp.models.checkpoint_file import write_checkpoint
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_checkpoint(Path(sys.argv[1]), {"a": torch.Size((1000, 1000))}, torch.float32, torch.ones)
except (OSError, RuntimeError) as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a.pth"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("OSError", "RuntimeError"), done.stderr
