"""Conversations as tokens, by the tokenizer's own chat template; what the assistant says is what is learnt.

The template is asked for the conversation up to every turn. Where the beginning of one is not the beginning of the next, it
rewrites what was said (drops a thought, moves a system's message), and what a model learnt would not be what it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmtp.errors import DataError, first_line

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """Tokens of a conversation, and which of them the assistant says."""

    ids: list[int]
    is_target: list[bool]


class ChatTokens:
    """A transformers tokenizer with a chat template.

    Raises:
        DataError: it cannot be had, or has no template.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError) as error:
            raise DataError(f"tokenizer {folder}: {first_line(error)}") from None
        if self._tokenizer.chat_template is None:
            raise DataError(f"tokenizer {folder} has no chat template: data.source=messages is written by it")
        added = self._tokenizer.added_tokens_decoder.values()
        self._special = sorted({str(token) for token in added if token.special} - {""})

    def unfit(self, messages: Sequence[Message]) -> str:
        """Why a conversation cannot be learnt from, "" where it can. A special token that somebody says would end a turn."""
        if messages[0]["role"] == "assistant":
            return "begins_with_assistant"
        if all(message["role"] != "assistant" for message in messages):
            return "without_answer"
        said = [message["content"] for message in messages]
        return "special_token" if any(token in text for token in self._special for text in said) else ""

    def encode(self, messages: Sequence[Message], where: str) -> Conversation:
        """The whole conversation; the assistant's tokens are those behind the prompt that a model is shown, to the turn's end.

        Raises:
            DataError: the template refuses it, rewrites it from turn to turn, or a token reaches across a turn's beginning.
        """
        text = self._text(messages, where)
        spans = self._spans(messages, text, where)
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        is_target = []
        for start, stop in encoded["offset_mapping"]:
            inside = any(first <= start and stop <= last for first, last in spans)
            if not inside and any(start < first < stop for first, _ in spans):
                raise DataError(f"{where}: the token of {text[start:stop]!r} begins before the assistant's turn and ends in it")
            is_target.append(inside)
        return Conversation(list(encoded["input_ids"]), is_target)

    def _spans(self, messages: Sequence[Message], text: str, where: str) -> list[tuple[int, int]]:
        """Characters of each of the assistant's turns."""
        spans = []
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            shown = self._text(messages[:i], where, add_generation_prompt=True)
            through = self._text(messages[: i + 1], where)
            if not (through.startswith(shown) and text.startswith(through)):
                raise DataError(
                    f"{where}: the tokenizer's chat template rewrites the turns up to message {i} once there are more, so what "
                    "the assistant saw cannot be told: use another template, or conversations of one turn"
                )
            spans.append((len(shown), len(through)))
        return spans

    def _text(self, messages: Sequence[Message], where: str, *, add_generation_prompt: bool = False) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            raise DataError(f"{where}: the tokenizer's chat template refuses the conversation: {error}") from None
        return text
