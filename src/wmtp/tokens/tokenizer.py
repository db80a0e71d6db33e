"""Tokenizers: byte-pair merges learnt from the data, or an existing Hugging Face one; examples as token rows."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wmtp.errors import DataError, first_line
from wmtp.model_files import read_object
from wmtp.problems.render import Example, History
from wmtp.text_start import added_behind, prefix_of, special_token
from wmtp.tokens.encode import AT_ONCE, LONE_CHARACTERS, ApartTokenizer, TextTokenizer, Tokenised, tokenise
from wmtp.tokens.tables import large_list

PAD, EOS = "<|pad|>", "<|eos|>"
LONGEST_LINE = 2000
"""Characters of a line that merges are learnt from in one piece: the trainer's time grows with their square, and a program
may hold a table of a million."""
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> TextTokenizer:
    """Byte-level byte-pair encoding whose merges may cross spaces; digits and newlines stay tokens of their own.

    So numbers are spelt digit by digit, and the newline between prompt and solution never falls inside a token.
    Any text round-trips exactly. The same texts in the same order give the same tokenizer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LONE_CHARACTERS), behavior="isolated"),
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
    tokenizer.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    pad, eos = tokenizer.token_to_id(PAD), tokenizer.token_to_id(EOS)
    assert pad is not None and eos is not None
    return TextTokenizer(tokenizer, eos, pad)


def _pieces(text: str) -> list[str]:
    """The text, or its lines where one is too long, and that one in parts."""
    is_long = len(text) > LONGEST_LINE and max(map(len, text.split("\n"))) > LONGEST_LINE
    return re.findall(rf"[^\n]{{1,{LONGEST_LINE}}}|\n", text) if is_long else [text]


def save_tokenizer(trained: TextTokenizer, folder: Path, max_length: int) -> None:
    """What `train_tokenizer` made, as a folder that `AutoTokenizer.from_pretrained` and `Tokenizer.from_file` read."""
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


def load_tokenizer(folder: Path, eos_token_id: int | None = None, *, apart: bool = False) -> TextTokenizer:
    """An existing tokenizer folder; a tokenizer without padding pads with its end token.

    Texts start with what the tokenizer's own convention puts there: `add_bos_token` in tokenizer_config.json where it is
    given (as transformers has it), else what the post-processor of tokenizer.json adds.

    Args:
        eos_token_id: the end token where tokenizer_config.json names none.
        apart: for a model with an encoder, see `ApartTokenizer`.
    Raises:
        DataError, ModelError: no tokenizer.json, or a broken one, no end-of-text token, or a BOS that is asked for and is not
            there.
    """
    from tokenizers import Tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            raise DataError(f"{folder} has no {name}: wmtp needs a tokenizer in the fast Hugging Face format")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing more special
        raise DataError(f"{folder}/tokenizer.json is no tokenizer: {first_line(error)}") from None
    settings = dict(read_object(folder / "tokenizer_config.json"))
    eos = special_token(tokenizer, settings, "eos_token")
    eos = eos_token_id if eos is None else eos
    if eos is None:
        raise DataError(f"{folder}/tokenizer_config.json names no eos_token of the vocabulary, so nothing would end a text")
    pad = special_token(tokenizer, settings, "pad_token")
    pad, prefix = eos if pad is None else pad, prefix_of(folder, tokenizer, settings)
    if apart:
        return ApartTokenizer(tokenizer, eos, pad, prefix, suffix_ids=added_behind(tokenizer))
    return TextTokenizer(tokenizer, eos, pad, prefix)


def tokenizer_folder(path_or_hub_id: str, revision: str | None = None) -> Path:
    """Where an existing tokenizer's files are: the folder itself, or what was downloaded.

    Raises:
        DataError: it cannot be had.
    """
    if Path(path_or_hub_id).is_dir():
        return Path(path_or_hub_id)
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(path_or_hub_id, revision=revision, allow_patterns=list(_FILES)))
    except (ImportError, OSError, ValueError) as error:
        raise DataError(f"tokenizer {path_or_hub_id}: no such folder, and not from the hub: {first_line(error)}") from None


