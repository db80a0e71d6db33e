"""What decides no number: how often something is written or shown, and how much is computed at once."""

from __future__ import annotations

from dataclasses import dataclass

from wmtp.checks import require


@dataclass(frozen=True)
class RuntimeConfig:
    """Read by every stage and a parameter of none, so that a change makes nothing stale. Intervals are in optimizer steps.

    `log_interval`: a row of metrics; `checkpoint_interval`: what a stopped training loses at most; `keep_checkpoints`: so many
    of the newest stay. `generation_batch_size`: completions that are decoded at once. `num_drafts`: tokens that the further
    heads propose per forward pass (self-speculative decoding). The completions stay the same; it pays where a forward pass
    costs the same for a few tokens as for one: small batches, large models.
    """

    log_interval: int = 10
    checkpoint_interval: int = 100
    keep_checkpoints: int = 2
    generation_batch_size: int = 128
    num_drafts: int = 0

    def __post_init__(self) -> None:
        for key in ("log_interval", "checkpoint_interval", "keep_checkpoints", "generation_batch_size"):
            require(getattr(self, key) > 0, f"runtime.{key}", getattr(self, key), "a positive whole number")
        require(self.num_drafts >= 0, "runtime.num_drafts", self.num_drafts, "0 or a positive whole number")
