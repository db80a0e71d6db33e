"""Weighted multi-token prediction experiments."""

__version__ = "0.1.0"
