"""Programs per second and core: warm sandboxes against one isolated interpreter per program.

    python benchmarks/sandbox.py

- `wmtp`: `run_tests`, a warm interpreter in its sandbox that forks for every program.
- `interpreter per program`: the same bubblewrap (or unshare) command line, with `python -I -S program.py` at its end.

Programs are a short standard input program (one test) and a short function (three asserts). The two ways take turns, both
confined to one core, then to all, with a sandbox (or an interpreter) at work for each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wmtp.sandbox.checker import same_output
from wmtp.sandbox.isolation import isolation
from wmtp.sandbox.namespaces import command
from wmtp.sandbox.pool import run_tests
from wmtp.types import AssertTest, IOTest, Limits, Program

LIMITS = Limits()
FUNCTION = "def largest(numbers):\n    best = numbers[0]\n    for n in numbers:\n        best = max(best, n)\n    return best\n"
ASSERTS = tuple(AssertTest(f"assert largest([1, {n}, 3]) == {max(3, n)}") for n in (2, 5, 9))
KINDS = {
    "standard input": Program("print(sum(int(x) for x in input().split()))", (IOTest("1 2 3\n", "6\n"),)),
    "three asserts": Program(FUNCTION, ASSERTS),
}


def warm(program: Program, count: int, workers: int) -> float:
    """Programs per second of `run_tests`, its start included."""
    started = time.perf_counter()
    verdicts = run_tests([program] * count, limits=LIMITS, num_workers=workers)
    seconds = time.perf_counter() - started
    assert all(verdict.passed for verdict in verdicts)
    return count / seconds


def cold(program: Program, count: int, workers: int) -> float:
    """Programs per second with an interpreter of its own for each, in the same isolation."""
    started_as = command(isolation(), None)
    python = next(i for i, part in enumerate(started_as) if "/bin/python3" in part)
    mounts = started_as.index("--proc")  # the root becomes read-only later in the line
    test = program.tests[0]
    tail = "" if isinstance(test, IOTest) else "\n".join(one.code for one in program.tests if isinstance(one, AssertTest))
    stdin = test.stdin if isinstance(test, IOTest) else ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(f"{program.source}\n{tail}\n")
        bind = ["--ro-bind", str(path), "/program.py"]
        line = [*started_as[:mounts], *bind, *started_as[mounts:python], started_as[python], "-I", "-S", "-B", "/program.py"]

        def one(_: int) -> bool:
            done = subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=LIMITS.time_limit_s, check=False)
            return done.returncode == 0 and (not isinstance(test, IOTest) or same_output(done.stdout, test.stdout))

        started = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            assert all(pool.map(one, range(count)))
        return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if isolation() != "bubblewrap":
        sys.exit("bubblewrap is needed for this comparison: scripts/install-system")
    cores = sorted(os.sched_getaffinity(0))
    print("| programs | cores | wmtp, programs/s | interpreter per program, programs/s | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for kind, program in KINDS.items():
        for workers in sorted({1, len(cores)}):
            os.sched_setaffinity(0, cores[-workers:])
            rates: tuple[list[float], list[float]] = ([], [])
            for _ in range(arguments.rounds):
                rates[0].append(warm(program, arguments.programs, workers))
                rates[1].append(cold(program, arguments.programs // 20, workers))
            ours, theirs = map(statistics.median, rates)
            print(f"| {kind} | {workers} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
