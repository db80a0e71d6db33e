"""Tokenizers: byte-pair merges learnt from the data, or an existing Hugging Face one; examples as token rows."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wmtp.errors import DataError
from wmtp.ledger import Line
from wmtp.problems.render import Example
from wmtp.tokens.tables import FINGERPRINT, fingerprint, large_list

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, EOS = "<|pad|>", "<|eos|>"
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


@dataclass(frozen=True)
class TextTokenizer:
    """A `tokenizers` tokenizer with the ids that rows need."""

    tokenizer: Tokenizer
    eos_token_id: int
    pad_token_id: int

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: the largest id + 1."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> TextTokenizer:
    """Byte-level byte-pair encoding whose merges may cross spaces; digits and newlines stay tokens of their own.

    So numbers are spelt digit by digit, and the newline between prompt and solution never falls inside a token.
    Any text round-trips exactly. The same texts in the same order give the same tokenizer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9\n]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pad, eos = tokenizer.token_to_id(PAD), tokenizer.token_to_id(EOS)
    assert pad is not None and eos is not None
    return TextTokenizer(tokenizer, eos, pad)


def save_tokenizer(trained: TextTokenizer, folder: Path, max_length: int) -> None:
    """A folder that `AutoTokenizer.from_pretrained` and `Tokenizer.from_file` read."""
    folder.mkdir(parents=True, exist_ok=True)
    trained.tokenizer.save(str(folder / "tokenizer.json"))
    special = {"eos_token": EOS, "pad_token": PAD}
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
        **special,
    }
    for name, content in (("tokenizer_config.json", settings), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> TextTokenizer:
    """An existing tokenizer folder; a tokenizer without padding pads with its end token.

    Raises:
        DataError: no tokenizer.json, or no end-of-text token.
    """
    from tokenizers import Tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            raise DataError(f"{folder} has no {name}: wmtp needs a tokenizer in the fast Hugging Face format")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    eos = _special(tokenizer, settings, "eos_token")
    if eos is None:
        raise DataError(f"{folder}/tokenizer_config.json names no eos_token of the vocabulary")
    pad = _special(tokenizer, settings, "pad_token")
    return TextTokenizer(tokenizer, eos, eos if pad is None else pad)


def _special(tokenizer: Tokenizer, settings: dict[str, Any], name: str) -> int | None:
    token = settings.get(name)
    token = token.get("content") if isinstance(token, dict) else token
    return None if token is None else tokenizer.token_to_id(token)


def copy_tokenizer(path_or_hub_id: str, folder: Path) -> TextTokenizer:
    """An existing tokenizer, by folder or hub id, copied to `folder`.

    Raises:
        DataError: it cannot be had or read.
    """
    source = Path(path_or_hub_id)
    if not source.is_dir():
        try:
            from huggingface_hub import snapshot_download

            source = Path(snapshot_download(path_or_hub_id, allow_patterns=list(_FILES)))
        except (ImportError, OSError, ValueError) as error:
            raise DataError(
                f"tokenizer {path_or_hub_id}: no such folder, and not from the hub: {str(error).splitlines()[0]}"
            ) from None
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    return load_tokenizer(folder)


def folder_sha256(folder: Path) -> str:
    """Digest of tokenizer.json: what decides the tokens."""
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()


def encode_examples(text: TextTokenizer, examples: Sequence[Example], max_length: int, split: str, solutions: Line) -> pa.Table:
    """Prompt + solution tokenised as one string, then the end token; rows longer than `max_length` dropped and counted.

    A token that straddles the boundary belongs to the prompt. `is_noise` is True on tokens that share a character with
    a noise span.
    """
    text.tokenizer.encode_special_tokens = True
    kept, ids, noise, prompt_lens = [], [], [], []
    solutions.drop("too_long", 0)
    for start in range(0, len(examples), 1000):
        part = examples[start : start + 1000]
        encodings = text.tokenizer.encode_batch([example.prompt + example.code for example in part])
        for example, encoding in zip(part, encodings, strict=True):
            tokens, offsets = _without_end(encoding.ids, encoding.offsets, text.eos_token_id)
            if len(tokens) + 1 > max_length:
                solutions.drop("too_long")
                continue
            kept.append(example)
            ids.append(np.array([*tokens, text.eos_token_id], dtype=np.int32))
            prompt_lens.append(sum(first < len(example.prompt) for first, _ in offsets))
            noise.append(noise_mask(example, offsets))
    if not kept:
        raise DataError(f"{split}: none of {len(examples)} examples fits into data.max_length={max_length} tokens")
    return _table(kept, ids, prompt_lens, noise)


def _without_end(ids: list[int], offsets: list[tuple[int, int]], eos: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Without the end token that some tokenizers add by themselves."""
    if ids and ids[-1] == eos and offsets[-1] == (0, 0):
        return ids[:-1], offsets[:-1]
    return ids, offsets


def noise_mask(example: Example, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """True for tokens that share a character with a noise span; one more entry for the end token, never noise."""
    mask = np.zeros(len(offsets) + 1, dtype=bool)
    if example.noise_spans:
        bounds = np.array(offsets).reshape(-1, 2) - len(example.prompt)
        for start, stop in example.noise_spans:
            mask[:-1] |= (bounds[:, 0] < stop) & (bounds[:, 1] > start)
    return mask


def _table(examples: Sequence[Example], ids: list[np.ndarray], prompt_lens: list[int], noise: list[np.ndarray]) -> pa.Table:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    tokens = np.concatenate(ids)
    problem_ids = [example.problem_id for example in examples]
    table = pa.table(
        {
            "problem_id": pa.array(problem_ids, pa.string()),
            "input_ids": large_list(tokens, offsets),
            "prompt_len": pa.array(prompt_lens, pa.int32()),
            "is_correct": pa.array([example.is_correct for example in examples], pa.bool_()),
            "noise_kind": pa.array([example.noise_kind for example in examples], pa.string()),
            "is_noise": large_list(np.concatenate(noise), offsets),
            "difficulty": pa.array([example.difficulty for example in examples], pa.int32()),
        }
    )
    return table.replace_schema_metadata({FINGERPRINT: fingerprint(problem_ids, tokens, offsets)})
