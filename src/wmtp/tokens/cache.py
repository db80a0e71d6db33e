"""Rows that are kept: a prompt and a solution that were tokenised once are not tokenised again by the same tokenizer.

Every writer has files of its own in one folder, each whole or absent, so that any number of processes and clones share what
they know without locks, and a kill costs what was being tokenised.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import tokenizers

from wmtp.progress import OnProgress
from wmtp.tokens import encode, tables
from wmtp.tokens.encode import AT_ONCE, TextTokenizer, Tokenised, tokenise
from wmtp.tokens.tables import large_list, read_table, write_table

FILE_ROWS = 20_000
"""New rows that are kept together: a kill costs at most these."""

_MOST_ROWS = 2**32
"""A row's place is its file's number times this, and its own."""


class TokenCache:
    """What is known of texts under one tokenizer.

    Args:
        folder: shared by all who may profit; made when the first rows are kept.
        text: the tokenizer; what starts and ends a row, and the code that makes rows of it, are part of what is told apart.
        on_progress: is told how many of how many new rows are done.
    """

    def __init__(self, folder: Path, text: TextTokenizer, on_progress: OnProgress | None = None) -> None:
        self.folder, self._text, self._on_progress = folder / _version(text), text, on_progress
        self._width = np.dtype(np.uint16 if text.vocab_size <= 2**16 else np.int32)
        self._files: list[Tokenised] = []
        self._places: dict[bytes, int] = {}
        for path in sorted(self.folder.glob("*.arrow")):
            self._open(path)

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, pairs: Sequence[tuple[str, str]]) -> Tokenised:
        """Prompts with their solutions as rows, in order; only those that are not known are tokenised, by all cores, and kept.

        Raises:
            DataError: a tokenizer that cannot start an answer at the boundary.
        """
        found = self._kept(pairs)
        lengths, prompt_lens = _sizes(found)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        tokens = np.empty(offsets[-1], np.int32)
        for (kept, row), start, stop in zip(found, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            tokens[start:stop] = kept.tokens[kept.offsets[row] : kept.offsets[row + 1]]
        return Tokenised(tokens, offsets, prompt_lens)

    def sizes(self, pairs: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of those rows and of their prompts, as `rows` gives them, without the rows."""
        return _sizes(self._kept(pairs))

    def _kept(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Tokenised, int]]:
        """The file that each stands in, and its row there."""
        return [(self._files[place // _MOST_ROWS], place % _MOST_ROWS) for place in self._find(pairs)]

    def _find(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Their places, once they are known."""
        keys = [_key(prompt, answer) for prompt, answer in pairs]
        new = list({key: i for i, key in enumerate(keys) if key not in self._places}.values())
        for start in range(0, len(new), FILE_ROWS):
            part = new[start : start + FILE_ROWS]
            self._keep([keys[i] for i in part], [pairs[i] for i in part], start, len(new))
        return [self._places[key] for key in keys]

    def _keep(self, keys: Sequence[bytes], pairs: Sequence[tuple[str, str]], before: int, total: int) -> None:
        parts = []
        for start in range(0, len(pairs), AT_ONCE):
            parts.append(tokenise(self._text, pairs[start : start + AT_ONCE]))
            if self._on_progress is not None:
                self._on_progress(before + min(start + AT_ONCE, len(pairs)), total)
        lengths = np.concatenate([[0], *(np.diff(part.offsets) for part in parts)])
        tokens = np.concatenate([part.tokens for part in parts]).astype(self._width)
        table = pa.table(
            {
                "key": pa.array(keys, pa.binary(16)),
                "input_ids": large_list(tokens, np.cumsum(lengths)),
                "prompt_len": pa.array(np.concatenate([part.prompt_lens for part in parts])),
            }
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}.arrow"
        write_table(path, table)
        self._open(path)

    def _open(self, path: Path) -> None:
        table = read_table(path)
        ids = table["input_ids"].combine_chunks()
        first = len(self._files) * _MOST_ROWS
        self._files.append(Tokenised(ids.values.to_numpy(), ids.offsets.to_numpy(), table["prompt_len"].to_numpy()))
        self._places |= {key: first + row for row, key in enumerate(table["key"].to_pylist())}


def _sizes(found: Sequence[tuple[Tokenised, int]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = [kept.offsets[row + 1] - kept.offsets[row] for kept, row in found]
    return np.asarray(lengths, np.int64), np.asarray([kept.prompt_lens[row] for kept, row in found], np.int32)


def _key(prompt: str, answer: str) -> bytes:
    parts = (prompt.encode(), answer.encode())
    return hashlib.blake2b(b"%d:" % len(parts[0]) + parts[0] + parts[1], digest_size=16).digest()


def _version(text: TextTokenizer) -> str:
    """Of the tokenizer and all that makes rows of its tokens."""
    parts = (text.tokenizer.to_str(), f"{text.prefix_ids} {text.eos_token_id}", tokenizers.__version__)
    digest = hashlib.sha256("\0".join(parts).encode())
    for module in (encode.__file__, tables.__file__, __file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()[:32]