def copy_tokenizer(path_or_hub_id: str, folder: Path) -> TextTokenizer:
    """An existing tokenizer, by folder or hub id, copied to `folder`.

    Raises:
        DataError: it cannot be had or read.
    """
    source = tokenizer_folder(path_or_hub_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    return load_tokenizer(folder)


def folder_sha256(folder: Path) -> str:
    """Digest of tokenizer.json: what decides the tokens."""
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()


def encode_examples(
    text: TextTokenizer, examples: Sequence[Example], tokenised: Callable[[Sequence[tuple[str, str]]], Tokenised] | None = None
) -> pa.Table:
    """A row of every example: prompt, solution and end token (see `encode`), and what is known of it.

    `is_noise` is True on tokens that share a character with a noise span.

    Args:
        tokenised: gives the rows of examples without noise, by the same tokenizer; without it they are made.
    """
    number = len(examples)
    noisy = [i for i, example in enumerate(examples) if example.noise_spans]
    clean = [i for i, example in enumerate(examples) if not example.noise_spans]
    pairs = [(examples[i].prompt, examples[i].code) for i in clean]
    rows = tokenise(text, pairs) if tokenised is None else tokenised(pairs)
    if not noisy:  # the rows as they are: of hundreds of thousands, a copy is as large as the table
        return _table(examples, rows.tokens, np.zeros(len(rows.tokens), dtype=bool), rows.offsets, rows.prompt_lens)
    tokens: list[np.ndarray] = [np.empty(0, np.int32)] * number
    noise: list[np.ndarray] = [np.empty(0, np.bool_)] * number
    prompt_lens = np.empty(number, np.int32)
    prompt_lens[clean] = rows.prompt_lens
    for place, i in enumerate(clean):
        tokens[i] = rows.tokens[rows.offsets[place] : rows.offsets[place + 1]]
        noise[i] = np.zeros(len(tokens[i]), dtype=bool)
    for start in range(0, len(noisy), AT_ONCE):
        part = noisy[start : start + AT_ONCE]
        for i, row in zip(part, text.encode_rows([(examples[i].prompt, examples[i].code) for i in part]), strict=True):
            tokens[i], noise[i] = np.asarray(row.ids, np.int32), noise_mask(examples[i], row.spans)
            prompt_lens[i] = row.prompt_len
    offsets = np.cumsum([0, *map(len, tokens)])
    return _table(examples, np.concatenate(tokens), np.concatenate(noise), offsets, prompt_lens)


def noise_mask(example: Example, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """True for tokens that share a character with a noise span; tokens that stand for no text are never noise."""
    mask = np.zeros(len(spans), dtype=bool)
    if example.noise_spans:
        bounds = np.array(spans).reshape(-1, 2) - len(example.prompt)
        for start, stop in example.noise_spans:
            mask |= (bounds[:, 0] < stop) & (bounds[:, 1] > start)
    return mask


def _table(
    examples: Sequence[Example], tokens: np.ndarray, noise: np.ndarray, offsets: np.ndarray, prompt_lens: np.ndarray
) -> pa.Table:
    return pa.table(
        {
            "problem_id": pa.array([example.problem_id for example in examples], pa.string()),
            "input_ids": large_list(tokens, offsets),
            "prompt_len": pa.array(prompt_lens, pa.int32()),
            "is_correct": pa.array([example.is_correct for example in examples], pa.bool_()),
            "noise_kind": pa.array([example.noise_kind for example in examples], pa.string()),
            "is_noise": large_list(noise, offsets),
            "difficulty": pa.array([example.difficulty for example in examples], pa.int32()),
            **_histories([example.history for example in examples]),
        }
    )


def _histories(histories: Sequence[History]) -> dict[str, pa.Array]:
    """A column of every field; those that the table has no other like it for are named after the source."""
    types = {field.name: pa.string() if field.type == "str" else pa.int32() for field in fields(History)}
    names = {"file": "source_file", "row": "source_row"}
    return {
        names.get(name, name): pa.array([getattr(history, name) for history in histories], kind) for name, kind in types.items()
    }
