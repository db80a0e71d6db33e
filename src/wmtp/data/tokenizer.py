"""Byte-pair tokenizers: learnt from the data, or somebody's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from wmtp.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, EOS = "<|pad|>", "<|eos|>"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE whose merges may cross spaces but never a newline or a digit.

    A prompt ends with a newline, so a token never straddles the prompt's end. Deterministic for the same texts.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n|\d"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=24,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """As a Hugging Face tokenizer folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def copy_tokenizer(source: str, folder: Path) -> Tokenizer:
    """Copy a Hugging Face tokenizer (a folder, or a hub id) into `folder`.

    Raises:
        ConfigError: there is no fast tokenizer there.
    """
    from tokenizers import Tokenizer

    path = Path(source)
    if not path.is_dir():
        from huggingface_hub import snapshot_download

        try:
            path = Path(snapshot_download(source, allow_patterns=["tokenizer*", "special_tokens_map.json"]))
        except Exception as error:
            raise ConfigError(f"data.tokenizer.path={source!r} is neither a folder nor a hub id that can be read: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(path.glob("*token*.json")):
        shutil.copyfile(file, folder / file.name)
    if not (folder / "tokenizer.json").exists():
        raise ConfigError(f"data.tokenizer.path={source!r} has no tokenizer.json (only fast tokenizers are read)")
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def special_ids(tokenizer: Tokenizer, folder: Path) -> tuple[int, int]:
    """Ids of the padding and end-of-text tokens that tokenizer_config.json names (padding falls back to end-of-text).

    Raises:
        ConfigError: no end-of-text token.
    """
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))

    def token(name: str) -> str | None:
        value = config.get(name)
        return value["content"] if isinstance(value, dict) else value

    eos = tokenizer.token_to_id(token("eos_token") or "")
    if eos is None:
        raise ConfigError(f"{folder}/tokenizer_config.json names no eos_token that the tokenizer knows")
    pad = tokenizer.token_to_id(token("pad_token") or "")
    return (eos if pad is None else pad), eos
