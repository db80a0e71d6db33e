"""Generation, sandboxed execution and scores."""

from wmtp.evaluation.pass_at_k import pass_at_k
from wmtp.sandbox.pool import run_tests

__all__ = ["pass_at_k", "run_tests"]
