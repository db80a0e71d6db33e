"""What data cost at CodeContests' size and in its layout, beside JSON lines that are read and filtered in Python.

    python benchmarks/data.py                 (a fiftieth of the size, by default)
    python benchmarks/data.py --scale 1       13,000 problems with 280 solutions each, 3.64 million; 2 GB of texts

The dataset is made first, in the hub's layout (nested structs, several languages, unknown ratings). Every row of the table is a
process of its own, so that its peak memory is its own, and starts from what the rows above have kept. MB are of the texts that
the source holds, unpacked; seconds are of this process' cores and by the clock, which tells how busy the machine is.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wmtp.config.data import DataConfig, NoiseConfig, TokenizerConfig
from wmtp.examples.encoded import RowTokenizer
from wmtp.examples.sources import draw, load_splits
from wmtp.examples.store import Store, Stores, stored
from wmtp.examples.survey import Survey
from wmtp.files import write_json
from wmtp.ledger import Ledger
from wmtp.problems.files import Reading
from wmtp.problems.render import Example
from wmtp.tokens.tables import fingerprinted, read_table, write_table
from wmtp.tokens.tokenizer import encode_examples, train_tokenizer

Work = tuple[int, int]
"""Solutions that came out, and bytes of texts that went in (0: not what this is about)."""

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


def write(path: Path, records: Iterator[dict[str, Any]], as_lines: Path | None = None) -> None:
    """The table, and the same as JSON lines."""
    writer = None
    lines = as_lines.open("w", encoding="utf-8") if as_lines else None
    while part := list(islice(records, 100)):
        table = pa.Table.from_pylist(part)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        if lines is not None:
            lines.writelines(json.dumps(each) + "\n" for each in part)
    assert writer is not None
    writer.close()
    if lines is not None:
        lines.close()


def configured(folder: Path, number: int, **changes: Any) -> DataConfig:
    """About `number` right and wrong solutions of every problem, without mutants, noise and the search for near duplicates."""
    config = DataConfig(
        source="codecontests",
        train_path=str(folder / "train.parquet"),
        validation_path=str(folder / "valid.parquet"),
        num_problems=None,
        num_reference_problems=10,
        num_validation_problems=10,
        num_test_problems=10,
        max_per_problem=max(2, number),
        mutants_per_solution=0,
        labels="trusted",
        noise=NoiseConfig(frac=0.0),
        max_length=2048,
        benchmark_similarity=None,
        pairwise=False,
        tokenizer=TokenizerConfig(vocab_size=2048, max_texts=2000),
    )
    return replace(config, **changes)


def filtered(folder: Path, number: int) -> Work:
    """The plain way: every line to objects, Python 3 alone, so many of each problem at random."""
    kept: list[str] = []
    with (folder / "train.jsonl").open(encoding="utf-8") as lines:
        for i, line in enumerate(lines):
            row = json.loads(line)
            codes = [
                code
                for name in ("solutions", "incorrect_solutions")
                for language, code in zip(row[name]["language"], row[name]["solution"], strict=True)
                if language == 3
            ]
            random.Random(i).shuffle(codes)
            kept += codes[:number]
    return len(kept), (folder / "train.jsonl").stat().st_size


def imported(folder: Path, number: int) -> Work:
    """The source as a store, from nothing."""
    store = stored("codecontests", str(folder / "train.parquet"), Reading(), Stores(folder / "stores"))
    return store.num_solutions, (folder / "train.jsonl").stat().st_size


def chosen(folder: Path, number: int, **options: Any) -> Work:
    """The choice alone, from the columns on: the metadata are read, and drawn from."""
    (place,) = (path for path in (folder / "stores").iterdir() if not path.name.startswith("."))
    problems, solutions = (read_table(place / f"{name}.arrow") for name in ("problems", "solutions"))
    found = Survey(Store(problems, solutions, (), Reading(), 0), np.ones(problems.num_rows, dtype=bool), [])
    candidates = found.store.candidates
    drawn = draw(configured(folder, number, **options), found, candidates, np.ones(len(candidates), dtype=bool))
    return sum(map(len, drawn.rows.values())), 0


def sampled(folder: Path, number: int, **options: Any) -> Work:
    """All of sampling up to the texts that are chosen: the file's hash, statements against validation's, lengths in tokens."""
    config = configured(folder, number, **options)
    with tempfile.TemporaryDirectory() as out:
        tokenizer = RowTokenizer(config, Path(), Path(out), folder / "tokens")
        stores = Stores(folder / "stores")
        splits = load_splits(config, Path(), Ledger(), stores=stores, measure_by=tokenizer.measure_by)
    return sum(len(problem.solutions) for problem in splits.train), 0


def loaded(folder: Path, number: int) -> Work:
    """Batches of 256 rows as trainings take them, out of 20,000."""
    from wmtp.tokens.data import TokenData
    from wmtp.tokens.loader import TrainLoader

    examples = [Example(str(i), "# a problem\n", f"print({i})\n" * (1 + i % 24), True) for i in range(20_000)]
    with tempfile.TemporaryDirectory() as made:
        text = train_tokenizer([example.code for example in examples[:1000]], 300)
        write_table(Path(made) / "train.arrow", fingerprinted(encode_examples(text, examples)))
        meta = {
            "vocab_size": 300,
            "largest_token_id": 299,
            "eos_token_id": 1,
            "pad_token_id": 0,
            "max_length": 1024,
            "is_ordered": False,
        }
        write_json(Path(made) / "meta.json", meta)
        loader = TrainLoader(TokenData.open(Path(made), "train"), batch_size=256, seed=0)
        started = time.process_time()
        for step in range(400):
            loader.micro_batches(step)
        print(f"loader: {400 * 256 / (time.process_time() - started):,.0f} examples/s of a core", file=sys.stderr)
    return 400 * 256, 0


WAYS: dict[str, Callable[[Path, int], Work]] = {
    "JSON lines in Python": filtered,
    "import": imported,
    "choose": chosen,
    "choose pairs": partial(chosen, pairwise=True),
    "choose by difficulty": partial(chosen, difficulty_bins=[1600, 2400], difficulty_weights=[1.0, 2.0, 1.0]),
    "sample": sampled,
    "sample, the same again": sampled,
    "sample, another seed": partial(sampled, seed=1),
    "loader": loaded,
}


def measured(folder: Path, way: str, number: int) -> str:
    """A line of the table, from a process of its own."""
    command = [sys.executable, __file__, "--one", way, "--folder", str(folder), "--each", str(number)]
    done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    speed = f"{done['size'] / done['cpu_s'] / 1e6:.0f}" if done["size"] else ""
    cells = (way, f"{done['number']:,}", f"{done['cpu_s']:.1f}", f"{done['clock_s']:.1f}", speed, f"{done['peak_mb']:.0f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.02, help="of 13,000 problems")
    parser.add_argument("--each", type=int, default=16, help="solutions that are chosen of a problem")
    parser.add_argument("--folder", type=Path, help="where the dataset is, or is to be kept (default: nowhere)")
    parser.add_argument("--one", choices=tuple(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        started, before = time.perf_counter(), time.process_time()
        number, size = WAYS[options.one](options.folder, options.each)
        done = {"number": number, "size": size, "cpu_s": time.process_time() - before}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(done | {"clock_s": time.perf_counter() - started, "peak_mb": peak}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        problems = max(40, round(PROBLEMS * options.scale))
        if not (folder / "valid.parquet").exists():
            made = (record(i, SOLUTIONS) for i in range(problems))
            write(folder / "train.parquet", made, folder / "train.jsonl")
            write(folder / "valid.parquet", (record(10**6 + i, 4) for i in range(20)))
        for kept in ("stores", "tokens"):
            shutil.rmtree(folder / kept, ignore_errors=True)
        size = (folder / "train.jsonl").stat().st_size
        print(f"{problems:,} problems, {problems * SOLUTIONS:,} solutions, {size / 1e6:,.0f} MB of texts\n")
        print("| way | solutions | s of cores | s by the clock | MB/s of a core | peak MB |")
        print("| --- | --- | --- | --- | --- | --- |")
        for way in WAYS:
            print(measured(folder, way, options.each), flush=True)


if __name__ == "__main__":
    main()
