"""Prompts as a chat: the tokenizer's own template around what system and user say, and around what the answer starts with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wmtp.errors import ModelError, first_line

_HERE = "[[the model goes on here]]"


@dataclass(frozen=True)
class Chat:
    """A transformers tokenizer that has a chat template."""

    tokenizer: Any

    @classmethod
    def load(cls, path_or_hub_id: str, revision: str | None = None) -> Chat | None:
        """The tokenizer of a folder or of the hub; None where it has no template.

        Raises:
            ModelError: it cannot be had.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(path_or_hub_id, revision=revision)
        except (OSError, ValueError) as error:
            raise ModelError(f"tokenizer of {path_or_hub_id}: {first_line(error)}") from None
        return cls(tokenizer) if tokenizer.chat_template is not None else None

    def text(self, message: str, prefill: str = "", system: str = "") -> str:
        """What the model is shown: the system's message where there is one, the user's, and the start of the answer, up to
        where the model goes on.

        Raises:
            ModelError: the template refuses the messages, or drops what the answer starts with.
        """
        from jinja2 import TemplateError

        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": message})
        if prefill:
            messages.append({"role": "assistant", "content": prefill + _HERE})
        try:
            text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not prefill)
        except TemplateError as error:
            raise ModelError(f"the tokenizer's chat template refuses a prompt: {error}") from None
        if not prefill:
            return text
        shown, found, _ = text.partition(_HERE)
        if not found or not shown.endswith(prefill):
            raise ModelError("the tokenizer's chat template drops what the answer starts with: use another --prompt")
        return shown

    def ids(self, message: str, prefill: str = "", system: str = "") -> tuple[int, ...]:
        """The same as tokens. Special tokens are the template's; the tokenizer adds none of its own."""
        return tuple(self.tokenizer(self.text(message, prefill, system), add_special_tokens=False)["input_ids"])
