"""The problems of every split, with the solutions that sampling chose: from the generator or from files.

Files are read twice: once for metadata alone, on which everything is decided, and once for the texts that are kept.

The ledger gets `source/NAME`, what a file or the generator gives, and `split/NAME`, what sampling makes of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wmtp import tasksets
from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.examples.survey import Surveyed, candidates_of, read, resolve, survey
from wmtp.ledger import Account, Ledger
from wmtp.problems.choose import Candidate, DifficultyBins, choose_problems, choose_solutions
from wmtp.problems.decontaminate import Removed
from wmtp.problems.files import Reading
from wmtp.problems.splits import with_split
from wmtp.synthetic.generate import generate
from wmtp.types import Problem


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


def load_splits(config: DataConfig, root: Path, ledger: Ledger) -> Splits:
    """The configured source, split and sampled.

    Generated: all four splits are different problems. Files: `train_path` gives reference problems (clean data) and, of
    the rest, training problems; `validation_path` gives the problems of validation and test, which may be the same ones.
    Relative paths start at `root`.

    Raises:
        DataError: a broken file, or fewer problems than asked for.
    """
    if config.is_generated:
        return _from_generator(config, ledger)
    path = with_split(resolve(str(config.validation_path), root), "validation")
    account = ledger.account("source/validation")
    split = tasksets.get(config.source).split
    everything = list(read(config.source, path, account, ledger, Reading(needs_tests=True)))
    held_out = [problem for problem in everything if split(problem) not in ("train", "prompt")]
    number = len(everything) - len(held_out)
    if number:
        account.drop("of_another_split", number, _num_solutions(everything) - _num_solutions(held_out))
    account.problems.keep(len(held_out))
    account.solutions.keep(_num_solutions(held_out))
    validation, test = _from_held_out(config, held_out, ledger)
    train, reference, removed = _from_training_file(config, root, held_out, ledger)
    return Splits(_within(root, train), _within(root, reference), _within(root, validation), test, removed)


def _within(root: Path, problems: Sequence[Problem]) -> list[Problem]:
    """With files of the workspace called what they are called in it, wherever it stands."""
    return [replace(problem, file=_in(root, problem.file)) for problem in problems]


def _in(root: Path, file: str) -> str:
    return file.removeprefix(f"{root}/")


def _num_solutions(problems: Sequence[Problem]) -> int:
    return sum(len(problem.solutions) for problem in problems)


def _from_generator(config: DataConfig, ledger: Ledger) -> Splits:
    made = generate(config, ledger)
    chosen: dict[str, list[Problem]] = {}
    for split in ("train", "reference", "validation"):
        account = ledger.account(f"split/{split}", f"source/{split}")
        account.read(len(made[split]), _num_solutions(made[split]))
        chosen[split] = _with_chosen_solutions(made[split], config, split, account)
    test = ledger.line("split/test", "problems", "source/test")
    test.read(len(made["test"]))
    test.keep(len(made["test"]))
    return Splits(chosen["train"], chosen["reference"], chosen["validation"], made["test"])


def _from_held_out(config: DataConfig, held_out: Sequence[Problem], ledger: Ledger) -> tuple[list[Problem], list[Problem]]:
    """Validation problems with the chosen solutions, test problems with all: drawn from both ends of one random order."""
    for key in ("num_validation_problems", "num_test_problems"):
        number = getattr(config, key)
        if number > len(held_out):
            raise DataError(f"data.{key}={number}, but {config.validation_path} has {len(held_out)} problems")
    order = list(range(len(held_out)))
    random.Random(f"held out {config.heldout_seed}").shuffle(order)
    validation = [held_out[i] for i in sorted(order[-config.num_validation_problems :])]
    test = [held_out[i] for i in sorted(order[: config.num_test_problems])]
    account = ledger.account("split/validation", "source/validation")
    account.read(len(held_out), _num_solutions(held_out))
    account.drop("not_sampled", len(held_out) - len(validation), _num_solutions(held_out) - _num_solutions(validation))
    line = ledger.line("split/test", "problems", "source/validation")
    line.read(len(held_out))
    line.drop("not_sampled", len(held_out) - len(test))
    line.keep(len(test))
    return _with_chosen_solutions(validation, config, "validation", account), test


def _from_training_file(
    config: DataConfig, root: Path, held_out: Sequence[Problem], ledger: Ledger
) -> tuple[list[Problem], list[Problem], list[Removed]]:
    """Training and reference problems: decontaminated, distinct, sampled; and what is like others."""
    path = with_split(resolve(str(config.train_path), root), "train")
    found = survey(path, config, root, held_out, ledger)
    surveyed, difficulties = found.surveyed, found.difficulties
    numbers = sorted(surveyed)
    random.Random(f"reference {config.seed}").shuffle(numbers)
    reference, rest = numbers[: config.num_reference_problems], sorted(numbers[config.num_reference_problems :])
    if len(reference) < config.num_reference_problems or not rest:
        raise DataError(
            f"data.num_reference_problems={config.num_reference_problems}, but {path} has {len(surveyed)} usable problems "
            "and some must be left to train on"
        )
    accounts = {name: ledger.account(f"split/{name}", "source/train") for name in ("train", "reference")}
    for name, own, reason in (("train", rest, "set_aside_for_reference"), ("reference", reference, "left_to_train_on")):
        accounts[name].read(len(surveyed), len(_of_each_solution(surveyed, surveyed)))
        accounts[name].thinned(reason, _of_each_solution(surveyed, surveyed), _of_each_solution(surveyed, own))
    train = _draw_problems(config, path, rest, surveyed, difficulties, accounts["train"])
    texts: dict[int, Problem] = {}
    chosen: dict[int, list[int]] = {}
    for name, own in (("train", train), ("reference", reference)):
        chosen |= _choose([candidate for i in own for candidate in surveyed[i]], config, name, accounts[name])
    for i, problem in enumerate(tasksets.load_problems(config.source, path, Reading(config.max_bad_frac))):
        if i in chosen:
            texts[i] = _with_solutions(problem, chosen[i])
    splits = {name: [texts[i] for i in own if i in texts] for name, own in (("train", train), ("reference", reference))}
    for name, problems in splits.items():
        accounts[name].keep(_id_of_each_solution(problems))
    removed = [replace(each, file=_in(root, each.file), because_file=_in(root, each.because_file)) for each in found.removed]
    return splits["train"], splits["reference"], removed


def _draw_problems(
    config: DataConfig, path: str, rest: list[int], surveyed: Surveyed, difficulties: Mapping[int, int | None], account: Account
) -> list[int]:
    """The training problems among `rest`, by difficulty bins and number as configured."""
    bins = DifficultyBins(config.difficulty_bins, config.difficulty_weights, config.unknown_difficulty_weight)
    levels = [difficulties[i] for i in rest]
    told = [i for i in rest if difficulties[i] is not None or bins.weight(None) > 0]
    allowed = [i for i in told if bins.weight(difficulties[i]) > 0]
    reachable = [rest[i] for i in choose_problems(levels, bins, None, f"{config.seed}")]
    drawn = [rest[i] for i in choose_problems(levels, bins, config.num_problems, f"{config.seed}")]
    if config.num_problems is not None and len(drawn) < config.num_problems:
        raise DataError(f"data.num_problems={config.num_problems}, but {path} leaves {len(drawn)}: use null for all")
    for reason, before, after in (
        ("unknown_difficulty", rest, told),
        ("difficulty_of_weight_0", told, allowed),
        ("over_difficulty_share", allowed, reachable),
        ("not_sampled", reachable, drawn),
    ):
        account.thinned(reason, _of_each_solution(surveyed, before), _of_each_solution(surveyed, after))
    return drawn


def solutions_per_problem(config: DataConfig) -> int:
    """How many given solutions of a problem leave room for their mutants within `max_per_problem`."""
    return max(1, config.max_per_problem // (1 + config.mutants_per_solution))


def _choose(candidates: Sequence[Candidate], config: DataConfig, split: str, account: Account) -> dict[int, list[int]]:
    """Problem -> its chosen solutions. With mutants the right ones are used and wrong ones made; without, both are given."""
    limit, pairwise = config.max_per_problem, config.pairwise
    if config.mutants_per_solution:
        right = [candidate for candidate in candidates if candidate.is_correct]
        account.thinned("wrong_not_used", [c.problem for c in candidates], [c.problem for c in right])
        candidates, limit, pairwise = right, solutions_per_problem(config), False
    seed = f"{config.seed} {split}"
    chosen: dict[int, list[int]] = {}
    for candidate in choose_solutions(candidates, max_per_problem=limit, pairwise=pairwise, seed=seed, account=account):
        chosen.setdefault(candidate.problem, []).append(candidate.solution)
    return chosen


def _with_chosen_solutions(problems: Sequence[Problem], config: DataConfig, split: str, account: Account) -> list[Problem]:
    """Problems that are in memory, with the chosen solutions; those that are left without any are dropped."""
    account.problems.drop("without_solutions", sum(not problem.solutions for problem in problems))
    candidates = [candidate for i, problem in enumerate(problems) for candidate in candidates_of(i, problem)]
    chosen = [_with_solutions(problems[i], keep) for i, keep in _choose(candidates, config, split, account).items()]
    account.keep(_id_of_each_solution(chosen))
    return chosen


def _with_solutions(problem: Problem, keep: Sequence[int]) -> Problem:
    """With the solutions `keep`, each of which then says where it stood."""
    kept = ((j, problem.solutions[j]) for j in keep)
    solutions = tuple(replace(solution, place=solution.place or f"solutions[{j}]") for j, solution in kept)
    return replace(problem, solutions=solutions)


def _of_each_solution(surveyed: Surveyed, numbers: Iterable[int]) -> list[int]:
    """The problem's number, once for each solution of each of the problems `numbers`."""
    return [number for number in numbers for _ in surveyed[number]]


def _id_of_each_solution(problems: Sequence[Problem]) -> list[str]:
    return [problem.problem_id for problem in problems for _ in problem.solutions]
