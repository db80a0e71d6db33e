"""A model folder that completes tasks: the one way from a checkpoint to answers."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wmtp.errors import EvaluationError
from wmtp.evaluation.generate import Decoding, Prompt, generate_batches
from wmtp.evaluation.results import Answer
from wmtp.tasksets.base import TaskSet
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.tokenizer import load_tokenizer, tokenizer_folder
from wmtp.types import Problem


@dataclass(frozen=True)
class Completer:
    """A causal language model with its tokenizer. `path`: the folder or hub id that it is from."""

    path: str
    model: nn.Module
    text: TextTokenizer
    eos_token_ids: tuple[int, ...]

    @classmethod
    def load(cls, path_or_hub_id: str, device: torch.device) -> Completer:
        """Any causal language model that transformers knows, wmtp's own included, from a folder or from the hub.

        Raises:
            EvaluationError: no such model, or weights that its architecture has and its files have not.
            DataError: no tokenizer, or one without an end token where the model names none either.
        """
        from transformers import AutoModelForCausalLM

        import wmtp.models  # noqa: F401 (registers the model type)

        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(path_or_hub_id, output_loading_info=True)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"model {path_or_hub_id}: {str(error).splitlines()[0]}") from None
        model, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise EvaluationError(f"model {path_or_hub_id}: {len(missing)} weights are missing, the first is {missing[0]}")
        ends = _end_tokens(model)
        text = _tokenizer(path_or_hub_id, ends[0] if ends else None)
        return cls(path_or_hub_id, model.to(device).eval(), text, tuple(dict.fromkeys([text.eos_token_id, *ends])))

    def fingerprint(self) -> str:
        """Of the files: other weights, another tokenizer or another revision have another one."""
        folder = Path(self.path)
        revision = getattr(self.model.config, "_commit_hash", None)
        return folder_digest(folder) if folder.is_dir() else f"{self.path}@{revision}"

    def answers(self, taskset: TaskSet, problems: Sequence[Problem], decoding: Decoding) -> Iterator[list[Answer]]:
        """Completions of all problems, batch by batch, in whatever order is fast."""
        prompts = [Prompt(problem.problem_id, self.text.encode_prompt(taskset.prompt(problem))) for problem in problems]
        how = replace(decoding, eos_token_ids=self.eos_token_ids, stop=taskset.stop)
        return generate_batches(self.model, self.text, prompts, how)


def _end_tokens(model: Any) -> list[int]:
    """The tokens that end a text, as the model's own settings for generation have it."""
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def _tokenizer(path_or_hub_id: str, eos_token_id: int | None) -> TextTokenizer:
    """From its tokenizer.json; files of an older format are converted first."""
    folder = tokenizer_folder(path_or_hub_id)
    if all((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
        return load_tokenizer(folder, eos_token_id)
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as converted:
        try:
            AutoTokenizer.from_pretrained(path_or_hub_id).save_pretrained(converted)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"tokenizer of {path_or_hub_id}: {str(error).splitlines()[0]}") from None
        return load_tokenizer(Path(converted), eos_token_id)


def folder_digest(folder: Path) -> str:
    """Of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
