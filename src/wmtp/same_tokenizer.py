"""Whether two tokenizers make the same tokens of every text, told from what they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.errors import ConfigError, DataError, ModelError, first_line
from wmtp.model_files import read_object, tokenizer_files
from wmtp.text_start import prefix_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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
    ours, theirs = _tokenizer(data), _tokenizer(model)
    difference = _difference(_description(ours), _description(theirs)) or _other_start(data, ours, model, theirs)
    if difference is not None:
        raise ConfigError(f"{where} has another tokenizer than the data ({data}): it {difference}; {hint}")


def _tokenizer(folder: Path) -> Tokenizer:
    """Of tokenizer.json; of older formats, what transformers makes of them."""
    try:
        if (folder / "tokenizer.json").exists():
            from tokenizers import Tokenizer

            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        from transformers import AutoTokenizer

        found: Tokenizer = AutoTokenizer.from_pretrained(str(folder)).backend_tokenizer
        return found
    except Exception as error:  # both libraries raise whatever they meet in somebody's files
        raise ConfigError(f"{folder} holds no tokenizer that can be read: {first_line(error)}") from None


def _description(tokenizer: Tokenizer) -> dict[str, Any]:
    """tokenizer.json's content as the library of today writes it."""
    found: dict[str, Any] = json.loads(tokenizer.to_str())
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


def _other_start(data: Path, ours: Tokenizer, model: Path, theirs: Tokenizer) -> str | None:
    """How texts start otherwise, where both folders say how; one of an older format does not."""
    if not all((folder / name).exists() for folder in (data, model) for name in ("tokenizer.json", "tokenizer_config.json")):
        return None
    try:
        start, other = (
            prefix_of(folder, tokenizer, read_object(folder / "tokenizer_config.json"))
            for folder, tokenizer in ((data, ours), (model, theirs))
        )
    except (DataError, ModelError) as error:
        raise ConfigError(str(error)) from None
    return None if start == other else f"starts texts with {list(other)}, where the data has {list(start)}"


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
