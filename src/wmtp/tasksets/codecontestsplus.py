"""CodeContests+ (Wang et al. 2025, arXiv 2506.05817): CodeContests with tests made anew, and a checker for every problem."""

from __future__ import annotations

from wmtp.problems.published.codecontests_plus import to_problem
from wmtp.tasksets.base import TaskSet

TASKSET = TaskSet(
    name="codecontestsplus",
    description="CodeContests+: competitive programs on standard input, with right and wrong submissions and new tests",
    citation="Wang et al. 2025, arXiv 2506.05817",
    read=to_problem,
    has_own_limits=True,
    packages=("numpy",),
)
