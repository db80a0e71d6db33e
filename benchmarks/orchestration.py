"""What a run costs that has nothing to do, and how that grows with the number of runs that are compared.

    python benchmarks/orchestration.py                  # 10, 40 and 120 runs of one arm
    python benchmarks/orchestration.py --runs 10 --rounds 5

The pipeline has the shape of wmtp's and stages of milliseconds (tests/integration/light.py); everything is up to date.

- `dvc status`: DVC's own check of the same pipeline.
- `wmtp run`: the same, which says that there is nothing to do without starting Prefect. The aim: at most 1.5 x `dvc status`.
- `flow on a server`: a deployment's run, on a Prefect server that is at work: a task for every stage, each of them judged. Less
  Prefect's own share, `empty tasks`, this is to be at most 1.5 x `dvc status`, too.

The commands take turns; medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.integration.light import LightWorkspace, prefect_server

EMPTY_FLOW = """
import sys
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

@task(cache_policy=NO_CACHE, persist_result=False)
def nothing(): ...

@flow(persist_result=False)
def empty():
    for future in [nothing.submit() for _ in range(int(sys.argv[1]))]:
        future.wait()

empty()
"""
FLOW = "import sys; from flows.wmtp import wmtp; wmtp(profile='toy', arms=['baseline'], seeds=list(range(int(sys.argv[1]))))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 40, 120])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| runs | stages | dvc status | wmtp run | of it | flow on a server | empty tasks |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder, prefect_server(Path(folder)) as url:
        for number in arguments.runs:
            workspace = LightWorkspace(Path(folder) / f"runs-{number}", url)
            found = {name: statistics.median(taken) for name, taken in _measured(workspace, number, arguments.rounds).items()}
            ratio = found["wmtp run"] / found["dvc status"]
            cells = [f"{found[name]:.1f}" for name in ("dvc status", "wmtp run", "flow", "empty")]
            print(
                f"| {number} | {2 * number + 2} | {cells[0]} | {cells[1]} | {ratio:.2f}x | {cells[2]} | {cells[3]} |",
                flush=True,
            )


def _measured(workspace: Any, number: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every command, in a pipeline of so many runs in which everything is up to date."""
    what = ["--profile", "toy", "--arms", "baseline", "--seeds", ",".join(map(str, range(number)))]
    workspace.run("wmtp", "params", *what)
    workspace.run("dvc", "repro", "--quiet")
    commands = {
        "dvc status": ["dvc", "status"],
        "wmtp run": ["wmtp", "run", "compare", *what],
        "flow": [sys.executable, "-c", FLOW, str(number)],
        "empty": [sys.executable, "-c", EMPTY_FLOW, str(2 * number + 2)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            began = time.perf_counter()
            output = workspace.run(*command)
            times[name].append(time.perf_counter() - began)
            if name == "wmtp run" and "0 stages ran, 0 were restored" not in output:
                sys.exit("something was not up to date")
    return times


if __name__ == "__main__":
    main()
