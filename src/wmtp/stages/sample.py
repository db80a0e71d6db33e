"""Dataset to problems to selected, deduplicated, executed and tokenised splits."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wmtp.config import Config
from wmtp.config.schema import DataConfig
from wmtp.data.examples import tokenize
from wmtp.data.noise import Example, add_noise
from wmtp.data.problems import load_problems, write_problems
from wmtp.data.sampling import add_wrong_solutions, decontaminate, example_of, relabel, select, verify
from wmtp.data.synthetic import Generator
from wmtp.data.tables import write_table
from wmtp.data.tokenizer import copy_tokenizer, save_tokenizer, special_ids, train_tokenizer
from wmtp.errors import DataError
from wmtp.evaluation.sandbox import run_tests
from wmtp.stages.context import StageContext
from wmtp.stages.output import write_json
from wmtp.types import Limits, Problem, Program, StageResult, Verdict

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Pools:
    """Problems by what they are for, with solutions except in `test`."""

    train: list[Problem]
    reference: list[Problem]
    validation: list[Problem]
    test: list[Problem]


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/data`: tokenizer, five tables, test problems, meta.json."""
    data, counts = config.data, Counter[str]()
    execute = _executor(config, context)
    pools = _pools(data, context.root, counts)
    held_out = [*pools.validation, *pools.test]
    pools = replace(
        pools, train=decontaminate(pools.train, held_out, counts), reference=decontaminate(pools.reference, held_out, counts)
    )
    splits = _splits(data, pools, execute, counts)
    out = context.out("artifacts/data")
    tokenizer = _tokenizer(data, splits, out / "tokenizer")
    pad, eos = special_ids(tokenizer, out / "tokenizer")
    for name, examples in splits.items():
        table = tokenize(examples, tokenizer, eos_token_id=eos, max_length=data.max_length, counts=counts, split=name)
        if table.num_rows == 0:
            raise DataError(f"split {name!r} is empty: of {len(examples)} examples none is at most data.max_length={data.max_length} tokens")
        write_table(out / f"{name}.arrow", table)
    write_problems(out / "test_problems.jsonl", [replace(p, solutions=()) for p in pools.test])
    counts["test_problems"] = len(pools.test)
    meta = {
        "vocab_size": tokenizer.get_vocab_size(),
        "pad_token_id": pad,
        "eos_token_id": eos,
        "max_length": data.max_length,
        "tokenizer_sha256": hashlib.sha256((out / "tokenizer" / "tokenizer.json").read_bytes()).hexdigest(),
        "counts": dict(sorted(counts.items())),
    }
    write_json(out / "meta.json", meta)
    metrics = {
        "data/mean_length": counts["train_tokens"] / counts["train_examples"],
        "data/correct_frac": counts["train_correct"] / counts["train_examples"],
    }
    context.tracker.log_metrics({**metrics, **{f"count/{k}": float(v) for k, v in counts.items()}}, step=0)
    return StageResult(metrics=metrics, counts=dict(sorted(counts.items())))


def _executor(config: Config, context: StageContext):  # type: ignore[no-untyped-def]
    """The sandbox as a function of programs, with progress lines."""

    def execute(programs: Sequence[Program]) -> list[Verdict]:
        started = spoken = time.monotonic()
        done = 0

        def on_verdict(index: int, verdict: Verdict) -> None:
            nonlocal spoken, done
            done += 1
            if time.monotonic() - spoken > 2:
                spoken = time.monotonic()
                print(f"{context.name} executed {done:,}/{len(programs):,} programs, {done / (spoken - started):,.0f}/s", flush=True)

        return run_tests(
            programs,
            limits=Limits(),
            num_workers=context.launch.sandbox_workers,
            allow_unsafe=config.evaluate.sandbox.allow_unsafe,
            on_verdict=on_verdict,
        )

    return execute


def _pools(data: DataConfig, root: Path, counts: Counter[str]) -> Pools:
    if data.source == "synthetic":
        return _synthetic(data)
    assert data.train_path is not None and data.validation_path is not None
    train = list(load_problems(data.source, _resolve(data.train_path, root)))
    held_out = list(load_problems(data.source, _resolve(data.validation_path, root)))
    counts["train_problems_read"], counts["validation_problems_read"] = len(train), len(held_out)
    order = np.random.default_rng([data.seed, 4]).permutation(len(train))
    train = [train[i] for i in order[: data.num_problems]]
    reference = train[: data.num_reference_problems]
    return Pools(train, reference, held_out[: data.num_validation_problems], held_out[: data.num_test_problems])


def _resolve(path: str, root: Path) -> str:
    """A file relative to the workspace, or else the hub id as given."""
    local = Path(path) if Path(path).is_absolute() else root / path
    return str(local) if local.exists() or Path(path).suffix else path


def _synthetic(data: DataConfig) -> Pools:
    """Training and reference problems from the common compositions, validation and test from the held-out ones."""
    generator = Generator(data.operations, seed=data.seed, heldout_frac=data.heldout_frac)
    if data.num_problems is None:
        raise DataError("data.num_problems=null means all, and a generator has no end: give a number")
    pick = np.random.default_rng([data.seed, 5])

    def solved(problems: list[Problem]) -> list[Problem]:
        per_problem = max(1, data.max_per_problem // 2)
        result = []
        for problem in problems:
            every = generator.solutions(problem)
            chosen = pick.permutation(len(every))[:per_problem]
            result.append(replace(problem, solutions=tuple(every[i] for i in chosen)))
        return result

    held_out = generator.problems(data.num_validation_problems + data.num_test_problems, heldout=True, stream=2)
    return Pools(
        train=solved(generator.problems(data.num_problems, heldout=False, stream=0)),
        reference=solved(generator.problems(data.num_reference_problems, heldout=False, stream=1)),
        validation=solved(held_out[: data.num_validation_problems]),
        test=held_out[data.num_validation_problems :],
    )


def _splits(data: DataConfig, pools: Pools, execute, counts: Counter[str]) -> dict[str, list[Example]]:  # type: ignore[no-untyped-def]
    """Examples of every table. The critic trains on the policy's mix; the reference on clean, correct solutions."""
    print("sample verifying solutions and making wrong ones", flush=True)
    train = add_wrong_solutions(verify(pools.train, execute, counts), execute, data, counts)
    held_out = add_wrong_solutions(verify(pools.validation, execute, counts), execute, data, counts)
    reference = verify(pools.reference, execute, counts)
    print("sample adding noise and executing noisy programs", flush=True)
    mix = relabel(add_noise(select(train, data, counts), data.noise, data.seed), pools.train, execute, counts)
    unused = Counter[str]()
    held_out_mix = relabel(
        add_noise(select(held_out, data, unused), data.noise, data.seed + 1), pools.validation, execute, unused
    )
    return {
        "train": mix,
        "critic": mix,
        "reference": [example_of(p, s) for p in reference for s in p.solutions if s.is_correct],
        "validation": [example_of(p, s) for p in held_out for s in p.solutions if s.is_correct],
        "critic_validation": held_out_mix,
    }


def _tokenizer(data: DataConfig, splits: dict[str, list[Example]], folder: Path) -> Tokenizer:
    if data.tokenizer.path is not None:
        return copy_tokenizer(data.tokenizer.path, folder)
    tokenizer = train_tokenizer((e.prompt + e.code for e in splits["train"]), data.tokenizer.vocab_size)
    save_tokenizer(tokenizer, folder)
    return tokenizer
