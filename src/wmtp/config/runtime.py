"""What decides no number: how often something is written or shown, and how much is computed at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from wmtp.checks import require


@dataclass(frozen=True)
class RuntimeConfig:
    """Read by every stage and a parameter of none, so that a change makes nothing stale. Intervals are in optimizer steps.

    `log_interval`: a row of metrics; `checkpoint_interval`: what a stopped training loses at most; `keep_checkpoints`: so many
    of the newest stay. `generation_batch_size`: completions that are decoded at once. `num_drafts`: tokens that the further
    heads propose per forward pass (self-speculative decoding), of an arm with fewer heads as many as these can. The completions
    stay the same; it pays where a forward pass costs the same for a few tokens as for one: small batches, large models.
    `trace_step`: from this step on the profiler looks at `trace_num_steps` steps of every training; one file a rank is in
    `.wmtp/traces`.
    """

    log_interval: int = 10
    checkpoint_interval: int = 100
    keep_checkpoints: int = 2
    generation_batch_size: int = 128
    num_drafts: int = 0
    trace_step: Optional[int] = None
    trace_num_steps: int = 3

    def __post_init__(self) -> None:
        for key in ("log_interval", "checkpoint_interval", "keep_checkpoints", "generation_batch_size", "trace_num_steps"):
            require(getattr(self, key) > 0, f"runtime.{key}", getattr(self, key), "a positive whole number")
        first = self.trace_step
        require(first is None or first > 0, "runtime.trace_step", first, "a positive whole number, or null for no trace")
        require(self.num_drafts >= 0, "runtime.num_drafts", self.num_drafts, "0 or a positive whole number")
