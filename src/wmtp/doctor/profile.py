"""What an experiment will take on a machine, before anything starts: `wmtp doctor --profile NAME`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wmtp.config import compose
from wmtp.config import devices as gpus
from wmtp.config.accelerators import ACCELERATORS, Accelerator, known
from wmtp.config.compose import load_launch, read_params
from wmtp.config.consistency import require_trainable
from wmtp.config.given import refused
from wmtp.config.inputs import given, is_hub_id
from wmtp.doctor.machine import Finding
from wmtp.doctor.work import Lengths, Work, works
from wmtp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from wmtp.config import Config

UTILISATION = {"cuda": 0.35, "cpu": 0.5}
"""Share of the peak (of a CPU: of its own speed at a product of matrices) that training is taken to reach."""

FILL = 0.6
"""An example's length, of the longest, where there are no data yet."""

PROCESS_BYTES, CONTEXT_BYTES = 2**30, 3 * 2**29
"""What a process takes with torch and transformers loaded, and what CUDA and NCCL take of a device."""

GIB, _WEEK = 2**30, 7 * 24.0


@dataclass(frozen=True)
class Devices:
    """`number` of one kind, all of them together for a stage. `flops`: of one, by dtype, as training reaches it.

    `share`: of a process's time that it has a processor.
    """

    name: str
    number: int
    kind: str
    flops: dict[str, float]
    bytes_per_s: float
    memory_bytes: int
    share: float = 1.0

    @classmethod
    def of(cls, accelerator: Accelerator, number: int, utilisation: float) -> Devices:
        reached = {dtype: peak * utilisation for dtype, peak in accelerator.flops.items()}
        return cls(accelerator.name, number, "cuda", reached, accelerator.bytes_per_s, accelerator.memory_bytes)

    @classmethod
    def cpu(cls, processes: int, utilisation: float) -> Devices:
        """This machine's processors, whose speed is measured."""
        busy = max(1, min(processes, os.cpu_count() or 1))
        flops = _measured_flops() * utilisation * busy / processes
        return cls("CPU process", processes, "cpu", {"float32": flops, "bfloat16": flops / 20}, 1e10, 0, busy / processes)


def _measured_flops(size: int = 768) -> float:
    """Of one thread, at a product of float32 matrices: the best of a few."""
    import torch

    a, times = torch.ones(size, size), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(20):
        began = time.process_time()
        a @ a
        times.append(time.process_time() - began)
    torch.set_num_threads(threads)
    return 2.0 * size**3 / min(times)


def find_devices(root: Path, gpu: str | None, number: int | None, utilisation: float | None) -> Devices:
    """Those that are named, or those of the launch configuration.

    Raises:
        ConfigError: a device that is not known.
    """
    if gpu is not None:
        found = known(gpu)
        if found is None:
            raise ConfigError(f"--gpu {gpu} is not known: one of {', '.join(one.key for one in ACCELERATORS)}")
        return Devices.of(found, number or 1, utilisation or UTILISATION["cuda"])
    launch = load_launch(root)
    if launch.device == "cuda":
        here = known(gpus.kind() or "")
        if here is None or launch.launcher != "local":
            raise ConfigError("name the kind of device: --gpu h100 --gpus 8")
        return Devices.of(here, number or launch.nproc_per_node, utilisation or UTILISATION["cuda"])
    return Devices.cpu(number or launch.nproc_per_node, utilisation or UTILISATION["cpu"])


def hours_of(work: Work, devices: Devices) -> float:
    """Of one stage; programs are run meanwhile. A forward pass that generates reads the weights, and takes a millisecond."""
    reached = devices.flops[work.dtype] if work.reached is None else work.reached * devices.share
    seconds = work.flops / reached / devices.number
    if work.forwards:
        seconds = max(seconds, work.forwards * (work.weights / devices.bytes_per_s + 1e-3))
    return seconds / 3600


def lengths_of(config: Config, root: Path) -> tuple[Lengths, str]:
    """Of the data where they are made already, and where the numbers are from."""
    longest = config.data.max_length
    try:
        if read_params(root / "params.yaml").data == config.data:
            from wmtp.tokens.data import TokenData

            data = TokenData.open(root / "artifacts/data", "train")
            lengths = data.lengths(data.selected)
            prompts = float(data.prompt_lens[data.selected].sum() / lengths.sum())
            return Lengths(float(np.mean(lengths)), longest, prompts, len(data)), "lengths are those of artifacts/data"
    except (ConfigError, DataError, OSError):
        pass
    if config.data.is_documents:
        return Lengths(longest, longest, 0.0), f"every document is taken to fill a row of data.max_length={longest} tokens"
    return Lengths(FILL * longest, longest), f"examples are taken to be {FILL:.0%} of data.max_length={longest} long"


def things(config: Config, root: Path) -> Iterator[Finding]:
    """Everything that is given, each for what it is: what is not there, with what to do; what a run would refuse, and why; what
    is on the hub is fetched by the pipeline."""
    bad = {key: str(error).removeprefix(f"{key}=") for key, error in refused(root, config)}
    for one in given(config):
        why = bad.pop(one.key, None)
        if is_hub_id(one.value, one.kind):
            yield Finding(one.key, why is None, why or f"{one.value} is fetched when the pipeline runs")
        elif not (root / one.path).exists():
            hints = {"data": "give the file", "results": "`wmtp evaluate ... --out FOLDER` makes it"}
            hint = hints.get(one.kind, "`wmtp model fetch`, `wmtp convert`, or another path")
            yield Finding(one.key, False, f"{one.value} does not exist: {hint}")
        else:
            yield Finding(one.key, why is None, why or one.value)
    yield from (Finding(key, False, why) for key, why in bad.items())


