"""Typed, strict configuration: `compose` makes it, params.yaml holds it, every stage reads it."""

from wmtp.config.compose import compose, load_launch, read_params, weighting, write_params
from wmtp.config.schema import ArmConfig, Config, LaunchConfig, RunConfig

__all__ = [
    "ArmConfig",
    "Config",
    "LaunchConfig",
    "RunConfig",
    "compose",
    "load_launch",
    "read_params",
    "weighting",
    "write_params",
]
