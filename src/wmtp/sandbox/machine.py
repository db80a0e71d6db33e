"""How slow this machine is: a problem's own time limit was meant for a judge's machine."""

from __future__ import annotations

import subprocess
import sys

from wmtp.errors import EvaluationError

REFERENCE_S = 0.19
"""What `_WORK` takes on an unloaded core of an AMD EPYC server of 2024 with CPython 3.11."""

_ROUNDS = 3
_WORK = """
import time

began = time.process_time()
counts = {}
values = [(i * 7919) % 10007 for i in range(120_000)]
for value in values:
    counts[value] = counts.get(value, 0) + 1
total = 0
for i in range(1_200_000):
    total = (total + i * i) % 1_000_003
words = " ".join(map(str, sorted(values))).split()
assert (total, len(counts), len(words)) == (543979, 10007, 120000)
print(time.process_time() - began)
"""


def machine_factor() -> float:
    """Processor time of a fixed program over its time on the reference machine, at least 1: fast machines get no less than the
    limit that a problem states. A machine that is busy is not a slower one: programs are charged for what they work.

    Raises:
        EvaluationError: the program does not run.
    """
    times = []
    for _ in range(_ROUNDS):
        ran = subprocess.run([sys.executable, "-I", "-S", "-c", _WORK], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise EvaluationError(f"the program that measures this machine failed: {ran.stderr.strip()[-300:]}")
        times.append(float(ran.stdout))
    return max(1.0, min(times) / REFERENCE_S)
