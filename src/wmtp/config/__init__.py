"""Typed, strict configuration: `compose` makes it, params.yaml holds it, every stage reads it."""

from wmtp.config.arms import ArmConfig, RunConfig
from wmtp.config.compose import compose, load_launch, read_params, write_params
from wmtp.config.schema import Config, LaunchConfig

__all__ = [
    "ArmConfig",
    "Config",
    "LaunchConfig",
    "RunConfig",
    "compose",
    "load_launch",
    "read_params",
    "write_params",
]
