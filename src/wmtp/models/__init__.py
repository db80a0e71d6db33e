"""Models. Importing this package registers MTPForCausalLM with transformers' Auto classes."""

from wmtp.models.mtp import MTPConfig, MTPForCausalLM

__all__ = ["MTPConfig", "MTPForCausalLM"]
