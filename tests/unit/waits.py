"""What makes a host wait for its device, counted on a CPU, where the same operators wait for nobody."""

from collections import Counter
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

SIZES = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "repeat_interleave"}
"""Operators whose result, or its size, the host has to know."""

BY_MASK = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""Those that look for the places of a mask, where they are given one."""


class _Operators(TorchDispatchMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        has_mask = name in BY_MASK and any(place is not None and place.dtype == torch.bool for place in arguments[1])
        if name in SIZES or has_mask:
            self.found[name] += 1
        if name == "lift_fresh":
            self.found["made from Python's numbers"] += 1
        return function(*arguments, **(keywords or {}))


def _counted(method, found):
    def read(tensor, *arguments, **keywords):
        found["read"] += 1
        return method(tensor, *arguments, **keywords)

    return read


@contextmanager
def waits():
    """A count by kind of what happens inside."""
    found = Counter()
    with ExitStack() as stack:
        stack.enter_context(_Operators(found))
        for name in ("tolist", "cpu", "numpy"):  # no operators, and torch's own mode for methods rests in a backward pass
            stack.enter_context(mock.patch.object(torch.Tensor, name, _counted(getattr(torch.Tensor, name), found)))
        yield found
