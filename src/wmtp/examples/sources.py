"""The problems of every split, with the solutions that sampling chose: from the generator or from files.

Everything is decided on columns, and only the texts that are kept are read (see `wmtp.examples.store`). What is too long is
left out before anything is drawn: a draw is repeated without what it took and was found too long, until all of it fits. That
gives what is drawn of those that fit, and no text has to be looked at that is not drawn.

The ledger gets `source/NAME`, what a file or the generator gives, and `split/NAME`, what sampling makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from wmtp import tasksets
from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.examples.store import Stores
from wmtp.examples.survey import Survey, candidates_of, read, resolve, survey
from wmtp.ledger import Account, Ledger, Line
from wmtp.problems.choose import UNKNOWN, Candidates, DifficultyBins, choose_problems, choose_solutions
from wmtp.problems.decontaminate import Removed
from wmtp.problems.draw import in_order, keys_of
from wmtp.problems.files import Reading
from wmtp.problems.splits import with_split
from wmtp.synthetic.generate import generate
from wmtp.types import Problem, Solution

Measure = Callable[[Sequence[tuple[str, str]]], tuple[np.ndarray, np.ndarray]]
"""Prompts with their solutions -> tokens of each whole row, and of each prompt alone with the end token: at least these."""

MeasureBy = Callable[[Callable[[int], list[tuple[str, str]]]], Measure]
"""Takes what gives at most so many prompts with their solutions of the training file, to learn a tokenizer from where there is
none, and gives what measures by it."""


@dataclass(frozen=True)
class Splits:
    """Problems by use. `train` and `reference` share none with each other or with `validation` and `test`.

    `removed`: problems that are in none because of others that are like them.
    """

    train: list[Problem]
    reference: list[Problem]
    validation: list[Problem]
    test: list[Problem]
    removed: list[Removed] = field(default_factory=list)

    @property
    def by_name(self) -> dict[str, list[Problem]]:
        """The problems of each split."""
        return {"train": self.train, "reference": self.reference, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class Drawn:
    """What a draw took, by split: rows of the candidates. `accounts`: what it dropped."""

    rows: dict[str, np.ndarray]
    accounts: dict[str, Account]


def load_splits(
    config: DataConfig, root: Path, ledger: Ledger, *, stores: Stores, measure_by: MeasureBy | None = None
) -> Splits:
    """The configured source, split and sampled.

    Generated: all four splits are different problems. Files: `train_path` gives reference problems (clean data) and, of
    the rest, training problems; `validation_path` gives the problems of validation and test, which may be the same ones, or
    `test_path` those of the test.
    Relative paths start at `root`. Nothing depends on the order of a file's rows, or on how files divide them.

    Args:
        stores: what was read before.
        measure_by: tells lengths, so that only what fits into `data.max_length` is drawn of files; None: lengths do not matter.
    Raises:
        DataError: a broken file, or fewer problems than asked for.
    """
    if config.is_generated:
        return _from_generator(config, ledger)
    held_out = _held_out(config, root, "validation", str(config.validation_path), ledger)
    tested = None if config.test_path is None else _held_out(config, root, "test", config.test_path, ledger)
    training = with_split(resolve(str(config.train_path), root), "train")
    found = survey(training, config, root, [*held_out, *(tested or ())], ledger, stores)
    measure = None if measure_by is None else measure_by(lambda most: _texts(found, config, most))
    validation, test = _from_held_out(config, held_out, tested, measure, ledger)
    train, reference = _from_training_file(config, found, measure, ledger)
    removed = [replace(each, file=_in(root, each.file), because_file=_in(root, each.because_file)) for each in found.removed]
    return Splits(_within(root, train), _within(root, reference), _within(root, validation), test, removed)


def _held_out(config: DataConfig, root: Path, name: str, value: str, ledger: Ledger) -> list[Problem]:
    """The problems of a file that nothing is learnt from; those that say nothing or whose tests nothing here can run
    are left out."""
    path = with_split(resolve(value, root), name)
    account = ledger.account(f"source/{name}")
    split = tasksets.get(config.source).split
    everything = list(read(config.source, path, account, ledger, Reading(needs_tests=True)))
    own = [problem for problem in everything if split(problem) not in ("train", "prompt")]
    stated = [problem for problem in own if problem.prompt.strip()]
    kept = [problem for problem in stated if problem.tests]
    steps = (("of_another_split", everything, own), ("without_statement", own, stated), ("without_tests", stated, kept))
    for reason, before, after in steps:
        if len(before) > len(after):
            account.drop(reason, len(before) - len(after), _num_solutions(before) - _num_solutions(after))
    account.problems.keep(len(kept))
    account.solutions.keep(_num_solutions(kept))
    return kept


def _within(root: Path, problems: Sequence[Problem]) -> list[Problem]:
    """With files of the workspace called what they are called in it, wherever it stands."""
    return [replace(problem, file=_in(root, problem.file)) for problem in problems]


def _in(root: Path, file: str) -> str:
    return file.removeprefix(f"{root}/")


def _num_solutions(problems: Sequence[Problem]) -> int:
    return sum(len(problem.solutions) for problem in problems)


def _texts(found: Survey, config: DataConfig, most: int) -> list[tuple[str, str]]:
    """Prompts with solutions of usable problems, at most so many, the same ones for every seed of the data."""
    rows, store = found.rows, found.store
    if config.mutants_per_solution:
        rows = rows[store.candidates.is_correct[rows]]
    rows = rows[in_order("tokenizer", store.candidates.keys[rows])[:most]]
    problems = store.candidates.problems[rows].tolist()
    return [(store.prompts[i], code) for i, code in zip(problems, store.codes(rows), strict=True)]


def _from_generator(config: DataConfig, ledger: Ledger) -> Splits:
    made = generate(config, ledger)
    chosen: dict[str, list[Problem]] = {}
    for split in ("train", "reference", "validation"):
        account = ledger.account(f"split/{split}", f"source/{split}")
        account.read(len(made[split]), _num_solutions(made[split]))
        chosen[split] = _with_chosen_solutions(made[split], config, split, None, account)
    test = ledger.line("split/test", "problems", "source/test")
    test.read(len(made["test"]))
    test.keep(len(made["test"]))
    return Splits(chosen["train"], chosen["reference"], chosen["validation"], made["test"])


def _from_held_out(
    config: DataConfig,
    held_out: Sequence[Problem],
    tested: Sequence[Problem] | None,
    measure: Measure | None,
    ledger: Ledger,
) -> tuple[list[Problem], list[Problem]]:
    """Validation problems with the chosen solutions, test problems with all.

    Drawn from both ends of one random order, or test problems from a file of their own, `tested`. A problem that leaves nothing
    to validate with makes room for the next one; what is tested does not depend on what fits.
    """
    of_test, test_path = (held_out, config.validation_path) if tested is None else (tested, config.test_path)
    files = {"num_validation_problems": (held_out, config.validation_path), "num_test_problems": (of_test, test_path)}
    for key, (problems, path) in files.items():
        number = getattr(config, key)
        if number > len(problems):
            name = "source/test" if tested is not None and problems is tested else "source/validation"
            told = ledger.lines[name, "problems"]
            raise DataError(f"data.{key}={number}, but {path} has {len(problems)} problems for it ({told})")
    seed = f"held out {config.heldout_seed}"
    firsts = in_order(seed, keys_of([problem.problem_id for problem in of_test]))[: config.num_test_problems]
    test = _by_id(of_test[i] for i in firsts)
    account = ledger.account("split/validation", "source/validation")
    account.read(len(held_out), _num_solutions(held_out))
    number = config.num_validation_problems
    validation = _with_chosen_solutions(held_out, config, "validation", measure, account, last=(number, seed))
    if len(validation) < number:
        why = _told(account, config)
        raise DataError(f"data.num_validation_problems={number}, but {config.validation_path} leaves {len(validation)}{why}")
    line = ledger.line("split/test", "problems", "source/validation" if tested is None else "source/test")
    line.read(len(of_test))
    line.drop("not_sampled", len(of_test) - len(test))
    line.keep(len(test))
    return _by_id(validation), test


def _by_id(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.problem_id)


def _from_training_file(
    config: DataConfig, found: Survey, measure: Measure | None, ledger: Ledger
) -> tuple[list[Problem], list[Problem]]:
    """Training and reference problems, sampled."""
    store, rows = found.store, found.rows
    candidates = store.candidates.take(rows)

    def of_those(fits: np.ndarray) -> Drawn:
        return draw(config, found, candidates, fits, is_measured=measure is not None)

    def measured(taken: np.ndarray, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
        prompts = [store.prompts[i] for i in candidates.problems[taken].tolist()]
        return measure([*zip(prompts, store.codes(rows[taken]), strict=True)])

    drawn = _fitting(of_those, measured, measure, candidates, config.max_length)
    splits: dict[str, list[Problem]] = {}
    for name, taken in drawn.rows.items():
        account = ledger.account(f"split/{name}", "source/train")
        account.read(candidates.num_problems, len(candidates))
        account.add(drawn.accounts[name])
        problems = candidates.problems[taken]
        starts = np.flatnonzero(np.diff(problems, prepend=-1))
        own = zip(problems[starts].tolist(), np.split(rows[taken], starts[1:]), strict=True)
        splits[name] = _by_id(store.problem(number, kept) for number, kept in own)
        account.keep([problem.problem_id for problem in splits[name] for _ in problem.solutions])
    return splits["train"], splits["reference"]


def _fitting(
    draw: Callable[[np.ndarray], Drawn],
    measured: Callable[[np.ndarray, Measure], tuple[np.ndarray, np.ndarray]],
    measure: Measure | None,
    candidates: Candidates,
    max_length: int,
) -> Drawn:
    """What is drawn of the candidates that fit, without a look at those that are not drawn.

    Draws take the first ones of an order, so leaving out one that is too long moves up the ones behind it and no others.
    """
    fits, is_known = np.ones(len(candidates), dtype=bool), np.zeros(len(candidates), dtype=bool)
    while True:
        drawn = draw(fits)
        taken = np.unique(np.concatenate([*drawn.rows.values()]))
        new = taken[~is_known[taken]]
        if measure is None or not len(new):
            return drawn
        lengths, least = measured(new, measure)
        is_known[new] = True
        fits[new[lengths > max_length]] = False
        hopeless = candidates.problems[new[least > max_length]]
        fits[np.isin(candidates.problems, hopeless)] = False


def draw(config: DataConfig, found: Survey, candidates: Candidates, fits: np.ndarray, *, is_measured: bool = False) -> Drawn:
    """Of the candidates that fit: the reference problems' right solutions, and training problems and solutions of the rest."""
    keys = found.store.problem_keys
    usable = np.unique(candidates.problems[fits & candidates.is_correct])
    order = usable[in_order(f"reference {config.seed}", keys[usable])]
    reference, rest = order[: config.num_reference_problems], np.sort(order[config.num_reference_problems :])
    if len(reference) < config.num_reference_problems or not len(rest):
        num_long = len(np.unique(candidates.problems[candidates.is_correct])) - len(usable)
        long = f"; {num_long:,} more are too_long for data.max_length={config.max_length}" if num_long else ""
        raise DataError(
            f"data.num_reference_problems={config.num_reference_problems}, but {config.train_path} has {len(usable)} usable "
            f"problems and some must be left to train on ({found.told}{long})"
        )
    drawn = Drawn({}, {})
    for name, own, reason in (("train", rest, "set_aside_for_reference"), ("reference", reference, "left_to_train_on")):
        account = drawn.accounts[name] = Account(Line("", "problems"), Line("", "solutions"))
        part = np.arange(len(candidates))
        if is_measured:
            part = _thinned(candidates, part, fits & np.isin(candidates.problems, usable), "too_long", account)
        part = _thinned(candidates, part, np.isin(candidates.problems, own), reason, account)
        drawn.rows[name] = part[_chosen(config, found, candidates.take(part), name, account)]
    return drawn


