"""The embedded dataset: problems in English composed of list operations, with programs and tests. A generator, not a file.

Evaluation problems are unseen compositions: a share of the operation tuples of depth 2 and more never occurs in training.
Everything is a function of the configuration and its seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.ledger import Ledger
from wmtp.problems.choose import DifficultyBins
from wmtp.synthetic.catalogue import CATALOGUES
from wmtp.synthetic.operations import Constant, Operation, Reducer
from wmtp.types import IOTest, Problem, Solution

DEPTH_WEIGHTS = {1: 1.0, 2: 2.0, 3: 2.0}
"""How often problems of each depth (number of operations) are drawn."""

TIME_LIMIT_S = 2.0
HEADERS = {
    "integers": ("Given a list of integers", "Read some integers"),
    "words": ("Given a list of words", "Read some words"),
}
READERS = {"integers": "list(map(int, input().split()))", "words": "input().split()"}
NAMINGS = (("a", "b", "c", "d", "x"), ("nums", "one", "two", "three", "n"))
"""Variables of the list as read and after each step, and of an item."""

STYLES = ("comprehensions", "loops")
_MAX_REDRAWS = 500
"""Draws without a new problem after which a depth counts as used up; the other depths then share its part."""

_TRAIN_LENGTHS = ((8, 12), (5, 8), (0, 3))
_HELDOUT_LENGTHS = (*_TRAIN_LENGTHS, (6, 10), (2, 5))
"""How long the tests' lists are, longer ones first: a wrong program then fails sooner. Evaluation tests more strictly;
a training label costs as many program runs as there are tests."""

_VOCABULARY = """
area rose east tree star note oats sea ear rest toast otter sort arrow erase reset test art too at sat rate stereo taste
error robot sense tease store roar seat tart ore era toe
"""
_WORDS = _VOCABULARY.split()

Names = tuple[str, ...]
"""The operations of a composition, in order."""


@dataclass(frozen=True)
class Composition:
    """Steps and reducer with their constants and wordings: one problem."""

    steps: tuple[tuple[Operation, Constant], ...]
    reducer: Reducer
    wordings: tuple[int, ...]

    def statement(self) -> str:
        """The problem in English, its steps numbered."""
        header = HEADERS[self.steps[0][0].takes][self.wordings[0]]
        parts = [
            f"({i}) {op.phrases[wording].format(k=k)}"
            for i, ((op, k), wording) in enumerate(zip(self.steps, self.wordings[1:-1], strict=True), 1)
        ]
        return f"{header}, {', '.join(parts)}, and {self.reducer.phrases[self.wordings[-1]]}."

    def answer(self, values: Sequence[Any]) -> Any:
        """What a right program prints, by the operations' meanings alone."""
        current = list(values)
        for operation, constant in self.steps:
            current = operation.meaning(current, constant)
        return self.reducer.meaning(current)

    def code(self, style: str, naming: tuple[str, ...]) -> str:
        """A program that reads the list from stdin: one variable per step."""
        lists, item = naming[:-1], naming[-1]
        lines = [f"{lists[0]} = {READERS[self.steps[0][0].takes]}"]
        for i, (operation, constant) in enumerate(self.steps):
            lines += _step_lines(operation, constant, style, lists[i], lists[i + 1], item)
        return "\n".join([*lines, f"print({self.reducer.code.format(src=lists[len(self.steps)])})"])


def _step_lines(operation: Operation, constant: Constant, style: str, src: str, out: str, item: str) -> list[str]:
    fields = {"x": item, "src": src, "out": out, "k": repr(constant)}
    if operation.whole:
        whole = operation.whole.format(**fields)
        if style == "comprehensions":
            return [f"{out} = {whole}"]
        return [line.format(**fields, whole=whole) for line in operation.loop]
    condition, each = operation.keep.format(**fields), operation.each.format(**fields) or item
    if style == "comprehensions":
        return [f"{out} = [{each} for {item} in {src}{f' if {condition}' if condition else ''}]"]
    head = [f"{out} = []", f"for {item} in {src}:"]
    return (
        [*head, f"    if {condition}:", f"        {out}.append({item})"] if condition else [*head, f"    {out}.append({each})"]
    )


def operation_tuples(operations: Sequence[Operation], depth: int) -> list[Names]:
    """Every sequence of `depth` operations whose types fit."""
    return [
        tuple(op.name for op in ops)
        for ops in product(operations, repeat=depth)
        if all(left.gives == right.takes for left, right in pairwise(ops))
    ]


def split_tuples(
    operations: Sequence[Operation], heldout_frac: float, seed: int
) -> tuple[dict[int, list[Names]], dict[int, list[Names]]]:
    """Tuples by depth for training and for evaluation; those of depth 1 are all for training."""
    train, heldout = {1: operation_tuples(operations, 1)}, {}
    for depth in (2, 3):
        tuples = operation_tuples(operations, depth)
        random.Random(f"tuples {seed} {depth}").shuffle(tuples)
        number = math.ceil(heldout_frac * len(tuples))
        heldout[depth], train[depth] = sorted(tuples[:number]), sorted(tuples[number:])
    return train, heldout


