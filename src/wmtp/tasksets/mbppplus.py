"""MBPP+ (Liu et al. 2023, arXiv 2305.01210): the well-posed tasks of MBPP with many more inputs."""

from __future__ import annotations

from dataclasses import replace

from wmtp.problems.published.evalplus import mbpp_plus
from wmtp.tasksets import mbpp

TASKSET = replace(
    mbpp.TASKSET,
    name="mbppplus",
    description="MBPP+: tasks of MBPP with many more inputs; pass@1 is with all of them, base_pass@1 with MBPP's own",
    citation="Liu et al. 2023, arXiv 2305.01210; evalplus/evalplus, eval/",
    read=mbpp_plus,
    has_own_limits=True,
    not_for_training="it is a test set",
)