def _chosen(config: DataConfig, found: Survey, candidates: Candidates, split: str, account: Account) -> np.ndarray:
    """Numbers of the candidates that a split of the training file takes.

    What could not be used is out before problems are counted off: with mutants the right ones are used and wrong ones made,
    without both are given, and where pairs are asked for a problem has both.
    """
    part = np.arange(len(candidates))
    if config.mutants_per_solution or split == "reference":
        part = _thinned(candidates, part, candidates.is_correct, "wrong_not_used", account)
    elif config.pairwise:
        part = _thinned(candidates, part, _has_partner(candidates, candidates.problems), "without_partner", account)
    if split == "train":
        part = _of_drawn_problems(config, found, candidates, part, account)
    limit, pairwise = _most(config, is_clean=split == "reference")
    seed = f"{config.seed} {split}"
    own = candidates.take(part)
    return part[choose_solutions(own, max_per_problem=limit, pairwise=pairwise, seed=seed, account=account)]


def _has_partner(candidates: Candidates, problems: np.ndarray) -> np.ndarray:
    """Which of `problems`, (N,), have right and wrong ones among the candidates."""
    is_correct = candidates.is_correct
    return np.isin(problems, np.intersect1d(candidates.problems[is_correct], candidates.problems[~is_correct]))


def _told(account: Account, config: DataConfig) -> str:
    """Why problems are not used, for an error: ` (...)`, or nothing where no reason is known."""
    reasons = {reason: number for reason, number in account.problems.dropped.items() if number and reason != "not_sampled"}
    words = {
        "too_long": f"too_long for data.max_length={config.max_length}",
        "without_partner": "without_partner: data.pairwise=true takes problems with right and wrong solutions",
        "wrong_not_used": "with wrong solutions alone: data.mutants_per_solution makes its own of right ones",
    }
    parts = [f"{number:,} {words.get(reason, reason)}" for reason, number in reasons.items()]
    return f" ({', '.join(parts)})" if parts else ""


