"""Problems and files of splits, by hand."""

from dataclasses import replace

from wmtp.examples import sources
from wmtp.examples.store import Stores
from wmtp.problems.files import write_problems
from wmtp.types import AssertTest, Problem, Solution


def problem(name, statement, right=2, wrong=2):
    solutions = [Solution(f"r{i} = 1", True) for i in range(right)] + [Solution(f"w{i} = 1", False) for i in range(wrong)]
    return Problem(name, statement, (AssertTest("assert True"),), solutions=tuple(solutions))


def written(path, problems):
    write_problems(path, problems)
    return path.name


def load_splits(config, root, ledger, **options):
    return sources.load_splits(config, root, ledger, stores=Stores(root / "stores"), **options)


def many(number, start=0):
    """Problems with different numbers of solutions and difficulties."""
    made = [problem(f"t{i}", f"Do thing {i} of many.", right=1 + i % 4, wrong=1 + i % 3) for i in range(start, start + number)]
    return [replace(each, difficulty=None if i % 5 == 0 else i % 4) for i, each in enumerate(made)]
