"""From examples to token tables: the tokenizer, how long rows are, and which rows are left of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.examples.survey import resolve
from wmtp.ledger import Account
from wmtp.problems.choose import UNKNOWN, curriculum_order, keep_correct_ratio, keep_pairs
from wmtp.problems.draw import in_order, key_of
from wmtp.problems.render import Example
from wmtp.progress import OnProgress
from wmtp.tokens.cache import TokenCache
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.tables import fingerprinted, row_lengths
from wmtp.tokens.tokenizer import copy_tokenizer, encode_examples, save_tokenizer, train_tokenizer

Pair = tuple[str, str]
"""A prompt and its solution."""


class RowTokenizer:
    """The tokenizer of a data folder: an existing one, or one that is learnt from the texts that there are to learn from first.

    Args:
        folder: where it is put; kept: where rows that were made before are, see `TokenCache`.
        on_progress: is told how many of how many texts are tokenised.
    Raises:
        DataError: the existing one cannot be had or read.
    """

    def __init__(
        self,
        config: DataConfig,
        root: Path,
        folder: Path,
        kept: Path,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._config, self._folder, self._kept, self._on_progress = config, folder, kept, on_progress
        self._text: TextTokenizer | None = None
        if config.tokenizer.path is not None:
            self._text = copy_tokenizer(resolve(config.tokenizer.path, root, "tokenizer"), folder)

    @property
    def text(self) -> TextTokenizer:
        assert self._text is not None, "nothing was learnt yet"
        return self._text

    @cached_property
    def _cache(self) -> TokenCache:
        return TokenCache(self._kept, self.text, self._on_progress)

    def measure_by(self, texts: Callable[[int], Sequence[Pair]]) -> Callable[[Sequence[Pair]], tuple[np.ndarray, np.ndarray]]:
        """See `wmtp.examples.sources.MeasureBy`."""
        if self._text is None:
            self._learn(texts(self._config.tokenizer.max_texts))
        return self._measure

    def table(self, examples: Sequence[Example]) -> pa.Table:
        """All of them as rows, see `encode_examples`. Merges are learnt from them where they are not yet."""
        if self._text is None:
            keys = np.asarray([key_of(example.prompt, example.code) for example in examples], dtype=np.uint64)
            drawn = in_order("tokenizer", keys)[: self._config.tokenizer.max_texts]
            self._learn([(examples[i].prompt, examples[i].code) for i in drawn])
        return encode_examples(self.text, examples, self._cache.rows)

    def _learn(self, texts: Sequence[Pair]) -> None:
        self._text = train_tokenizer((prompt + code for prompt, code in texts), self._config.tokenizer.vocab_size)
        save_tokenizer(self._text, self._folder, self._config.max_length)
        print(f"sample: tokenizer of {self._text.vocab_size} tokens learnt from {len(texts)} texts", flush=True)

    def _measure(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
        lengths, prompt_lens = self._cache.sizes(pairs)
        return lengths, prompt_lens + 1


def selected(
    table: pa.Table, examples: Sequence[Example], config: DataConfig, account: Account, *, name: str, mixed: bool
) -> pa.Table:
    """What is left of a table's rows: what fits, `mixed`: in pairs where they are asked for; the training mix also without
    repetitions, thinned to the ratio of correct ones, and in curriculum order if configured.

    Args:
        table: a row of every example; account: told what is dropped and kept.
    Raises:
        DataError: nothing is left.
    """
    is_correct, lengths = table["is_correct"].to_numpy(), row_lengths(table)
    keys = np.asarray([key_of(example.prompt, example.code) for example in examples], dtype=np.uint64)
    problems = np.unique([example.problem_id for example in examples], return_inverse=True)[1]
    rows = np.arange(len(examples))

    def leave(reason: str, kept: np.ndarray) -> None:
        nonlocal rows
        left, before = rows[kept], rows
        account.thinned(reason, problems[rows].tolist(), problems[left].tolist())
        rows = left
        if not len(rows):
            why = f"{reason} (data.max_length={config.max_length}; the shortest has {lengths[before].min()} tokens)"
            why = why if reason == "too_long" else reason
            raise DataError(f"{name}: none of {len(examples)} examples is left, the last {len(before)} are {why}")

    if name == "train":
        leave("duplicate", np.sort(np.unique(keys, return_index=True)[1]))
    leave("too_long", np.flatnonzero(lengths[rows] <= config.max_length))
    if mixed and config.pairwise:
        leave("without_partner", keep_pairs(problems[rows], is_correct[rows]))
    if name == "train":
        leave("over_correct_ratio", keep_correct_ratio(is_correct[rows], keys[rows], config.correct_ratio, f"{config.seed}"))
        if config.curriculum:
            rows = rows[curriculum_order(table["difficulty"].fill_null(UNKNOWN).to_numpy()[rows], lengths[rows])]
    account.keep(problems[rows].tolist())
    return fingerprinted(table.take(pa.array(rows)))