def _of_drawn_problems(
    config: DataConfig, found: Survey, candidates: Candidates, part: np.ndarray, account: Account
) -> np.ndarray:
    """What of `part` is of the training problems that difficulty bins and number leave."""
    bins = DifficultyBins(config.difficulty_bins, config.difficulty_weights, config.unknown_difficulty_weight)
    numbers = np.unique(candidates.problems[part])
    levels, keys = found.store.difficulties[numbers], found.store.problem_keys[numbers]
    told = numbers if bins.weight(None) > 0 else numbers[levels != UNKNOWN]
    allowed = numbers[bins.weights_of(levels) > 0]
    reachable, drawn = (
        numbers[choose_problems(levels, keys, bins, number, f"{config.seed}")] for number in (None, config.num_problems)
    )
    if config.num_problems is not None and len(drawn) < config.num_problems:
        raise DataError(
            f"data.num_problems={config.num_problems}, but {config.train_path} leaves {len(drawn)}{_told(account, config)}: "
            "use null for all"
        )
    for reason, left in (
        ("unknown_difficulty", told),
        ("difficulty_of_weight_0", allowed),
        ("over_difficulty_share", reachable),
        ("not_sampled", drawn),
    ):
        part = _thinned(candidates, part, np.isin(candidates.problems, left), reason, account)
    return part


