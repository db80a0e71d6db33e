"""What `sample` is configured with."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Optional

from wmtp import tasksets
from wmtp.checks import one_of, require, require_seed
from wmtp.problems import documents

MAX_BENCHMARKS = 4
"""As many as dvc.yaml has places for."""


def benchmark_path(entry: str) -> str:
    """The file, folder or hub id of an item of `data.benchmarks`."""
    return entry.partition(":")[2]


@dataclass(frozen=True)
class NoiseConfig:
    """Web-like noise in the policy's training mix: shares of all solutions, by kind."""

    frac: float = 0.5
    comments: float = 0.45
    boilerplate: float = 0.25
    corrupted: float = 0.15
    mismatched: float = 0.15

    def __post_init__(self) -> None:
        require(0 <= self.frac <= 1, "data.noise.frac", self.frac, "a number in [0, 1]")
        kinds = (self.comments, self.boilerplate, self.corrupted, self.mismatched)
        require(min(kinds) >= 0, "data.noise", kinds, "shares are not negative")
        require(abs(sum(kinds) - 1) < 1e-6, "data.noise", kinds, "the four kinds' shares add up to 1")


@dataclass(frozen=True)
class TokenizerConfig:
    """`path`: a Hugging Face tokenizer (folder or hub id); without it, byte-pair merges are learnt from the data: from at most
    `max_texts` solutions of the training file, the same ones for every seed, or of the examples where there is no file."""

    path: Optional[str] = None
    vocab_size: int = 768
    max_texts: int = 100000

    def __post_init__(self) -> None:
        require(self.max_texts > 0, "data.tokenizer.max_texts", self.max_texts, "a positive whole number")
        require(self.vocab_size >= 260, "data.tokenizer.vocab_size", self.vocab_size, "at least 260 (256 bytes + specials)")


