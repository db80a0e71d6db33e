"""What a run costs that has nothing to do: everything is cached, and the flow only finds that out.

    make demo && python benchmarks/orchestration.py
    python benchmarks/orchestration.py --preset compare --profile demo --rounds 5

- `dvc status`: DVC's own check of the same pipeline.
- `Prefect alone`: a flow of one empty task on a temporary server, as `wmtp run` uses one.
- `wmtp run`: the fully cached run. The aim: at most 1.5 x the two together.

The three take turns; medians. Below: where the run's time goes, from the same command's own clock.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from datetime import datetime

EMPTY_FLOW = """
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

@task(cache_policy=NO_CACHE, persist_result=False)
def nothing(): ...

@flow(persist_result=False)
def empty(): nothing.submit().wait()

empty()
"""


def seconds(command: list[str]) -> tuple[float, str]:
    """Wall time and output of a command that must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started, done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="compare")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    commands = {
        "dvc status": [sys.executable, "-m", "dvc", "status"],
        "Prefect alone": [sys.executable, "-c", EMPTY_FLOW],
        "wmtp run": [sys.executable, "-m", "wmtp.cli", "run", arguments.preset, "--profile", arguments.profile],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    clocks: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            began = datetime.now()
            taken, output = seconds(command)
            times[name].append(taken)
            if name == "wmtp run":
                if not re.search(r"\b0 stages ran, 0 were restored", output):
                    sys.exit("something was not up to date: run the flow once before")
                clocks.append(_clock(began, taken, output))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("| | seconds |\n| --- | --- |")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} |")
    together = medians["dvc status"] + medians["Prefect alone"]
    print(f"\nwmtp run costs {medians['wmtp run'] / together:.2f}x `dvc status` and Prefect together\n")
    print("| of `wmtp run` | seconds |\n| --- | --- |")
    for part in clocks[0]:
        print(f"| {part} | {statistics.median(clock[part] for clock in clocks):.2f} |")


def _clock(began: datetime, taken: float, output: str) -> dict[str, float]:
    """Seconds of each part, from the log's time stamps."""

    def at(pattern: str) -> float:
        found = re.search(rf"^(\d\d:\d\d:\d\d\.\d+) .*{pattern}", output, re.MULTILINE)
        assert found is not None, pattern
        stamp = datetime.strptime(found[1], "%H:%M:%S.%f").replace(year=began.year, month=began.month, day=began.day)
        return (stamp - began).total_seconds()

    server, flow, params, end = at("Starting temporary server"), at("Beginning flow run"), at("'params'"), at("stages ran")
    return {
        "imports, configuration": server,
        "server's start": flow - server,
        "flow's start, composing the parameters": params - flow,
        "all stages judged and published": end - params,
        "table, server's end": taken - end,
    }


if __name__ == "__main__":
    main()
