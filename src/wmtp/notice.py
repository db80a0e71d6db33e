"""Notice to leave: a signal that asks a rank to keep what it has and to end, and what all ranks make of it.

A scheduler that takes a machine back (Slurm's `--signal`, a requeue, a cloud's preemption) sends SIGUSR1 or SIGTERM first, to
all ranks or to one. While a rank trains, it goes on until all have agreed on a step to leave at; at any other time it ends
at once, because it has nothing that is not on the disk.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wmtp.errors import PreemptedError

if TYPE_CHECKING:
    from wmtp.distributed import World

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class Told(BaseException):
    """Notice, to a process that has nothing to keep.

    No `Exception`, as KeyboardInterrupt is none: it may come in the middle of a library that makes light of its own failures.
    """


class _Ear:
    """This process's signals are one for all of it, and so is what was heard."""

    has_heard = False
    is_heeded = False
    is_ending = False

    def hear(self, number: int, frame: Any) -> None:
        self.has_heard = True
        if not (self.is_heeded or self.is_ending):
            self.is_ending = True
            raise Told("preempted")


_EAR = _Ear()


def listen() -> None:
    """From now on notice ends this process with `Told`, but where somebody heeds it. For the main thread."""
    for number in SIGNALS:
        signal.signal(number, _EAR.hear)


def stop_listening() -> None:
    """The process ends now in any case: who repeats a signal does not disturb it."""
    _EAR.is_ending = True


class Departure:
    """Whether any rank has had notice, agreed upon without waiting for an answer: each step asks, the next one reads.

    The question is a reduction of one number among the hosts, which goes on while the devices compute. All methods are called
    by all ranks together, after the same steps.
    """

    def __init__(self, world: World) -> None:
        import torch.distributed as dist

        self._group = dist.new_group(backend="gloo", timeout=world.timeout) if world.size > 1 else None
        self._asked: tuple[Any, Any] | None = None

    def is_due(self) -> bool:
        """Whether all ranks leave after this step: some rank had had notice by the one before."""
        if self._group is None:
            return _EAR.has_heard
        due = self.settle()
        self._ask()
        return due

    def _ask(self) -> None:
        import torch
        import torch.distributed as dist

        flag = torch.tensor(float(_EAR.has_heard))
        self._asked = (dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group, async_op=True), flag)

    def settle(self) -> bool:
        """The answer to the last question. No rank may leave the group before it."""
        if self._asked is None:
            return False
        (work, flag), self._asked = self._asked, None
        work.wait()
        return bool(flag)


@contextmanager
def heeded(world: World) -> Iterator[Departure]:
    """While the block lasts, notice waits for whoever asks the departure."""
    departure = Departure(world)
    _EAR.is_heeded = True
    try:
        yield departure
        departure.settle()
    except PreemptedError:
        stop_listening()
        raise
    finally:
        _EAR.is_heeded = False
