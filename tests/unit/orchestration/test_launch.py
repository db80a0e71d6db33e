"""What the launcher reads out of torchrun's report."""

import pytest

from wmtp.orchestration.launch import _root_cause


def report(root, *others):
    def entry(number, rank, code):
        where = f"[{number}]:\n  time      : 2026\n  host      : h\n"
        return f"{where}  rank      : {rank} (local_rank: {rank})\n  exitcode  : {code} (pid: 7)\n"

    failures = "".join(entry(1 + i, *other) for i, other in enumerate(others))
    return f"ChildFailedError:\nFailures:\n{failures}---\nRoot Cause (first observed failure):\n{entry(0, *root)}"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (report((1, -9)), ("1", -9)),
        (report((0, 1), (1, -9)), ("1", -9)),
        (report((1, -9), (0, 1)), ("1", -9)),
        (report((1, -9), (0, -11)), ("1", -9)),
        (report((0, -11), (1, -9)), ("1", -9)),
        (report((0, -11), (1, -15)), ("0", -11)),
        (report((0, 1), (1, -15)), ("0", 1)),
        (report((0, 1), (1, -6)), ("0", 1)),
        (report((1, -6)), ("1", -6)),
        ("Traceback: no report", None),
    ],
)
def test_a_killed_rank_is_the_cause_of_the_others_errors(text, cause):
    assert _root_cause(text) == cause