class Generator:
    """Distinct problems of one configuration, split by split. `ledger` is told of every composition that is drawn."""

    def __init__(self, config: DataConfig, ledger: Ledger | None = None) -> None:
        self.config, self.ledger = config, ledger or Ledger()
        self.bins = DifficultyBins(config.difficulty_bins, config.difficulty_weights)
        operations, self.reducers = CATALOGUES[config.operations]
        self.operations = {operation.name: operation for operation in operations}
        self.train, self.heldout = split_tuples(operations, config.heldout_frac, config.heldout_seed)
        self.statements: set[str] = set()

    def problems(self, split: str, number: int, *, heldout: bool) -> list[Problem]:
        """`number` problems that no other split of this generator has.

        Raises:
            DataError: there are not that many.
        """
        draw = random.Random(f"problems {self.config.heldout_seed if heldout else self.config.seed} {split}")
        tuples = self.heldout if heldout else self.train
        weights = [DEPTH_WEIGHTS[d] * self.bins.weight(d) for d in tuples]
        drawn, depths = self.ledger.account(f"source/{split}"), self.ledger.line(f"source/{split}", "depths")
        depths.read(len(tuples))
        depths.drop("difficulty_of_weight_0", weights.count(0.0))
        problems: list[Problem] = []
        while len(problems) < number:
            if not any(weights):
                raise DataError(f"only {len(problems)} distinct synthetic problems for {split}, asked for {number}")
            depth = draw.choices(list(tuples), weights)[0]
            for _ in range(_MAX_REDRAWS):
                composition = self._draw(draw, tuples[depth])
                statement = composition.statement()
                tests = _tests(composition, _HELDOUT_LENGTHS if heldout else _TRAIN_LENGTHS, draw)
                drawn.problems.make("drawn")
                if len({test.stdout for test in tests}) < 2:
                    drawn.problems.drop("constant_answer")
                elif statement in self.statements:
                    drawn.problems.drop("repeated_statement")
                else:
                    self.statements.add(statement)
                    problems.append(_problem(split, len(problems), composition, statement, tests, draw))
                    break
            else:
                weights[list(tuples).index(depth)] = 0.0
                depths.drop("used_up")
        depths.keep(sum(weight > 0 for weight in weights))
        drawn.solutions.make("rendered", sum(len(problem.solutions) for problem in problems))
        drawn.keep([problem.problem_id for problem in problems for _ in problem.solutions])
        return problems

    def _draw(self, draw: random.Random, tuples: list[Names]) -> Composition:
        steps = [self.operations[name] for name in draw.choice(tuples)]
        reducers = [reducer for reducer in self.reducers if reducer.takes == steps[-1].gives]
        return Composition(
            steps=tuple((operation, draw.choice(operation.constants)) for operation in steps),
            reducer=draw.choice(reducers),
            wordings=tuple(draw.randrange(2) for _ in range(len(steps) + 2)),
        )


def _tests(composition: Composition, lengths: Sequence[tuple[int, int]], draw: random.Random) -> tuple[IOTest, ...]:
    tests = []
    for low, high in lengths:
        number = draw.randint(low, high)
        if composition.steps[0][0].takes == "words":
            values: list[Any] = [draw.choice(_WORDS) for _ in range(number)]
        else:
            values = [draw.randint(-6, 14) for _ in range(number)]
        tests.append(IOTest(" ".join(map(str, values)) + "\n", f"{composition.answer(values)}\n"))
    return tuple(tests)


def _problem(
    split: str, number: int, composition: Composition, statement: str, tests: tuple[IOTest, ...], draw: random.Random
) -> Problem:
    codes = [composition.code(style, naming) for style in STYLES for naming in NAMINGS]
    draw.shuffle(codes)
    return Problem(
        problem_id=f"{split}-{number:05d}",
        prompt=statement,
        tests=tests,
        difficulty=len(composition.steps),
        time_limit_s=TIME_LIMIT_S,
        solutions=tuple(Solution(code, True) for code in codes),
        file=f"synthetic/{split}",
        row=number,
    )


def generate(config: DataConfig, ledger: Ledger | None = None) -> dict[str, list[Problem]]:
    """All splits: train and reference from seen compositions, validation and test from held-out ones, no problem twice."""
    assert config.num_problems is not None, "the configuration asks for it"
    generator = Generator(config, ledger)
    return {
        "test": generator.problems("test", config.num_test_problems, heldout=True),
        "validation": generator.problems("validation", config.num_validation_problems, heldout=True),
        "reference": generator.problems("reference", config.num_reference_problems, heldout=False),
        "train": generator.problems("train", config.num_problems, heldout=False),
    }
