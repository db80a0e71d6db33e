"""The one way from text to tokens and back, for training rows, for prompts and for completions.

Rules: nothing is truncated or padded. Special tokens that stand in a text are spelt out. Where the tokenizer's own
convention starts a text with special tokens (BOS), every prompt starts with them, and nothing else is added but the end token
of a training row. A prompt has the same tokens in a training row as when it is evaluated, for any answer: a row is the tokens
of prompt + answer as one string, and where a token of these would straddle the boundary (or the answer change the prompt's
tokens), the row is cut there: the prompt's own tokens, then the answer's as a continuation. Completions are decoded as
continuations too, so that no decoder takes their first space for the start of a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wmtp.errors import DataError
from wmtp.text_start import ANCHORS, plain

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

LONE_CHARACTERS = r"[0-9\n]"
"""What is always a token of its own in the tokenizers that are learnt here: a pattern."""

AT_ONCE = 250
"""Rows whose tokens are Python's at the same time."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """Tokens of one training row: what starts a text, prompt, answer, end token.

    `spans`: for every token its characters [start, stop) in prompt + answer, (0, 0) for those that stand for no text.
    """

    ids: list[int]
    spans: list[Span]
    prompt_len: int


class _Encoded(NamedTuple):
    """A text's tokens and their characters as Python has them. An `Encoding` makes both anew at every look."""

    ids: list[int]
    spans: list[Span]

    @classmethod
    def of(cls, encoding: Encoding) -> _Encoded:
        return cls(encoding.ids, encoding.offsets)


