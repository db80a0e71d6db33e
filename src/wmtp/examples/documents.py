"""Documents by use: surveyed once for what they are, chosen by hash, and read again where they are used.

Which documents are chosen depends on their content and the seeds alone, whatever stands beside them. What is known of a
document meanwhile is nine bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.examples.survey import SHOWN, benchmark_statements, resolve
from wmtp.ledger import Ledger, Line
from wmtp.problems.decontaminate import Match, Removed, Statements, normalised
from wmtp.problems.documents import Document, read_documents
from wmtp.problems.draw import in_order
from wmtp.problems.files import Reading
from wmtp.problems.records import place_of
from wmtp.problems.similar import Sketches
from wmtp.problems.splits import with_split
from wmtp.types import Problem

USES = ("train", "reference", "validation")


@dataclass(frozen=True, eq=False)
class Source:
    """What is known of a file: of every document, in its order, 64 bits of what it holds, (N,), and whether it may be used."""

    name: str
    path: str
    digests: np.ndarray
    usable: np.ndarray

    def draw(self, seed: str, number: int | None, left: np.ndarray) -> np.ndarray:
        """At most `number` of the documents `left`, (N,) bool: those that the seed puts first; None: all."""
        places = np.flatnonzero(left)
        chosen = np.zeros_like(left)
        chosen[places[in_order(seed, self.digests[places])[:number]]] = True
        return chosen


@dataclass(frozen=True, eq=False)
class Corpus:
    """Which documents of which file each use has; `removed`: those that hold a benchmark's problem."""

    config: DataConfig
    root: Path
    chosen: Mapping[str, tuple[Source, np.ndarray]]
    removed: list[Removed] = field(default_factory=list)

    def number(self, use: str) -> int:
        """How many."""
        return int(self.chosen[use][1].sum())

    def documents(self, use: str, most: int | None = None) -> Iterator[tuple[int, Document]]:
        """Each with its number in its file, in the file's order; `most`: so many of them, drawn by the data's seed."""
        source, mask = self.chosen[use]
        mask = mask if most is None else source.draw(f"{use} texts {self.config.seed}", most, mask)
        for number, document in enumerate(_read(source.path, self.config, self.root, Reading(self.config.max_bad_frac))):
            if mask[number]:
                yield number, document


def load_corpus(config: DataConfig, root: Path, ledger: Ledger) -> Corpus:
    """The configured documents: without repetitions, and none in two uses.

    What is held out and what the reference is tuned on come from files of their own or are set aside of the training file.

    Raises:
        DataError: a broken file, or fewer documents than asked for.
    """
    known = Statements(list(benchmark_statements(config, root, ledger)), overlap_frac=config.benchmark_overlap, similarity=None)
    alike = None if config.max_similarity is None else _Alike(Sketches(config.max_similarity))
    survey = _Survey(config, root, ledger, known, alike)
    held_out = survey.of("validation", config.validation_path)
    clean = survey.of("reference", config.reference_path, in_validation=held_out)
    train = survey.of("train", config.train_path, in_validation=held_out, in_reference=clean)
    assert train is not None, "the configuration asks for it"
    chosen: dict[str, tuple[Source, np.ndarray]] = {}
    left = train.usable.copy()
    numbers = {"validation": config.num_validation_problems, "reference": config.num_reference_problems}
    seeds = {"validation": config.heldout_seed, "reference": config.seed}
    for use, own in (("validation", held_out), ("reference", clean)):
        source = own or train
        mask = source.draw(f"{use} {seeds[use]}", numbers[use], left if own is None else own.usable)
        if mask.sum() < numbers[use] and not (use == "reference" and own is not None):
            raise DataError(f"data.num_{use}_problems={numbers[use]}, but {source.path} has {mask.sum()} documents for it")
        if own is None:
            left &= ~mask
        chosen[use] = (source, mask)
    mask = train.draw(f"train {config.seed}", config.num_problems, left)
    if not mask.any() or mask.sum() < (config.num_problems or 0):
        raise DataError(f"data.num_problems={config.num_problems}, but {train.path} leaves {mask.sum()}: use null for all")
    chosen["train"] = (train, mask)
    for use in USES:
        _account(use, chosen, ledger)
    removed = [replace(each, because_file=each.because_file.removeprefix(f"{root}/")) for each in survey.removed]
    return Corpus(config, root, chosen, removed)


def _account(use: str, chosen: Mapping[str, tuple[Source, np.ndarray]], ledger: Ledger) -> None:
    """A use reads all usable documents of its file, and leaves what others have of it."""
    source, mask = chosen[use]
    line = ledger.line(f"split/{use}", "documents", f"source/{source.name}")
    line.read(int(source.usable.sum()))
    left = source.usable & ~mask
    for other, (file, theirs) in chosen.items():
        if other != use and file is source:
            line.drop(f"used_for_{other}", int((left & theirs).sum()))
            left &= ~theirs
    line.drop("not_sampled", int(left.sum()))
    line.keep(int(mask.sum()))


