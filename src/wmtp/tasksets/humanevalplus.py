"""HumanEval+ (Liu et al. 2023, arXiv 2305.01210): HumanEval with many more inputs."""

from __future__ import annotations

from dataclasses import replace

from wmtp.problems.published.evalplus import humaneval_plus
from wmtp.tasksets import humaneval

TASKSET = replace(
    humaneval.TASKSET,
    name="humanevalplus",
    not_for_training="it is a test set",
    trusted_only="",
    description="HumanEval+: HumanEval with many more inputs; pass@1 is with all of them, base_pass@1 with HumanEval's own",
    citation="Liu et al. 2023, arXiv 2305.01210; evalplus/evalplus, eval/",
    read=humaneval_plus,
    has_own_limits=True,
)
