"""A model of which a layer or a matrix at a time is in memory while it runs: for comparisons with what is sharded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from wmtp.models.file_tensors import Source

_Empty = list[tuple[nn.Module, str, nn.Parameter]]


def stream(model: nn.Module, sources: Mapping[str, Source], layers: nn.ModuleList) -> None:
    """From now on every module of `model` reads its parameters when it runs, whole and in float32, and lets go of them.

    Args:
        model: without parameters. sources: what they are read from, by name; of a tied one by any of its names.
        layers: modules of it whose parameters are read together.
    """
    empty = dict(model.named_parameters(remove_duplicate=False))
    where = {id(empty[name]): source for name, source in sources.items() if name in empty}
    for name, buffer in model.named_buffers():
        if name in sources:
            buffer.copy_(sources[name].read())
    inside = {id(part) for layer in layers for part in layer.modules()}
    for layer in layers:
        _read_to_run(layer, [entry for part in layer.modules() for entry in _own(part)], where)
    for part in model.modules():
        if id(part) not in inside and _own(part):
            _read_to_run(part, _own(part), where)


def _own(part: nn.Module) -> _Empty:
    return [(part, key, parameter) for key, parameter in part.named_parameters(recurse=False)]


def _read_to_run(module: nn.Module, empty: _Empty, where: Mapping[int, Source]) -> None:
    forward: Any = module.forward

    def run(*arguments: Any, **options: Any) -> Any:
        with _read(empty, where):
            return forward(*arguments, **options)

    module.forward = run


@contextmanager
def _read(empty: _Empty, where: Mapping[int, Source]) -> Iterator[None]:
    """`where`: by the identity of the empty ones."""
    for part, key, parameter in empty:
        setattr(part, key, nn.Parameter(where[id(parameter)].read().to(torch.float32), requires_grad=False))
    try:
        yield
    finally:
        for part, key, parameter in empty:
            setattr(part, key, parameter)