@dataclass(frozen=True)
class TextTokenizer:
    """A `tokenizers` tokenizer, made to follow the rules above (it is changed), with the ids that rows need.

    `prefix_ids`: what every text starts with.
    """

    tokenizer: Tokenizer
    eos_token_id: int
    pad_token_id: int
    prefix_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        plain(self.tokenizer)
        self.tokenizer.encode_special_tokens = True
        if self.tokenizer.post_processor is not None:  # it may also trim spaces off the spans
            self.tokenizer.post_processor = None

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: the largest id + 1."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def largest_id(self) -> int:
        """Of the tokens that a text may become; special ones that stand in it are spelt out."""
        special = {number for number, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        known = self.tokenizer.get_vocab(with_added_tokens=True).values()
        return max(number for number in (*known, *self.prefix_ids) if number not in special or number in self.prefix_ids)

    def encode_prompt(self, prompt: str) -> tuple[int, ...]:
        """What a model sees before it completes."""
        return (*self.prefix_ids, *self._encode(prompt).ids)

    def encode_rows(self, pairs: Sequence[tuple[str, str]]) -> list[Row]:
        """Prompts with their answers as training rows, in order.

        Raises:
            DataError: a tokenizer that cannot start an answer at the boundary.
        """
        apart = [self._cuts_at_newlines and prompt.endswith("\n") for prompt, _ in pairs]
        strings = [answer if cut else prompt + answer for cut, (prompt, answer) in zip(apart, pairs, strict=True)]
        texts = self.tokenizer.encode_batch(strings, add_special_tokens=False)
        distinct = list(dict.fromkeys(prompt for prompt, _ in pairs))
        heads = map(_Encoded.of, self.tokenizer.encode_batch(distinct, add_special_tokens=False))
        prompts = dict(zip(distinct, heads, strict=True))
        rows = []
        for text, cut, (prompt, answer) in zip(map(_Encoded.of, texts), apart, pairs, strict=True):
            head = prompts[prompt]
            rows.append(self._joined(head, prompt, text) if cut else self._row(text, head, prompt, answer))
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """The text that `ids` add to a text before them, special tokens included."""
        context_ids, context = self._context
        return self.tokenizer.decode([*context_ids, *ids], skip_special_tokens=False)[len(context) :]

    def _encode(self, text: str) -> _Encoded:
        return _Encoded.of(self.tokenizer.encode(text, add_special_tokens=False))

    def _row(self, text: _Encoded, head: _Encoded, prompt: str, answer: str) -> Row:
        if not _starts_with(text, head, len(prompt)):
            return self._joined(head, prompt, self._continuation(answer))
        return self._ended(text.ids, text.spans, len(head.ids))

    def _joined(self, head: _Encoded, prompt: str, answer: _Encoded) -> Row:
        """The prompt's tokens and then those of the answer."""
        after = [(len(prompt) + start, len(prompt) + stop) for start, stop in answer.spans]
        return self._ended(head.ids + answer.ids, head.spans + after, len(head.ids))

    def _ended(self, ids: list[int], spans: list[Span], prompt_len: int) -> Row:
        before = len(self.prefix_ids)
        return Row(
            ids=[*self.prefix_ids, *ids, self.eos_token_id],
            spans=[(0, 0)] * before + spans + [(0, 0)],
            prompt_len=before + prompt_len,
        )

    def _continuation(self, answer: str) -> _Encoded:
        """Tokens and spans of a text that others come before, and that no token of theirs reaches into."""
        for anchor in ANCHORS if answer else ():
            head, text = self._encode(anchor), self._encode(anchor + answer)
            if head.ids and _starts_with(text, head, len(anchor)):
                start = len(head.ids)
                return _Encoded(text.ids[start:], [(a - len(anchor), b - len(anchor)) for a, b in text.spans[start:]])
        if answer:
            raise DataError(f"the tokenizer joins the answer {answer[:20]!r} to whatever stands before it")
        return _Encoded([], [])

    @cached_property
    def _cuts_at_newlines(self) -> bool:
        """Whether a newline is always a token of its own and nothing else looks across it, as in the tokenizers that are learnt
        here: then what stands before one and what stands after it are tokenised apart, with the same result."""
        about = json.loads(self.tokenizer.to_str())
        steps = (about["pre_tokenizer"] or {}).get("pretokenizers", [])
        first = {"type": "Split", "pattern": {"Regex": LONE_CHARACTERS}, "behavior": "Isolated", "invert": False}
        then = [(step["type"], step.get("add_prefix_space"), step.get("use_regex")) for step in steps[1:]]
        is_plain = about["normalizer"] is None and about["model"]["type"] == "BPE" and not about["model"]["dropout"]
        are_special = all(token["special"] for token in about["added_tokens"])
        return is_plain and are_special and steps[:1] == [first] and then == [("ByteLevel", False, False)]

    @cached_property
    def _context(self) -> tuple[list[int], str]:
        """Tokens to decode after, and their text. An ordinary letter: bytes of a character could merge with what follows."""
        for anchor in ANCHORS:
            ids = self._encode(anchor).ids
            if ids and self.tokenizer.decode(ids, skip_special_tokens=False) == anchor:
                return ids, anchor
        return [], ""


class Tokenised(NamedTuple):
    """Rows without their spans: flat tokens, int32, with N+1 offsets, int64, and the tokens of each one's prompt, int32."""

    tokens: np.ndarray
    offsets: np.ndarray
    prompt_lens: np.ndarray


def tokenise(text: TextTokenizer, pairs: Sequence[tuple[str, str]]) -> Tokenised:
    """`encode_rows` as flat arrays; few rows are Python's at the same time."""
    parts, lengths, prompt_lens = [np.empty(0, np.int32)], [0], []
    for start in range(0, len(pairs), AT_ONCE):
        for row in text.encode_rows(pairs[start : start + AT_ONCE]):
            parts.append(np.asarray(row.ids, np.int32))
            lengths.append(len(row.ids))
            prompt_lens.append(row.prompt_len)
    return Tokenised(np.concatenate(parts), np.cumsum(lengths), np.asarray(prompt_lens, np.int32))


@dataclass(frozen=True)
class ApartTokenizer(TextTokenizer):
    """For a model with an encoder: a prompt and what the decoder writes are texts of their own.

    `suffix_ids`: what stands behind every prompt, as the tokenizer's own convention has it. Special tokens that a decoder
    writes (a language's, an infilling's mark) are no part of its text.
    """

    suffix_ids: tuple[int, ...] = ()

    def encode_prompt(self, prompt: str) -> tuple[int, ...]:
        return (*super().encode_prompt(prompt), *self.suffix_ids)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)


def _starts_with(text: _Encoded, head: _Encoded, boundary: int) -> bool:
    """Whether the text's first tokens are the head's, and no token has characters on both sides of the boundary."""
    number = len(head.ids)
    inside = all(stop <= boundary for _, stop in text.spans[:number])
    return text.ids[:number] == head.ids and inside and all(start >= boundary for start, _ in text.spans[number:])
