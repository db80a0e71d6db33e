"""Which accelerators this machine has, as the ids that CUDA_VISIBLE_DEVICES takes."""

from __future__ import annotations

import os
import subprocess

from omegaconf import DictConfig

from wmtp.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"
AUTO = "auto"
_QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")


def found() -> list[str]:
    """The devices that this process may use: those that its environment names, or all that the driver knows."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    try:
        listed = subprocess.run(_QUERY, capture_output=True, text=True, check=False)
    except OSError:  # no driver
        return []
    return listed.stdout.split() if listed.returncode == 0 else []


def resolve(tree: DictConfig) -> None:
    """Put numbers in the place of `auto` in a launch configuration.

    Raises:
        ConfigError: there is no device to be found.
    """
    if tree.get("devices") == AUTO:
        tree["devices"] = found()
        if not tree["devices"]:
            raise ConfigError(
                f"launch.devices=auto: no GPU here (nvidia-smi names none, {VISIBLE} neither): list them, or use another "
                f"file of configs/launch/ (WMTP_LAUNCH=local)"
            )
    if tree.get("nproc_per_node") == AUTO:
        if not tree.get("devices"):
            raise ConfigError("launch.nproc_per_node=auto: a rank for each of launch.devices, and there are none")
        tree["nproc_per_node"] = len(tree["devices"])
