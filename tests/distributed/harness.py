"""Run a function on N gloo ranks, in forked processes of this one, and hand back what each rank returned."""

import multiprocessing
import os
import pickle
import random
import traceback
from pathlib import Path

import numpy as np
import peft  # noqa: F401 -- once before forking, not in every rank
import torch
import torch.distributed as dist

from tests.workspaces import PATIENCE_S
from wmtp.distributed import join_world
from wmtp.models.save import Gathered


def in_world(function, *arguments, **options):
    """`function(world, ...)` of a rank that has joined."""
    with join_world("cpu", seed=0) as world:
        return function(world, *arguments, **options)


def full_state(model):
    """The unsharded state on rank 0 (nothing elsewhere), by the names that are saved. All ranks call it."""
    tensors = Gathered(model, is_main=not dist.is_initialized() or dist.get_rank() == 0)
    return tensors.whole(tensors.shapes)


def scramble():
    """Seed all generators by the system: a fork would otherwise draw what its parent's next fork draws, too."""
    torch.seed()
    np.random.seed()
    random.seed()


def enter_world(number):
    """Have this rank join a world of its own next: two of them in one store would read each other's addresses."""
    os.environ["MASTER_PORT"] = os.environ["WORLD_PORTS"].split(",")[number]


def _main(rank, size, ports, function, arguments, options, path):
    """`ports`: a pipe with the stores', which torchrun's agent would hold: no rank is a host that ends before another."""
    torch.set_num_threads(1)
    scramble()
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", WORLD_PORTS=ports.recv()
    )
    os.environ.update(TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0")
    enter_world(0)
    try:
        result = ("ok", function(*arguments, **options))
    except Exception:
        result = ("error", traceback.format_exc())
    Path(path).write_bytes(pickle.dumps(result))


def run_on_ranks(size, function, *arguments, tmp_path, **options):
    """`[function(world, *arguments, **options) of rank 0, ...]`; fails with the tracebacks of those that failed."""
    return run_processes(size, in_world, function, *arguments, tmp_path=tmp_path, **options)


def run_processes(size, function, *arguments, tmp_path, num_worlds=1, **options):
    """The same for a function that joins its world itself, as a stage does: it is called without one. `num_worlds`: that it
    joins one after another, see `enter_world`."""
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe(duplex=False) for _ in range(size)]
    paths = [tmp_path / f"result-{os.urandom(4).hex()}-{rank}" for rank in range(size)]
    processes = [
        fork.Process(target=_main, args=(rank, size, pipes[rank][0], function, arguments, options, path))
        for rank, path in enumerate(paths)
    ]
    for process in processes:
        process.start()
    stores = [  # made after forking: they have threads
        dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in range(num_worlds)
    ]
    for _, end in pipes:
        end.send(",".join(str(store.port) for store in stores))
    for process in processes:
        process.join(timeout=PATIENCE_S)
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
    codes = [process.exitcode for process in processes]
    assert not alive and not any(codes), f"ranks died or hung, exit codes {codes}"
    results = [pickle.loads(path.read_bytes()) for path in paths]
    errors = [f"rank {rank}: {value}" for rank, (status, value) in enumerate(results) if status != "ok"]
    assert not errors, "\n".join(errors)
    return [value for _, value in results]
