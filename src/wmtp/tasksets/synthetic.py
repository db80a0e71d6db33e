"""The embedded dataset: problems composed of list operations, made by `wmtp.synthetic`, read back from what `sample` wrote."""

from __future__ import annotations

from wmtp.problems.files import problem_from_record
from wmtp.tasksets.base import TaskSet

TASKSET = TaskSet(
    name="synthetic",
    description="embedded generator: programs on standard input composed of list operations, right and wrong ones",
    citation="wmtp.synthetic",
    read=problem_from_record,
    checker="exact",  # whole numbers and words are all that its programs print
    is_generated=True,
)