def complete(root: Path, profile: str, overrides: Sequence[str]) -> tuple[Config, list[Finding]]:
    """The profile, and what it leaves to be given: files that are not named are still counted on."""
    found: list[Finding] = []
    while True:
        try:
            return compose(root, profile, overrides=overrides), found
        except ConfigError as error:
            key = str(error).partition("=")[0]
            if key not in ("data.train_path", "data.validation_path") or len(found) > 1:
                raise
            found.append(Finding(key, False, f"not given: {key}=FILE"))
            overrides = [*overrides, f"{key}=not-given.jsonl"]


def estimate(root: Path, profile: str, overrides: Sequence[str], devices: Devices, price: float | None) -> list[str | Finding]:
    """Lines of a table, what it is based on, and findings.

    Raises:
        ConfigError: so many devices cannot share the batches.
    """
    config, findings = complete(root, profile, overrides)
    require_trainable(config, devices.kind, devices.number)
    lengths, source = lengths_of(config, root)
    done = list(works(config, root, lengths, world_size=devices.number, device=devices.kind))
    on_gpus = f"wmtp doctor --profile {profile} --gpu h100 --gpus 8"
    is_for_others = devices.kind == "cpu" and sum(hours_of(work, devices) for work in done) > _WEEK
    lines: list[str | Finding] = [
        f"profile {profile} on {devices.number} x {devices.name}; {source}",
        *_table(done, devices, price),
        f"taken: {devices.flops['float32'] / 1e12:.3g} TFLOP/s of a device in float32, "
        f"{devices.flops['bfloat16'] / 1e12:.3g} in bfloat16{_tried(done)}; sampling and programs' own time are not counted",
    ]
    lines += [f"on processors that is weeks or more; on other devices: {on_gpus}"] * is_for_others
    named = {finding.what for finding in findings}
    findings += [finding for finding in things(config, root) if finding.what not in named]
    return [*lines, *findings, *_fits(done, devices, root)]


def _tried(done: Sequence[Work]) -> str:
    """What trainings were found to reach on this machine's processors."""
    found = [work.reached / 1e9 for work in done if work.reached is not None]
    return f"; trainings {min(found):.0f} to {max(found):.0f} GFLOP/s, which a step of a few layers reached" if found else ""


def _table(done: Sequence[Work], devices: Devices, price: float | None) -> Iterator[str]:
    """A line a stage: GiB are of one device, of a host with all ranks, and of what stays on disk."""
    rows: list[tuple[str, ...]] = [("stage", "tokens", "PFLOP", "time", _cost(price), "device", "host", "disk")]
    hours = [hours_of(work, devices) for work in done]
    cost = devices.number * (price or 1.0)
    for work, taken in zip(done, hours, strict=True):
        sizes = (_device_bytes(work, devices), _host_bytes(work, devices), work.disk_bytes)
        rows.append(_row(work.stage, work.tokens, work.flops, taken, cost, sizes))
    total, flops = sum(work.tokens for work in done), sum(work.flops for work in done)
    rows.append(_row("all", total, flops, sum(hours), cost, (0, 0, _disk_bytes(done))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        texts = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *texts])


def _cost(price: float | None) -> str:
    return "device-hours" if price is None else "cost"


def _row(stage: str, tokens: float, flops: float, hours: float, cost: float, sizes: Sequence[int]) -> tuple[str, ...]:
    return stage, f"{tokens:,.0f}", f"{flops / 1e15:,.3g}", _time(hours), f"{hours * cost:,.2f}", *map(_gib, sizes)


def _disk_bytes(done: Sequence[Work]) -> int:
    """What stays of all stages, and the checkpoints of one at a time."""
    return sum(work.disk_bytes for work in done) + max(work.resume_bytes for work in done)


def _device_bytes(work: Work, devices: Devices) -> int:
    return work.memory.total + CONTEXT_BYTES if work.memory is not None and devices.kind == "cuda" else 0


def _host_bytes(work: Work, devices: Devices) -> int:
    """Of all ranks on one host."""
    own = work.memory.total if work.memory is not None and devices.kind == "cpu" else 0
    return (own + PROCESS_BYTES) * devices.number + work.host_bytes


def _fits(done: Sequence[Work], devices: Devices, root: Path) -> Iterator[Finding]:
    largest = max(done, key=lambda work: _device_bytes(work, devices))
    if devices.kind == "cuda":
        needs, has = _device_bytes(largest, devices), devices.memory_bytes
        text = f"{largest.stage} needs {_gib(needs)} of {_gib(has)} GiB"
        yield Finding("memory of a device", needs <= has, text if needs <= has else f"{text}: {largest.smaller}")
    else:
        needs = max(_host_bytes(work, devices) for work in done)
        has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        yield Finding("memory", needs <= has, f"needs {_gib(needs)} of {_gib(has)} GiB")
    disk, free = _disk_bytes(done), shutil.disk_usage(root).free
    yield Finding("disk", disk <= free, f"{_gib(disk)} GiB with the largest training's checkpoints, {_gib(free)} are free here")


def _gib(number: float) -> str:
    return f"{number / GIB:,.1f}" if number else ""


def _time(hours: float) -> str:
    if hours >= 1000 * 24:
        return f"{hours / 24 / 365.25:,.0f} years"
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
