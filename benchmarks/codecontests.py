"""What sampling costs on a dataset of CodeContests' size and layout, beside JSON lines that are filtered in Python.

    python benchmarks/codecontests.py                 (a fiftieth of the size, by default)
    python benchmarks/codecontests.py --scale 1       13,000 problems with 280 solutions each, 3.64 million; 2 GB of parquet

The dataset is made first, in the hub's layout (nested structs, several languages, unknown ratings). Every row of the table is a
process of its own, so that its peak memory is its own; MB are of the parquet file's texts, unpacked.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.examples.sources import load_splits
from wmtp.ledger import Ledger
from wmtp.tokens.tokenizer import train_tokenizer

PROBLEMS, SOLUTIONS = 13_000, 280
LANGUAGES = (3, 3, 3, 2, 1)
"""Three of five solutions are in Python 3."""
WORDS = ("read", "the", "array", "of", "integers", "and", "print", "for", "every", "query", "pairs", "whose", "sum", "divides")


def solution(draw: random.Random, number: int) -> str:
    """A program of about 500 characters that no other problem has."""
    names = [f"{draw.choice('abcdefgh')}{draw.randint(0, 99)}" for _ in range(4)]
    lines = ["import sys", f"# {number} {draw.random()}", "def main():", "    data = sys.stdin.read().split()"]
    lines += [f"    {name} = [int(x) * {draw.randint(2, 99)} for x in data if x != {draw.randint(0, 9)!r}]" for name in names]
    lines += [f"    print(sum({draw.choice(names)}) % {draw.randint(2, 999)})" for _ in range(3)]
    return "\n".join([*lines, "main()", ""])


def record(number: int, solutions: int) -> dict[str, Any]:
    """A row of the hub's table; every fifth problem has no rating, half of the solutions are wrong."""
    draw = random.Random(number)
    statement = " ".join(draw.choice(WORDS) + str(draw.randint(0, 9999)) for _ in range(250))

    def submitted(count: int) -> dict[str, Any]:
        return {
            "language": [draw.choice(LANGUAGES) for _ in range(count)],
            "solution": [solution(draw, number) for _ in range(count)],
        }

    tests = {"input": ["1 2 3\n"], "output": ["6\n"]}
    return {
        "name": f"{number}_problem",
        "description": statement,
        "source": 2,
        "public_tests": tests,
        "private_tests": tests,
        "generated_tests": {"input": ["4\n"] * 8, "output": ["4\n"] * 8},
        "solutions": submitted(solutions // 2),
        "incorrect_solutions": submitted(solutions - solutions // 2),
        "cf_rating": 0 if number % 5 == 0 else 800 + 100 * (number % 25),
        "time_limit": {"seconds": 2, "nanos": 0},
        "memory_limit_bytes": 256 * 2**20,
    }


def write(path: Path, records: Iterator[dict[str, Any]], as_lines: Path | None = None) -> int:
    """The table, and the same as JSON lines; returns the bytes of its texts."""
    writer, size = None, 0
    lines = as_lines.open("w", encoding="utf-8") if as_lines else None
    while part := list(islice(records, 100)):
        table = pa.Table.from_pylist(part)
        size += table.nbytes
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        if lines is not None:
            lines.writelines(json.dumps(each) + "\n" for each in part)
    assert writer is not None
    writer.close()
    if lines is not None:
        lines.close()
    return size


def sampled(folder: Path, number: int, seed: int) -> int:
    """What `sample` does up to the texts that are chosen; returns how many."""
    config = DataConfig(
        source="codecontests",
        train_path=str(folder / "train.parquet"),
        validation_path=str(folder / "valid.parquet"),
        seed=seed,
        num_problems=None,
        num_reference_problems=10,
        num_validation_problems=10,
        num_test_problems=10,
        max_per_problem=max(2, number),
        mutants_per_solution=0,
        labels="trusted",
        noise=NoiseConfig(frac=0.0),
        benchmark_similarity=None,
        pairwise=False,
    )
    return sum(len(problem.solutions) for problem in load_splits(config, Path(), Ledger(), stores=folder / "stores").train)


def filtered(folder: Path, number: int, seed: int) -> int:
    """The plain way: every line to objects, Python 3 alone, so many of each problem at random."""
    chosen: list[str] = []
    with (folder / "train.jsonl").open(encoding="utf-8") as lines:
        for i, line in enumerate(lines):
            row = json.loads(line)
            codes = [
                code
                for name in ("solutions", "incorrect_solutions")
                for language, code in zip(row[name]["language"], row[name]["solution"], strict=True)
                if language == 3
            ]
            random.Random(f"{seed} {i}").shuffle(codes)
            chosen += codes[:number]
    return len(chosen)


def tokenised(folder: Path, number: int, seed: int) -> int:
    """Merges learnt from a thousand solutions, and the tokens of all solutions in Python 3, by the library's own threads."""
    table = pq.read_table(folder / "train.parquet", columns=["solutions"]).slice(0, 200)
    texts = [code for row in table.to_pylist() for code in row["solutions"]["solution"]]
    tokenizer = train_tokenizer(texts[:1000], 2048)
    started = time.perf_counter()
    rows = tokenizer.encode_rows([("# problem\n", code) for code in texts])
    seconds, size = time.perf_counter() - started, sum(map(len, texts))
    print(f"tokenises {size / seconds / 1e6:.1f} MB/s", file=sys.stderr)
    return sum(len(row.ids) for row in rows)


WAYS: dict[str, Callable[[Path, int, int], int]] = {"sample": sampled, "JSON lines in Python": filtered, "tokens": tokenised}


def measured(folder: Path, way: str, number: int, size: int) -> str:
    """A line of the table, from a process of its own."""
    command = [sys.executable, __file__, "--one", way, "--folder", str(folder), "--each", str(number)]
    done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    speed = "" if way == "tokens" else f"{size / done['seconds'] / 1e6:.1f}"
    return f"| {way} | {done['number']:,} | {done['seconds']:.1f} | {speed} | {done['peak_mb']:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.02, help="of 13,000 problems")
    parser.add_argument("--each", type=int, default=16, help="solutions that are chosen of a problem")
    parser.add_argument("--folder", type=Path, help="where the dataset is, or is to be kept (default: nowhere)")
    parser.add_argument("--one", choices=tuple(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        started = time.perf_counter()
        number = WAYS[options.one](options.folder, options.each, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"number": number, "seconds": time.perf_counter() - started, "peak_mb": peak}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        problems = max(40, round(PROBLEMS * options.scale))
        made = (record(i, SOLUTIONS) for i in range(problems))
        size = write(folder / "train.parquet", made, folder / "train.jsonl")
        write(folder / "valid.parquet", (record(10**6 + i, 4) for i in range(20)))
        print(f"{problems:,} problems, {problems * SOLUTIONS:,} solutions, {size / 1e6:.0f} MB of texts\n")
        print("| way | solutions or tokens | s | MB/s | peak MB |\n| --- | --- | --- | --- | --- |")
        for way in WAYS:
            print(measured(folder, way, options.each, size), flush=True)


if __name__ == "__main__":
    main()
