"""What labelling costs when verdicts are kept: a first sampling, the same again, another seed, another curriculum.

    python benchmarks/verdicts.py

Problems with many given solutions (a JSON lines file that this script makes), of which `sample` chooses and runs some. Every
row starts from what the rows above have kept; beside it, what the same sampling costs with nothing kept.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.examples.labels import make_examples
from wmtp.examples.sources import load_splits
from wmtp.examples.store import Stores
from wmtp.ledger import Ledger
from wmtp.sandbox.pool import run_tests
from wmtp.sandbox.store import OnVerdict, VerdictStore
from wmtp.types import Limits, Program, Verdict

OPERATIONS = ("n + {}", "n - {}", "n * {}", "n // {}", "n % {}", "max(n, {})", "min(n, {})", "abs(n - {})")


def write_problems(path: Path, number: int, solutions: int, tests: int, seed: int) -> None:
    """`number` problems, each with so many solutions (half of them wrong) and tests."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as lines:
        for i in range(number):
            steps = [draw.choice(OPERATIONS).format(draw.randint(2, 9)) for _ in range(3)]
            inputs = [draw.randint(-99, 99) for _ in range(tests)]
            expected = [_apply(steps, n) for n in inputs]
            codes = [(_code(steps, j), True) for j in range(solutions // 2)]
            codes += [(_code([*steps[:2], f"n + {j + 1}"], j), False) for j in range(solutions // 2)]
            record = {
                "problem_id": f"{path.stem}/{i}",
                "prompt": f"{path.stem} {i}: read n and apply {', '.join(steps)}.",
                "difficulty": draw.randint(1, 9),
                "tests": [{"stdin": f"{n}\n", "stdout": f"{out}\n"} for n, out in zip(inputs, expected, strict=True)],
                "solutions": [{"code": code, "is_correct": is_correct} for code, is_correct in codes],
            }
            lines.write(json.dumps(record) + "\n")


def _apply(steps: Sequence[str], n: int) -> int:
    for step in steps:
        n = eval(step, {"n": n, "max": max, "min": min, "abs": abs})
    return n


def _code(steps: Sequence[str], variant: int) -> str:
    return "\n".join([f"# {variant}", "n = int(input())", *(f"n = {step}" for step in steps), "print(n)"])


def label(config: DataConfig, kept: Path, workers: int) -> tuple[int, int, float]:
    """Programs asked for, programs run, and seconds of sampling and labelling the training mix."""
    asked = ran = 0
    started = time.perf_counter()
    store = VerdictStore(kept)

    def execute(programs: Sequence[Program]) -> list[Verdict]:
        def run(new: Sequence[Program], keep: OnVerdict) -> list[Verdict]:
            nonlocal ran
            ran += len(new)
            return run_tests(new, limits=Limits(), num_workers=workers, on_verdict=keep)

        nonlocal asked
        asked += len(programs)
        return store.run(programs, run)

    ledger = Ledger()
    splits = load_splits(config, Path(), ledger, stores=Stores(kept))
    account = ledger.account("table/train", "split/train")
    make_examples(splits.train, config, execute, table="train", noisy=False, wrong=True, account=account)
    return asked, ran, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=600)
    parser.add_argument("--solutions", type=int, default=24, help="of each problem")
    parser.add_argument("--tests", type=int, default=10, help="of each problem")
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train, validation = Path(folder) / "train.jsonl", Path(folder) / "validation.jsonl"
        write_problems(train, options.problems, options.solutions, options.tests, seed=0)
        write_problems(validation, 20, 4, options.tests, seed=1)
        config = DataConfig(
            source="jsonl",
            train_path=str(train),
            validation_path=str(validation),
            num_problems=None,
            num_reference_problems=10,
            num_validation_problems=10,
            num_test_problems=10,
            max_per_problem=8,
            mutants_per_solution=0,
            noise=NoiseConfig(frac=0.0),
        )
        rows = {
            "first": config,
            "the same again": config,
            "another seed": replace(config, seed=1),
            "fewer of each problem": replace(config, max_per_problem=4),
            "a curriculum by difficulty bins": replace(config, difficulty_bins=[4, 7], difficulty_weights=[1.0, 2.0, 1.0]),
        }
        print("| sampling | programs | run | s | with nothing kept, s |\n| --- | --- | --- | --- | --- |")
        for number, (name, row) in enumerate(rows.items()):
            asked, ran, seconds = label(row, Path(folder) / "kept", options.workers)
            alone = label(row, Path(folder) / f"alone{number}", options.workers)[2]
            print(f"| {name} | {asked:,} | {ran:,} | {seconds:.1f} | {alone:.1f} |", flush=True)


if __name__ == "__main__":
    main()