def _thinned(candidates: Candidates, part: np.ndarray, is_kept: np.ndarray, reason: str, account: Account) -> np.ndarray:
    """What of `part` is kept (a mask of all candidates); `account` is told of the others."""
    left = part[is_kept[part]]
    problems = candidates.take(part).num_problems - candidates.take(left).num_problems
    account.drop(reason, problems, len(part) - len(left))
    return left


def _most(config: DataConfig, *, is_clean: bool) -> tuple[int, bool]:
    """How many given solutions of a problem leave room for their mutants or their partners, and whether they come in pairs."""
    if config.mutants_per_solution:
        return max(1, config.max_per_problem // (1 + config.mutants_per_solution)), False
    if config.pairwise and is_clean:
        return config.max_per_problem // 2, False
    return config.max_per_problem, config.pairwise


def _with_chosen_solutions(
    problems: Sequence[Problem],
    config: DataConfig,
    split: str,
    measure: Measure | None,
    account: Account,
    *,
    last: tuple[int, str] | None = None,
) -> list[Problem]:
    """Problems that are in memory, with the chosen solutions; those that are left without any are dropped.

    `last`: at most so many of those that have some, the last ones of the seed's order.
    """
    account.problems.drop("without_solutions", sum(not problem.solutions for problem in problems))
    candidates, keys = candidates_of(problems), keys_of([problem.problem_id for problem in problems])
    solutions = [(i, solution) for i, problem in enumerate(problems) for solution in problem.solutions]
    taskset = tasksets.get(config.source)
    limit, pairwise = _most(config, is_clean=False)

    def of_those(fits: np.ndarray) -> Drawn:
        own, part = Account(Line("", "problems"), Line("", "solutions")), np.arange(len(candidates))
        if config.mutants_per_solution:
            part = _thinned(candidates, part, candidates.is_correct, "wrong_not_used", own)
        if measure is not None:
            part = _thinned(candidates, part, fits, "too_long", own)
        if last is not None:
            if pairwise:
                has_partner = _has_partner(candidates.take(part), candidates.problems)
                part = _thinned(candidates, part, has_partner, "without_partner", own)
            (number, order), left = last, np.unique(candidates.problems[part])
            sampled = left[in_order(order, keys[left])][-number:]
            part = _thinned(candidates, part, np.isin(candidates.problems, sampled), "not_sampled", own)
        seed = f"{config.seed} {split}"
        taken = choose_solutions(candidates.take(part), max_per_problem=limit, pairwise=pairwise, seed=seed, account=own)
        return Drawn({split: part[taken]}, {split: own})

    def measured(taken: np.ndarray, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
        return measure([(taskset.prompt(problems[i]), solution.code) for i, solution in (solutions[j] for j in taken.tolist())])

    drawn = _fitting(of_those, measured, measure, candidates, config.max_length)
    account.add(drawn.accounts[split])
    kept: dict[int, list[Solution]] = {}
    for i, solution in (solutions[j] for j in drawn.rows[split].tolist()):
        kept.setdefault(i, []).append(solution)
    chosen = [replace(problems[i], solutions=tuple(own)) for i, own in kept.items()]
    account.keep([problem.problem_id for problem in chosen for _ in problem.solutions])
    return chosen