@dataclass(frozen=True)
class DataConfig:
    """What `sample` reads and what it keeps. Counts are problems unless they say otherwise.

    `operations`: the synthetic catalogue. `difficulty_weights`: shares of the bins that the edges `difficulty_bins` cut
    (one more than edges), beside them `unknown_difficulty_weight` for problems of unknown difficulty; empty takes
    difficulties as they come. `max_bad_frac`: share of the training file's rows that may be broken; they are counted.
    `labels`: of given solutions: `verified` by running them, `trusted`, or `sampled`: `verified_frac` of them is run, and the
    share of wrong labels found is reported. `timeouts`: whether a solution given as wrong that only runs out of time is used
    as `wrong` or `dropped`. `limit_margin`: the problems' time and memory limits are multiplied by it, so that only who is too
    slow or too large anywhere fails. `max_tests`: tests of a problem that a label is made from, null for all. `mutants`: `any`
    that fails, or `late`: rather one that passes the first test.

    `seed` draws training and reference problems and all solutions, by hashes of it and of what they are; `heldout_seed` the
    problems of validation and test, so that several seeds of the data are compared on the same ones.

    Training problems that are in the validation file or in one of `benchmarks`, each `NAME:PATH` with the name of its task set,
    are removed: the same statement, one that shares `benchmark_overlap` of the 13-grams of the shorter one, or one whose
    Jaccard similarity is `benchmark_similarity`; null for either is without. `max_similarity`: of two training problems that
    are so alike, the later one is removed; null: only the same statement is. Of documents, by the estimate that MinHash gives.

    `test_path`: where the test problems come from; null: from `validation_path`, as far from validation's as there is room.

    `source: text` learns from documents, `messages` from conversations, which are packed into rows of `max_length` tokens:
    `text_field` and `messages_field` name their columns, and counts are documents. `reference_path`: documents that the
    reference is tuned on, at most `num_reference_problems` of them; null sets so many of the training file aside, as the
    documents of validation are without a `validation_path`.
    """

    source: str = "synthetic"
    operations: str = "core"
    train_path: Optional[str] = None
    validation_path: Optional[str] = None
    reference_path: Optional[str] = None
    test_path: Optional[str] = None
    text_field: str = "text"
    messages_field: str = "messages"
    seed: int = 0
    heldout_seed: int = 0
    num_problems: Optional[int] = 6000
    num_reference_problems: int = 1500
    num_validation_problems: int = 300
    num_test_problems: int = 150
    max_per_problem: int = 2
    correct_ratio: Optional[float] = None
    pairwise: bool = True
    curriculum: bool = False
    difficulty_bins: list[int] = field(default_factory=list)
    difficulty_weights: list[float] = field(default_factory=list)
    unknown_difficulty_weight: float = 0.0
    max_bad_frac: float = 0.001
    benchmarks: list[str] = field(default_factory=list)
    benchmark_overlap: Optional[float] = 0.5
    benchmark_similarity: Optional[float] = 0.6
    max_similarity: Optional[float] = None
    heldout_frac: float = 0.2
    mutants_per_solution: int = 1
    mutants: str = "any"
    labels: str = "verified"
    verified_frac: float = 0.05
    timeouts: str = "wrong"
    limit_margin: float = 1.0
    max_tests: Optional[int] = None
    max_length: int = 192
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)

    def __post_init__(self) -> None:
        one_of("data.source", self.source, (*tasksets.names(), *documents.KINDS))
        if self.is_documents:
            self._check_documents()
        else:
            taskset = tasksets.get(self.source)
            require(not taskset.not_for_training, "data.source", self.source, taskset.not_for_training)
            reason, hint = taskset.trusted_only, f"with data.source={self.source}: {taskset.trusted_only}"
            require(not reason or self.labels == "trusted", "data.labels", self.labels, f"trusted {hint}")
            require(not reason or not self.pairwise, "data.pairwise", self.pairwise, f"false {hint}")
            rule = "null: reference problems are set aside of the training file"
            require(self.reference_path is None, "data.reference_path", self.reference_path, rule)
        for key in ("num_reference_problems", "num_validation_problems", "num_test_problems", "max_per_problem", "max_length"):
            require(getattr(self, key) > 0, f"data.{key}", getattr(self, key), "a positive whole number")
        require(
            self.num_problems is None or self.num_problems > 0,
            "data.num_problems",
            self.num_problems,
            "positive, or null for all",
        )
        endless = self.is_generated and self.num_problems is None
        require(not endless, "data.num_problems", None, f"a number: data.source={self.source} makes problems without end")
        require_seed("data.seed", self.seed)
        require_seed("data.heldout_seed", self.heldout_seed)
        require(self.mutants_per_solution >= 0, "data.mutants_per_solution", self.mutants_per_solution, "0 or more")
        one_of("data.mutants", self.mutants, ("any", "late"))
        one_of("data.timeouts", self.timeouts, ("wrong", "dropped"))
        require(1 <= self.limit_margin < math.inf, "data.limit_margin", self.limit_margin, "a number, 1 or more")
        require(self.max_tests is None or self.max_tests > 0, "data.max_tests", self.max_tests, "positive, or null for all")
        self._check_labels()
        require(0 < self.heldout_frac < 1, "data.heldout_frac", self.heldout_frac, "a number in (0, 1)")
        one_of("data.operations", self.operations, ("core", "all"))
        bins, weights = self.difficulty_bins, self.difficulty_weights
        require(bins == sorted(set(bins)), "data.difficulty_bins", bins, "rising edges")
        fits = (not bins and not weights) or len(weights) == len(bins) + 1
        require(fits, "data.difficulty_weights", weights, f"{len(bins) + 1} shares for {len(bins)} edges, or both lists empty")
        require(
            not weights or (min(weights) >= 0 and max(weights) > 0), "data.difficulty_weights", weights, "shares, not all 0"
        )
        unknown = self.unknown_difficulty_weight
        require(
            unknown >= 0 and (not unknown or bool(weights)),
            "data.unknown_difficulty_weight",
            unknown,
            "0, or a share beside data.difficulty_weights",
        )
        require(0 <= self.max_bad_frac < 1, "data.max_bad_frac", self.max_bad_frac, "a number in [0, 1)")
        pairs = self.max_per_problem >= 2 or not self.pairwise
        require(pairs, "data.max_per_problem", self.max_per_problem, "at least 2 where data.pairwise is true")
        single = self.mutants_per_solution <= 1 or not self.pairwise
        require(single, "data.mutants_per_solution", self.mutants_per_solution, "0 or 1 where data.pairwise is true")
        self._check_leaks()
        ratio = self.correct_ratio
        require(ratio is None or 0 <= ratio <= 1, "data.correct_ratio", ratio, "a number in [0, 1], or null for the data's own")
        fits = ratio in (None, 0.5) or not self.pairwise
        require(fits, "data.correct_ratio", ratio, "0.5 or null where data.pairwise is true: pairs have as many right as wrong")
        for key in () if self.is_generated else ("train_path",) if self.is_documents else ("train_path", "validation_path"):
            require(getattr(self, key) is not None, f"data.{key}", None, f"source={self.source} reads this file: give its path")

    def _check_documents(self) -> None:
        """What is said of problems and solutions alone."""
        rule = f"null with data.source={self.source}: what is held out is data.validation_path's"
        require(self.test_path is None, "data.test_path", self.test_path, rule)
        expected: dict[str, tuple[object, object]] = {
            "noise.frac": (self.noise.frac, 0),
            "mutants_per_solution": (self.mutants_per_solution, 0),
            "pairwise": (self.pairwise, False),
            "curriculum": (self.curriculum, False),
            "correct_ratio": (self.correct_ratio, None),
            "difficulty_bins": (self.difficulty_bins, []),
            "difficulty_weights": (self.difficulty_weights, []),
        }
        for key, (value, due) in expected.items():
            why = f"{json.dumps(due)} with data.source={self.source}: documents are no solutions, right or wrong"
            require(value == due, f"data.{key}", value, why)
        learnt = self.source == "messages" and self.tokenizer.path is None
        rule = "a tokenizer with a chat template: a folder or hub id (one that is learnt here has none)"
        require(not learnt, "data.tokenizer.path", None, rule)

    def _check_leaks(self) -> None:
        for key in ("benchmark_overlap", "benchmark_similarity", "max_similarity"):
            value = getattr(self, key)
            require(value is None or 0 < value <= 1, f"data.{key}", value, "a number in (0, 1], or null for none")
        given, most = self.benchmarks, MAX_BENCHMARKS
        require(len(given) <= most, "data.benchmarks", given, f"at most {most} files or folders (a folder may hold several)")
        require(not given or not self.is_generated, "data.benchmarks", given, "[] where the source makes its own problems")
        for entry in given:
            name = entry.partition(":")[0]
            is_file = name in tasksets.names() and not tasksets.get(name).is_generated
            files = ", ".join(each for each in tasksets.names() if not tasksets.get(each).is_generated)
            is_whole = is_file and bool(benchmark_path(entry))
            require(is_whole, "data.benchmarks", entry, f"NAME:PATH, where NAME is one of {files}")

    def _check_labels(self) -> None:
        one_of("data.labels", self.labels, ("verified", "trusted", "sampled"))
        require(0 < self.verified_frac <= 1, "data.verified_frac", self.verified_frac, "a number in (0, 1]")
        if self.labels != "verified":
            require(not self.is_generated, "data.labels", self.labels, "verified where the source makes its own solutions")
            allowed = f"0 where data.labels={self.labels}: what is made of a solution is only known if that was run"
            require(self.mutants_per_solution == 0, "data.mutants_per_solution", self.mutants_per_solution, allowed)
            require(self.noise.frac == 0, "data.noise.frac", self.noise.frac, allowed)

    @property
    def is_documents(self) -> bool:
        """Whether the source gives documents or conversations, and no problems."""
        return self.source in documents.KINDS

    @property
    def document_field(self) -> str:
        """The column that holds a document."""
        return self.messages_field if self.source == "messages" else self.text_field

    @property
    def is_generated(self) -> bool:
        """Whether the source makes its problems itself instead of reading files."""
        return not self.is_documents and tasksets.get(self.source).is_generated
