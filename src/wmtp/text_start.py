"""What a tokenizer's own convention puts before every text (BOS), and behind one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ANCHORS = ("a", ".", ":", "0", ")", "\n")
"""Texts to continue from. No tokenizer joins what follows to all of them."""


def plain(tokenizer: Tokenizer) -> None:
    """Without the truncation and padding that a tokenizer.json may carry."""
    tokenizer.no_truncation()
    tokenizer.no_padding()


def added_before(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The special tokens that tokenizer.json itself puts before a text; see `_added`."""
    return _added(tokenizer)[0]


def added_behind(tokenizer: Tokenizer) -> tuple[int, ...]:
    """And those that it puts behind one."""
    return _added(tokenizer)[1]


def _added(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Raises DataError: it adds some and knows none of the texts that it was tried with."""
    if not tokenizer.num_special_tokens_to_add(is_pair=False):
        return (), ()
    plain(tokenizer)
    for anchor in ANCHORS:
        encoding = tokenizer.encode(anchor)
        mask = encoding.special_tokens_mask
        if 0 in mask:
            return tuple(encoding.ids[: mask.index(0)]), tuple(encoding.ids[len(mask) - mask[::-1].index(0) :])
    raise DataError("the tokenizer makes no token of any plain text, so what it adds to one cannot be told")


def prefix_of(folder: Path, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that every text starts with: `add_bos_token` of tokenizer_config.json where it is given, as transformers has it,
    else what tokenizer.json adds. To be asked before the tokenizer is made one of `TextTokenizer`'s.

    Args:
        folder: how an error names it. settings: of tokenizer_config.json.
    Raises:
        DataError: a BOS is asked for and is not there; as `added_before`.
    """
    if not isinstance(settings.get("add_bos_token"), bool):
        return added_before(tokenizer)
    if not settings["add_bos_token"]:
        return ()
    bos = special_token(tokenizer, settings, "bos_token")
    if bos is None:
        raise DataError(f"{folder}/tokenizer_config.json asks for a bos_token and names none of the vocabulary")
    return (bos,)


def special_token(tokenizer: Tokenizer, settings: Mapping[str, Any], name: str) -> int | None:
    """The number of a token that tokenizer_config.json names, `eos_token` say; None where it does not."""
    token = settings.get(name)
    token = token.get("content") if isinstance(token, dict) else token
    return None if token is None else tokenizer.token_to_id(token)
