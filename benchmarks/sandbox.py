"""Programs per second and core: warm sandboxes against the executors of the field, and against an isolated interpreter each.

    python benchmarks/sandbox.py
    python benchmarks/sandbox.py --human-eval CLONE --bigcode CLONE     # beside theirs, from your clones
    python benchmarks/sandbox.py --stragglers                           # completions of which some never end

- `wmtp`: `run_tests`, a warm interpreter in its sandbox that forks for every program.
- `human-eval` (github.com/openai/human-eval) and `bigcode` (github.com/bigcode-project/bigcode-evaluation-harness): their own
  `check_correctness`, loaded from the clone, by as many threads as there are cores, as their own evaluations call it. They
  isolate nothing.
- `interpreter per program`: the same bubblewrap command line as ours, with `python -I -S program.py` at its end.

Programs are a short standard input program (one test, which the executors do not have), a short function (three asserts) and
one whose tests and answers are not plain, so that ours runs it twice. The ways take turns, all confined to one core, then to
all, with a sandbox (a thread, an interpreter) at work for each.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from wmtp.sandbox.checker import same_output
from wmtp.sandbox.isolation import isolation
from wmtp.sandbox.namespaces import command
from wmtp.sandbox.pool import run_tests
from wmtp.types import AssertTest, IOTest, Limits, Program

Way = Callable[[Program, int, int], float]
"""A program, how many times, by how many workers -> programs per second."""
LIMITS = Limits(time_limit_s=3.0)
FUNCTION = "def largest(numbers):\n    best = numbers[0]\n    for n in numbers:\n        best = max(best, n)\n    return best\n"
ASSERTS = tuple(AssertTest(f"assert largest([1, {n}, 3]) == {max(3, n)}") for n in (2, 5, 9))
PAIRS = "def pairs(numbers):\n    return dict.fromkeys(zip(numbers, numbers[1:])).keys()\n"
KINDS = {
    "standard input": Program("print(sum(int(x) for x in input().split()))", (IOTest("1 2 3\n", "6\n"),)),
    "three asserts": Program(FUNCTION, ASSERTS),
    "three asserts on objects": Program(
        PAIRS, tuple(AssertTest(f"assert sorted(pairs([1, {n}, 3])) == {sorted([(1, n), (n, 3)])}") for n in (2, 5, 9))
    ),
}
LOOP, SLEEP = "while True:\n    pass\n", "import time\ntime.sleep(10**6)\n"
EXECUTORS = {
    "human-eval": "human_eval/execution.py",
    "bigcode": "bigcode_eval/tasks/custom_metrics/execute.py",
}


def code_of(program: Program) -> list[str]:
    return [test.code for test in program.tests if isinstance(test, AssertTest)]


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
    stdin = test.stdin if isinstance(test, IOTest) else ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text("\n".join([program.source, *code_of(program), ""]))
        bind = ["--ro-bind", str(path), "/program.py"]
        line = [*started_as[:mounts], *bind, *started_as[mounts:python], started_as[python], "-I", "-S", "-B", "/program.py"]

        def one(_: int) -> bool:
            done = subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=LIMITS.time_limit_s, check=False)
            return done.returncode == 0 and (not isinstance(test, IOTest) or same_output(done.stdout, test.stdout))

        return threaded(one, count, workers)


def threaded(one: Callable[[int], bool], count: int, workers: int) -> float:
    """Calls per second, all of which must be right."""
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        assert all(pool.map(one, range(count)))
    return count / (time.perf_counter() - started)


def executor(name: str, clone: Path) -> Way:
    """Another project's `check_correctness`. It must tell right from wrong: some are published with the line that executes
    commented out.
    """
    path = clone / EXECUTORS[name]
    spec = importlib.util.spec_from_file_location(f"executor_of_{name.replace('-', '_')}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        sys.exit(f"{path} is not there: --{name} takes the folder of a clone")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    check: Callable[..., dict[str, Any]] = module.check_correctness

    def passes(program: Program) -> bool:
        tests = "\n".join(code_of(program))
        if name == "bigcode":
            return bool(check(f"{program.source}\n{tests}", LIMITS.time_limit_s, 0, 0)["passed"])
        test = f"def check(candidate):\n{textwrap.indent(tests, '    ')}\n"
        problem = {"task_id": "0", "prompt": "", "test": test, "entry_point": program.source.partition("(")[0].split()[-1]}
        return bool(check(problem, program.source, LIMITS.time_limit_s)["passed"])

    right = KINDS["three asserts"]
    if not passes(right) or passes(replace(right, source="def largest(numbers):\n    return 0\n")):
        sys.exit(f"{path} does not tell a right program from a wrong one: is its `exec` commented out?")
    return lambda program, count, workers: threaded(lambda _: passes(program), count, workers)


def print_rates(ways: dict[str, Way], programs: int, rounds: int) -> None:
    """Medians over the rounds, and how many times as many programs ours runs."""
    cores = sorted(os.sched_getaffinity(0))
    names = list(ways)
    print(f"| programs | cores | {', programs/s | '.join(names)}, programs/s |")
    print(f"| --- | --- |{' --- |' * len(names)}")
    for kind, program in KINDS.items():
        able = [name for name in names if name not in EXECUTORS or code_of(program)]
        for workers in sorted({1, len(cores)}):
            os.sched_setaffinity(0, cores[-workers:])
            rates: dict[str, list[float]] = {name: [] for name in able}
            for _ in range(rounds):
                for name in able:
                    rates[name].append(ways[name](program, programs if name == names[0] else max(20, programs // 20), workers))
            medians = {name: statistics.median(found) for name, found in rates.items()}
            ours = medians[names[0]]
            cells = [f"{medians[name]:,.0f} ({ours / medians[name]:.1f}x)" if name in able else "-" for name in names[1:]]
            print(f"| {kind} | {workers} | {ours:,.0f} | {' | '.join(cells)} |", flush=True)


def print_stragglers(completions: int, endless: int, numbers: list[int]) -> None:
    """Seconds for all, of which some never end, spread evenly; some that work, which take a core, or that sleep."""
    cores = len(os.sched_getaffinity(0))
    print(f"{completions:,} completions, {endless} of which never end; {LIMITS.time_limit_s:g} s each; {cores} cores\n")
    print("| workers | asleep, s | at least | in a loop, s | at least |")
    print("| --- | --- | --- | --- | --- |")
    for workers in numbers:
        cells = []
        for source, at_once in ((SLEEP, workers), (LOOP, min(workers, cores))):
            every = completions // endless
            stuck = Program(source, ASSERTS)
            programs = [stuck if n % every == every // 2 else KINDS["three asserts"] for n in range(completions)]
            started = time.perf_counter()
            verdicts = run_tests(programs, limits=LIMITS, num_workers=workers)
            seconds = time.perf_counter() - started
            expected = ["timeout" if program is stuck else "passed" for program in programs]
            assert [verdict.status for verdict in verdicts] == expected
            cells += [f"{seconds:.1f}", f"{LIMITS.time_limit_s * -(-programs.count(stuck) // at_once):.1f}"]
        print(f"| {workers} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000, help="a round; a twentieth of it for the other ways")
    parser.add_argument("--rounds", type=int, default=5)
    for name in EXECUTORS:
        parser.add_argument(f"--{name}", type=Path, metavar="CLONE", help="a folder with a clone of it")
    parser.add_argument("--stragglers", action="store_true", help="completions that never end, by the number of workers")
    parser.add_argument("--completions", type=int, default=512)
    parser.add_argument("--endless", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 16, 64])
    arguments = vars(parser.parse_args())
    if arguments["stragglers"]:
        print_stragglers(arguments["completions"], arguments["endless"], arguments["workers"])
        return
    if isolation() != "bubblewrap":
        sys.exit("bubblewrap is needed for this comparison: scripts/install-system")
    clones = {name: arguments[name.replace("-", "_")] for name in EXECUTORS}
    others = {name: executor(name, clone) for name, clone in clones.items() if clone is not None}
    print_rates({"wmtp": warm, **others, "interpreter per program": cold}, arguments["programs"], arguments["rounds"])


if __name__ == "__main__":
    main()
