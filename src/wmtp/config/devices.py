"""Which accelerators this machine has, as the ids that CUDA_VISIBLE_DEVICES takes, and what a launch makes of them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from wmtp.errors import ConfigError

if TYPE_CHECKING:
    from wmtp.config.schema import LaunchConfig

VISIBLE = "CUDA_VISIBLE_DEVICES"
AUTO = "auto"
NONE = "-1"
_NAME = re.compile(r"\d+|(?:GPU|MIG)-[0-9A-Za-z/-]+")


def found() -> list[str]:
    """The devices that this process may use: those that its environment names, or all that the driver knows.

    By UUID where the driver says what an index is: two stages must not know one device by two names.

    Raises:
        ConfigError: the environment's list is not one of devices. (CUDA would use what comes before the mistake.)
    """
    known = _known()
    if VISIBLE not in os.environ:
        return list(known.values())
    names = [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    if names == [NONE]:
        return []
    wrong = [name for name in names if not _NAME.fullmatch(name) or (known and name.isdigit() and name not in known)]
    if wrong:
        there = f"indices ({', '.join(known)})" if known else "indices"
        raise ConfigError(f"{VISIBLE}={os.environ[VISIBLE]}: {wrong[0]} is no device here; {there}, GPU-... and MIG-... are")
    return [known.get(name, name) for name in names]


def is_part(name: str) -> bool:
    """Whether a device is a part of a GPU (MIG): a process sees one of those at most, and NCCL connects none."""
    return name.startswith("MIG-")


def _known() -> dict[str, str]:
    """UUIDs by index, as the driver says; empty without one."""
    pairs = [line.split(", ") for line in _asked("index,uuid")]
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _asked(fields: str) -> list[str]:
    """The driver's answer, a line for each GPU; none without a driver."""
    try:
        listed = subprocess.run(
            ("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"), capture_output=True, text=True, check=False
        )
    except OSError:
        return []
    return [line.strip() for line in listed.stdout.splitlines()] if listed.returncode == 0 else []


def _why_none() -> str:
    return f"{VISIBLE}={os.environ[VISIBLE]!r}" if VISIBLE in os.environ else "nvidia-smi names none"


def resolve(tree: DictConfig) -> None:
    """Put numbers in the place of `auto` in a launch configuration.

    Raises:
        ConfigError: there is no device to be found.
    """
    if tree.get("devices") == AUTO:
        tree["devices"] = found()
        if not tree["devices"]:
            raise ConfigError(
                f"launch.devices=auto: no GPU here ({_why_none()}): list them, or use another file of configs/launch/ "
                f"(WMTP_LAUNCH=local)"
            )
    if tree.get("nproc_per_node") == AUTO:
        if not tree.get("devices"):
            raise ConfigError("launch.nproc_per_node=auto: a rank for each of launch.devices, and there are none")
        tree["nproc_per_node"] = len(tree["devices"])


def settled(launch: LaunchConfig) -> LaunchConfig:
    """With `cuda` in the place of `auto` on a machine with GPUs. A Slurm job finds out for itself, on its nodes.

    Where the driver names none, `auto` stays for the stage to decide: PyTorch knows more kinds than this driver's.

    Raises:
        ConfigError: fewer GPUs than ranks.
    """
    if launch.launcher != "local" or launch.device == "cpu" or launch.devices:
        return launch
    there = len(found())
    if there and launch.nproc_per_node > there:
        raise ConfigError(
            f"launch.nproc_per_node={launch.nproc_per_node} is more than the GPUs here ({there}): a rank for each of them "
            f"(WMTP_NPROC={there}), or launch.device: cpu"
        )
    return replace(launch, device="cuda") if there else launch


def unused(launch: LaunchConfig) -> int:
    """How many GPUs this machine has that a launch configuration leaves alone: it computes on the processors."""
    return len(found()) if launch.launcher == "local" and launch.device == "cpu" else 0


def kind() -> str | None:
    """What the driver calls this machine's GPUs; None without any, or with several kinds."""
    names = set(_asked("name"))
    return names.pop() if len(names) == 1 else None
