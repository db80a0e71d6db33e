"""Counts that add up: of every collection, what was read and made is what was dropped, by reason, and kept. No torch.

Every number is counted where it happens, the kept ones on what is handed on. An equation that does not hold is therefore a
step that lost or doubled something unseen, and `Ledger.check` names it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from wmtp.errors import DataError

_NAME = re.compile(r"(?P<name>.+)/(?P<unit>[^/]+)/(?:(?P<part>made|dropped)/(?P<reason>[^/]+)|(?P<whole>read|kept))")


@dataclass
class Line:
    """One equation, read + made = dropped + kept, in one unit.

    `name`: the collection that the kept items make up. `source`: the collection whose kept items are read, all of them, by
    this and perhaps by other lines; "" where they come from outside.
    """

    name: str
    unit: str
    source: str = ""
    num_read: int = 0
    num_kept: int = 0
    made: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    def read(self, number: int = 1) -> None:
        """`number` items more came in."""
        self.num_read += _whole(number)

    def make(self, kind: str, number: int = 1) -> None:
        """`number` items more that the source does not have."""
        self.made[kind] = self.made.get(kind, 0) + _whole(number)

    def drop(self, reason: str, number: int = 1) -> None:
        """`number` items fewer. A reason that is named with 0 was looked for and not found."""
        self.dropped[reason] = self.dropped.get(reason, 0) + _whole(number)

    def keep(self, number: int = 1) -> None:
        """`number` items more are handed on."""
        self.num_kept += _whole(number)

    @property
    def num_missing(self) -> int:
        """Items that no count explains; negative where there are more than came in."""
        return self.num_read + sum(self.made.values()) - sum(self.dropped.values()) - self.num_kept

    def counts(self) -> dict[str, int]:
        """`name/unit/read`, `.../made/KIND`, `.../dropped/REASON`, `.../kept`."""
        parts = {"read": self.num_read}
        parts |= {f"made/{kind}": number for kind, number in self.made.items()}
        parts |= {f"dropped/{reason}": number for reason, number in self.dropped.items()}
        return {f"{self.name}/{self.unit}/{part}": number for part, number in (parts | {"kept": self.num_kept}).items()}

    def __str__(self) -> str:
        read = [f"{self.num_read:,} read"] if self.num_read or not self.made else []
        left = read + [f"{number:,} {kind}" for kind, number in self.made.items() if number]
        right = [f"{number:,} {reason}" for reason, number in self.dropped.items() if number] + [f"{self.num_kept:,} kept"]
        return f"{self.name} {self.unit}: {' + '.join(left)} = {' + '.join(right)}"


@dataclass(frozen=True)
class Account:
    """The two lines of a collection of solutions: its problems, and the solutions themselves."""

    problems: Line
    solutions: Line

    def read(self, problems: int, solutions: int) -> None:
        self.problems.read(problems)
        self.solutions.read(solutions)

    def drop(self, reason: str, problems: int, solutions: int) -> None:
        self.problems.drop(reason, problems)
        self.solutions.drop(reason, solutions)

    def add(self, other: Account) -> None:
        """What `other`, of the same collection, was told of drops."""
        for own, others in ((self.problems, other.problems), (self.solutions, other.solutions)):
            for reason, number in others.dropped.items():
                own.drop(reason, number)

    def thinned(self, reason: str, before: Sequence[Hashable], after: Sequence[Hashable]) -> None:
        """A step left `after` of `before`, each the problem of every solution: a problem goes with its last solution."""
        self.drop(reason, len(set(before)) - len(set(after)), len(before) - len(after))

    def keep(self, problems: Sequence[Hashable]) -> None:
        """The problem of every solution that is handed on."""
        self.problems.keep(len(set(problems)))
        self.solutions.keep(len(problems))


class Ledger:
    """A stage's lines, in the order in which they were opened."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], Line] = {}

    def line(self, name: str, unit: str, source: str = "") -> Line:
        """A new line.

        Raises:
            ValueError: there is one of this name and unit already.
        """
        if (name, unit) in self.lines:
            raise ValueError(f"the ledger has a line of {name} {unit} already")
        return self.lines.setdefault((name, unit), Line(name, unit, source))

    def account(self, name: str, source: str = "") -> Account:
        """New lines of problems and of solutions; errors as `line`."""
        return Account(self.line(name, "problems", source), self.line(name, "solutions", source))

    def check(self) -> None:
        """Every line adds up, and what a line reads is all that its source kept.

        Raises:
            AssertionError: names the first line that does not hold, and by how much.
        """
        for line in self.lines.values():
            if line.num_missing:
                raise AssertionError(f"ledger: {line} does not add up: {line.num_missing} {line.unit} unaccounted for")
            source = self.lines.get((line.source, line.unit))
            if line.source and source is None:
                raise AssertionError(f"ledger: {line.name} reads {line.unit} of {line.source}, which has no line")
            if source is not None and source.num_kept != line.num_read:
                raise AssertionError(
                    f"ledger: {line.name} read {line.num_read} {line.unit}, but {source.name} kept {source.num_kept}"
                )

    def counts(self) -> dict[str, int]:
        """All lines' counts by name, checked: the form in meta.json, in `StageResult` and for the tracker."""
        self.check()
        return {name: number for line in self.lines.values() for name, number in line.counts().items()}

    def losses(self, unit: str) -> list[Line]:
        """The lines of a unit on which something was dropped."""
        return [line for line in self.lines.values() if line.unit == unit and any(line.dropped.values())]

    @classmethod
    def from_counts(cls, counts: Mapping[str, int]) -> Ledger:
        """The lines that `counts` came from, to show them; what they read from is not in there.

        Raises:
            DataError: a name that no ledger gives.
        """
        ledger = cls()
        for name, number in counts.items():
            match = _NAME.fullmatch(name)
            if match is None:
                raise DataError(f"{name}={number!r} is not a ledger's count: make the counts again")
            line = ledger.lines.setdefault((match["name"], match["unit"]), Line(match["name"], match["unit"]))
            if match["reason"]:
                (line.make if match["part"] == "made" else line.drop)(match["reason"], number)
            else:
                (line.read if match["whole"] == "read" else line.keep)(number)
        return ledger

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines.values()))


def lines_of(counts: Mapping[str, int]) -> list[str]:
    """Counts for a person, each once: those of a ledger as its equations, and then the others."""
    others = {name: number for name, number in counts.items() if not _NAME.fullmatch(name)}
    ledger = Ledger.from_counts({name: number for name, number in counts.items() if name not in others})
    return [*map(str, ledger.lines.values()), *(f"{name}: {number:,}" for name, number in others.items())]


def _whole(number: int) -> int:
    if number < 0:
        raise ValueError(f"a count cannot be {number}")
    return int(number)
