"""Weighted multi-token prediction experiments. `import wmtp.models` makes a policy known to transformers' Auto classes."""

__version__ = "0.1.0"
