"""From a dataset to tokenised, labelled splits, the test problems and the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from wmtp import tasksets
from wmtp.config import Config
from wmtp.config.data import DataConfig
from wmtp.examples.card import REMOVED
from wmtp.examples.card_page import write_card
from wmtp.examples.encoded import RowTokenizer, selected
from wmtp.examples.given import LabelCheck
from wmtp.examples.labels import Execute, make_examples
from wmtp.examples.meta import write_for_datasets, write_meta
from wmtp.examples.sources import Splits, load_splits
from wmtp.examples.store import Stores
from wmtp.files import write_lines
from wmtp.ledger import Ledger
from wmtp.orchestration.dvc_cache import folder_beside_cache
from wmtp.problems.files import write_problems
from wmtp.progress import counted
from wmtp.sandbox.store import OnVerdict, VerdictStore
from wmtp.stages.context import StageContext
from wmtp.stages.sample_documents import sample_documents
from wmtp.tokens.tables import largest_token, row_lengths, write_table
from wmtp.types import Limits, Problem, Program, Solution, StageResult, Verdict

if TYPE_CHECKING:
    from wmtp.config.evaluation import SandboxConfig
    from wmtp.sandbox.packages import Package

TABLES = (
    ("train", "train", True),
    ("reference", "reference", False),
    ("validation", "validation", False),
    ("critic_validation", "validation", True),
)
"""Table, the split it is made of, and whether it is the web's mix: noise and wrong solutions. Else it is clean and right."""


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/data`: five token tables, the test problems, the tokenizer, meta.json; and their card.

    The critic learns from the policy's mix: `critic.arrow` is `train.arrow`, row for row, and has no lines of its own in
    the ledger. A source that gives the critic other rows need only put another table there.
    """
    if config.data.is_documents:
        return sample_documents(config.data, context)
    data, out, ledger = config.data, context.out("artifacts/data"), Ledger()
    packages = _packages(config)
    out.mkdir(parents=True, exist_ok=True)
    kept = folder_beside_cache(context.root)
    telling = {part: counted(context.name, part, context.root) for part in ("import", "tokens")}
    tokenizer = RowTokenizer(data, context.root, out / "tokenizer", kept / "tokens", telling["tokens"])
    stores = Stores(kept / "stores", telling["import"])
    splits = load_splits(data, context.root, ledger, stores=stores, measure_by=tokenizer.measure_by)
    sizes = ", ".join(f"{len(problems)} {name}" for name, problems in splits.by_name.items())
    print(f"sample: {data.source}: {sizes} problems", flush=True)
    before = _Before()
    execute = _executor(context, config.evaluate.sandbox, packages, splits, before)
    tables, checks = _tables(splits, data, execute, tokenizer, ledger)
    tables["critic"] = tables["train"]
    if before.known:
        print(f"sample: {before.known} of {before.asked} programs have run before", flush=True)
    counts = ledger.counts()
    for line in ledger.losses("problems"):
        print(f"sample: {line}", flush=True)
    for name, table in tables.items():
        write_table(out / f"{name}.arrow", table)
    write_lines(out / REMOVED, [each.as_dict() for each in splits.removed])
    write_problems(out / "test_problems.jsonl", (replace(problem, solutions=_reference(problem)) for problem in splits.test))
    statistics = _statistics(tables) | _label_statistics(checks)
    versions = {package.name: package.version for package in packages}
    largest = max(map(largest_token, tables.values()))
    write_meta(out, data, context.root, tokenizer.text, counts, statistics, largest_token_id=largest, packages=versions)
    write_for_datasets(out, [name for name, _, _ in TABLES])
    write_card(out, context.out("artifacts/card"))
    return StageResult(metrics=statistics, counts=counts)


def _tables(
    splits: Splits, data: DataConfig, execute: Execute, tokenizer: RowTokenizer, ledger: Ledger
) -> tuple[dict[str, pa.Table], dict[str, LabelCheck]]:
    """Every table of `TABLES`, and how the check of their given labels went."""
    accounts = {name: ledger.account(f"table/{name}", f"split/{split}") for name, split, _ in TABLES}
    tables, checks = {}, {}
    for name, split, mixed in TABLES:
        problems = getattr(splits, split)
        examples, checks[name] = make_examples(
            problems, data, execute, table=name, noisy=mixed, wrong=mixed, account=accounts[name]
        )
        tables[name] = selected(tokenizer.table(examples), examples, data, accounts[name], name=name, mixed=mixed)
    return tables, checks


def _reference(problem: Problem) -> tuple[Solution, ...]:
    """What says which names its tests may ask for."""
    return tuple(solution for solution in problem.solutions if solution.is_correct)[:1]


def _packages(config: Config) -> tuple[Package, ...]:
    """What programs can import."""
    from wmtp.sandbox.offer import offered_packages

    sandbox = config.evaluate.sandbox
    return offered_packages(sandbox.packages, tasksets.get(config.data.source).packages, allow_unsafe=sandbox.allow_unsafe)


@dataclass
class _Before:
    """How many of the programs that were to run had run before."""

    known: int = 0
    asked: int = 0


def _executor(
    context: StageContext, sandbox: SandboxConfig, packages: Sequence[Package], splits: Splits, before: _Before
) -> Execute:
    """The sandbox, with its progress. Limits are scaled to this machine.

    What has run before is known, whatever the parameters were: by this clone, and by all that share its DVC cache.
    """
    from wmtp.sandbox.machine import machine_factor
    from wmtp.sandbox.pool import isolation, run_tests
    from wmtp.sandbox.testlib import find_testlib

    allow_unsafe, header = sandbox.allow_unsafe, None if sandbox.testlib is None else context.root / sandbox.testlib
    problems = [problem for split in splits.by_name.values() for problem in split]
    testlib = find_testlib(header, problems, allow_unsafe=allow_unsafe)
    factor = machine_factor()
    parts = [isolation(allow_unsafe=allow_unsafe), *(f"{each.name}=={each.version}" for each in packages)]
    environment = " ".join([*parts, *(testlib.as_dict().values() if testlib else ())])
    store = VerdictStore(folder_beside_cache(context.root) / "verdicts", environment)
    tell = counted(context.name, "programs", context.root)

    def execute(programs: Sequence[Program]) -> list[Verdict]:
        before.known += len(programs) - store.unknown(programs)
        before.asked += len(programs)

        def run(new: Sequence[Program], keep: OnVerdict) -> list[Verdict]:
            done = 0

            def on_verdict(index: int, verdict: Verdict) -> None:
                nonlocal done
                keep(index, verdict)
                done += 1
                tell(done, len(new))

            return run_tests(
                new,
                limits=Limits(),
                num_workers=context.launch.sandbox_workers,
                allow_unsafe=allow_unsafe,
                time_factor=factor,
                packages=packages,
                testlib=testlib,
                on_verdict=on_verdict,
            )

        return store.run(programs, run)

    return execute


def _statistics(tables: dict[str, pa.Table]) -> dict[str, float]:
    """What the tables look like, in numbers."""
    values: dict[str, float] = {}
    for name, table in tables.items():
        lengths = row_lengths(table)
        values[f"{name}/examples"] = table.num_rows
        values[f"{name}/mean_length"] = float(lengths.mean())
        values[f"{name}/correct_frac"] = float(table["is_correct"].to_numpy().mean())
        values[f"{name}/noisy_frac"] = sum(kind != "" for kind in table["noise_kind"].to_pylist()) / table.num_rows
        values[f"{name}/noise_token_frac"] = float(
            table["is_noise"].combine_chunks().values.to_numpy(zero_copy_only=False).mean()
        )
    return values


def _label_statistics(checks: dict[str, LabelCheck]) -> dict[str, float]:
    """Of every table with given labels: how many were checked by running, and which share of those is wrong."""
    values: dict[str, float] = {}
    for name, check in checks.items():
        if check.checked:
            values[f"{name}/labels_checked"] = check.checked
            values[f"{name}/label_error_frac"] = check.error_rate
    return values
