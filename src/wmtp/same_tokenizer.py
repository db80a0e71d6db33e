"""Whether two tokenizers make the same tokens of every text, told from what they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wmtp.errors import ConfigError, first_line
from wmtp.model_files import read_object, tokenizer_files
from wmtp.text_start import prefix_of

_PARTS = {"normalizer": "normalises text", "pre_tokenizer": "splits text", "model": "merges pieces"}


_OWN = "leave data.tokenizer.path out, and the model's own is used"


def require_same_tokenizer(data: Path, model: Path, where: str, hint: str = _OWN) -> None:
    """A model's inputs are numbers of its own tokenizer's, so the data has to be made with that one.

    Args:
        data: the tokenizer's folder that the data is made with. model: the model's folder; one without a tokenizer passes.
        where: how an error names the model, `train_policy.model.pretrained=...`; hint: what would be right.
    Raises:
        ConfigError: they differ; names the first difference.
    """
    if data.resolve() == model.resolve() or not tokenizer_files(model):
        return
    difference = _difference(_description(data), _description(model)) or _other_start(data, model)
    if difference is not None:
        raise ConfigError(f"{where} has another tokenizer than the data ({data}): it {difference}; {hint}")


def _description(folder: Path) -> dict[str, Any]:
    """tokenizer.json's content as the library of today writes it; of older formats, what transformers makes of them."""
    from tokenizers import Tokenizer

    try:
        if (folder / "tokenizer.json").exists():
            text = Tokenizer.from_file(str(folder / "tokenizer.json")).to_str()
        else:
            from transformers import AutoTokenizer

            text = AutoTokenizer.from_pretrained(str(folder)).backend_tokenizer.to_str()
    except Exception as error:  # both libraries raise whatever they meet in somebody's files
        raise ConfigError(f"{folder} holds no tokenizer that can be read: {first_line(error)}") from None
    found: dict[str, Any] = json.loads(text)
    return found


def _difference(data: dict[str, Any], model: dict[str, Any]) -> str | None:
    ours, theirs = _vocabulary(data), _vocabulary(model)
    for token in sorted(ours.keys() | theirs.keys(), key=lambda token: (ours.get(token, theirs.get(token, 0)), token)):
        if ours.get(token) != theirs.get(token):
            return f"has {_number(theirs.get(token))} for {token!r}, where the data has {_number(ours.get(token))}"
    for part, does in _PARTS.items():
        if _rules(data, part) != _rules(model, part):
            return f"{does} in another way"
    return None


def _other_start(data: Path, model: Path) -> str | None:
    """How texts start otherwise, where both folders say how."""
    ours, theirs = _start(data), _start(model)
    same = ours is None or theirs is None or ours == theirs
    return None if same else f"starts texts with {list(theirs or ())}, where the data has {list(ours or ())}"


def _start(folder: Path) -> tuple[int, ...] | None:
    from tokenizers import Tokenizer

    if not all((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
        return None  # of an older format
    settings = read_object(folder / "tokenizer_config.json")
    return prefix_of(folder, Tokenizer.from_file(str(folder / "tokenizer.json")), settings)


def _vocabulary(description: dict[str, Any]) -> dict[str, int]:
    """Token -> number."""
    vocabulary = description["model"]["vocab"]
    if isinstance(vocabulary, list):  # of a unigram model: pairs with scores
        vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
    return {**vocabulary, **{one["content"]: one["id"] for one in description.get("added_tokens") or ()}}


def _rules(description: dict[str, Any], part: str) -> Any:
    return {**description["model"], "dropout": None, "vocab": None} if part == "model" else description.get(part)


def _number(found: int | None) -> str:
    return "no token" if found is None else f"number {found}"