def _read(path: str, config: DataConfig, root: Path, reading: Reading) -> Iterator[Document]:
    """Each with its place as the workspace calls it, wherever that stands."""
    for document in read_documents(path, config.source, config.document_field, reading):
        yield replace(document, place=document.place.removeprefix(f"{root}/"))


@dataclass(frozen=True, eq=False)
class _Alike:
    """Documents that are used, of all files so far, by what they hold: `places` of those in `index`. `own`: those of the file
    that is being read, which are not in there yet."""

    index: Sketches
    places: list[str] = field(default_factory=list)
    own: list[tuple[str, Any]] = field(default_factory=list)

    def read(self, document: Document) -> None:
        """The next one of a file."""
        self.own.append((document.place, self.index.of(normalised(document.content))))

    def leave(self, source: Source, *, all_used: bool) -> list[tuple[int, Removed]]:
        """What is like another one, by its number; `all_used`: nothing. Which of several is used depends on what they hold."""
        left, places = [], np.flatnonzero(source.usable)
        for number in places[np.argsort(source.digests[places], kind="stable")].tolist():
            place, sketch = self.own[number]
            near = [] if all_used else self.index.near(sketch, self.index.threshold)
            if near:
                first, degree = max(near, key=lambda one: one[1])
                match = Match("similar", degree, _as_problem(self.places[first]))
                left.append((number, Removed.of(_as_problem(place), "near_duplicate", match)))
            else:
                self.index.add(sketch)
                self.places.append(place)
        self.own.clear()
        return sorted(left, key=lambda one: one[0])


def _as_problem(place: str) -> Problem:
    file, row = place_of(place)
    return Problem(place, "", (), file=file, row=row)


@dataclass(frozen=True, eq=False)
class _Survey:
    """Of one file after the other. `known`: statements that no document may hold; `alike`: None where likeness is no matter."""

    config: DataConfig
    root: Path
    ledger: Ledger
    known: Statements
    alike: _Alike | None = None
    removed: list[Removed] = field(default_factory=list)

    def of(self, name: str, value: str | None, **taken: Source | None) -> Source | None:
        """What a file holds; None where none is given. `taken`: by reason, files whose documents are not used here."""
        if value is None:
            return None
        path = with_split(resolve(value, self.root), "train" if name == "reference" else name)
        line = self.ledger.line(f"source/{name}", "documents")
        digests, usable = array("Q"), bytearray()
        reading = Reading(0.0 if name == "validation" else self.config.max_bad_frac)
        for document in _read(path, self.config, self.root, reading):
            line.read()
            reason = self._reason(document, is_held_out=name == "validation")
            if reason:
                line.drop(reason)
            digests.append(int.from_bytes(document.digest, "little"))
            usable.append(not reason)
            if self.alike is not None:
                self.alike.read(document)
        _note_bad_rows(reading, line)
        source = Source(name, path, np.array(digests, dtype=np.uint64), np.frombuffer(usable, dtype=bool).copy())
        for reason, other in taken.items():
            if other is not None:
                _leave(source, np.isin(source.digests, other.digests[other.usable]), reason, line)
        places = np.flatnonzero(source.usable)
        again = np.ones_like(source.usable)
        again[places[np.unique(source.digests[places], return_index=True)[1]]] = False
        _leave(source, again, "duplicate", line)
        if self.alike is not None:
            left = self.alike.leave(source, all_used=name == "validation")
            which = np.isin(np.arange(len(source.usable)), [number for number, _ in left])
            _leave(source, which, "near_duplicate", line)
            self.removed.extend(removed for _, removed in left)
        line.keep(int(source.usable.sum()))
        return source

    def _reason(self, document: Document, *, is_held_out: bool) -> str:
        """Why a document is not used, "" where it is."""
        content = document.content
        if not content.strip():
            return "empty"
        if is_held_out or not self.config.benchmarks:
            return ""
        match = self.known.find(normalised(content))
        if match is None:
            return ""
        self.removed.append(Removed.of(_as_problem(document.place), "contaminated", match))
        return "contaminated"


def _leave(source: Source, which: np.ndarray, reason: str, line: Line) -> None:
    hits = source.usable & which
    line.drop(reason, int(hits.sum()))
    source.usable[hits] = False


def _note_bad_rows(reading: Reading, line: Line) -> None:
    line.read(len(reading.bad_rows))
    line.drop("bad_row", len(reading.bad_rows))
    print("".join(f"sample: left out {row}\n" for row in reading.bad_rows[:SHOWN]), end="", flush=True)
