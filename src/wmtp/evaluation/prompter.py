"""The tokenizer's side of a model: prompts as tokens and what ends an answer. The same whatever generates."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from wmtp.errors import DataError, ModelError, first_line
from wmtp.evaluation.chat import Chat
from wmtp.evaluation.generate import Decoding, Prompt
from wmtp.tasksets.base import TaskSet
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.tokenizer import load_tokenizer, tokenizer_folder
from wmtp.types import Problem


@dataclass(frozen=True)
class Prompter:
    """`path`: the folder or hub id that model and tokenizer are from, `revision`: of the hub; `eos_token_ids`: each ends an
    answer.
    """

    path: str
    text: TextTokenizer
    eos_token_ids: tuple[int, ...]
    revision: str | None = None

    @classmethod
    def load(cls, path_or_hub_id: str, generation_config: Any, revision: str | None = None, *, apart: bool = False) -> Prompter:
        """The end tokens are the tokenizer's and all that the model's settings for generation name.

        Args:
            apart: for a model with an encoder, see `ApartTokenizer`.
        Raises:
            DataError: no tokenizer, or no end token at all (no completion would end), or one that is no number.
        """
        ends = generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
        if not all(isinstance(end, int) and not isinstance(end, bool) for end in ends):
            raise DataError(f"{path_or_hub_id}/generation_config.json: eos_token_id must be tokens' numbers, and is {ends}")
        text = _tokenizer(path_or_hub_id, ends[0] if ends else None, revision, apart)
        return cls(path_or_hub_id, text, tuple(dict.fromkeys([text.eos_token_id, *ends])), revision)

    @cached_property
    def chat(self) -> Chat | None:
        """The tokenizer with its chat template, where it has one."""
        return Chat.load(self.path, self.revision)

    def prompts(self, taskset: TaskSet, problems: Sequence[Problem]) -> list[Prompt]:
        """What the model is asked."""
        return [Prompt(problem.problem_id, self._ids(taskset, problem)) for problem in problems]

    def decoding(self, taskset: TaskSet, decoding: Decoding) -> Decoding:
        """With what ends a completion: the model's end tokens, the tasks' stop strings."""
        return replace(decoding, eos_token_ids=self.eos_token_ids, stop=taskset.stop)

    def require_room(self, prompts: Sequence[Prompt], num_positions: int | None, *, apart: bool = False) -> None:
        """Raises:
        DataError: a prompt leaves none of the model's positions for an answer, which has others where it is `apart`.
        """
        longest = max(prompts, key=lambda prompt: len(prompt.input_ids), default=None)
        if longest is not None and num_positions is not None and len(longest.input_ids) >= num_positions + apart:
            room = f"{self.path} has {num_positions} positions for {'a prompt' if apart else 'prompt and answer'}"
            raise DataError(
                f"the prompt of {longest.task_id} has {len(longest.input_ids)} tokens, and {room}: ask with fewer shots"
            )

    def require_known(self, prompts: Sequence[Prompt], num_embeddings: int) -> None:
        """Tokens that texts are made of, special ones of a template included, are of the model's.

        Raises:
            DataError: the tokenizer is of another model.
        """
        largest = max([self.text.largest_id, *(max(prompt.input_ids, default=0) for prompt in prompts)])
        if largest >= num_embeddings:
            raise DataError(
                f"{self.path} has {num_embeddings} embeddings, and its tokenizer makes token {largest}: it is another model's"
            )

    def padding_with_known(self, num_embeddings: int) -> Prompter:
        """One whose padding the model embeds: tokenizers have a token for it that their models were never given a row for.

        Padded places are masked, so that any token will do.
        """
        pad = self.text.pad_token_id
        return self if pad < num_embeddings else replace(self, text=replace(self.text, pad_token_id=0))

    def _ids(self, taskset: TaskSet, problem: Problem) -> tuple[int, ...]:
        if not taskset.in_chat:
            return self.text.encode_prompt(taskset.prompt(problem))
        assert self.chat is not None, f"{self.path} has no chat template"
        return self.chat.ids(taskset.prompt(problem), taskset.prefill, taskset.system)


def _tokenizer(path_or_hub_id: str, eos_token_id: int | None, revision: str | None, apart: bool) -> TextTokenizer:
    """From its tokenizer.json; files of an older format are converted first."""
    folder = tokenizer_folder(path_or_hub_id, revision)
    if all((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
        return load_tokenizer(folder, eos_token_id, apart=apart)
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as converted:
        try:
            AutoTokenizer.from_pretrained(path_or_hub_id, revision=revision).save_pretrained(converted)
        except Exception as error:  # transformers, and any tokenizer's own code, raise whatever they meet in somebody's files
            raise ModelError(f"tokenizer of {path_or_hub_id}: {first_line(error)}") from error
        if not (Path(converted) / "tokenizer.json").exists():
            raise DataError(f"{path_or_hub_id}: its tokenizer has no fast form (tokenizer.json), and wmtp needs one")
        return load_tokenizer(Path(converted), eos_token_id, apart=apart)
