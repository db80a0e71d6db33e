"""A model folder that completes tasks: the one way from a checkpoint to answers."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wmtp import model_files
from wmtp.errors import ModelError
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
            ModelError: no such model, files that are not whole, or weights that its architecture has and its files have not.
            DataError: no tokenizer, or one without an end token where the model names none either.
        """
        from transformers import AutoModelForCausalLM

        import wmtp.models  # noqa: F401 (registers the model type)

        if Path(path_or_hub_id).exists():
            model_files.require_model(Path(path_or_hub_id), tokenizer=True)
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(path_or_hub_id, output_loading_info=True)
        except Exception as error:  # transformers, and any model's own code, raise whatever they meet in somebody's files
            raise ModelError(f"model {path_or_hub_id}: {_line(error)}") from error
        model, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise ModelError(f"model {path_or_hub_id}: {len(missing)} weights are missing, the first is {missing[0]}")
        ends = _end_tokens(model)
        text = _tokenizer(path_or_hub_id, ends[0] if ends else None)
        return cls(path_or_hub_id, model.to(device).eval(), text, tuple(dict.fromkeys([text.eos_token_id, *ends])))

    def identity(self, taskset: TaskSet, problems: Sequence[Problem], decoding: Decoding) -> dict[str, Any]:
        """What decides the completions: the model's files by content (or the hub's revision), the prompts, the decoding.

        Proposals of further heads count where numbers are rounded so coarsely that checking several tokens at once may
        choose others.
        """
        folder, config = Path(self.path), self.model.config
        hub = {"model": self.path, "revision": getattr(config, "_commit_hash", None)}
        dtype = str(next(self.model.parameters()).dtype).removeprefix("torch.")
        prompts = repr([(prompt.task_id, prompt.input_ids) for prompt in self.prompts(taskset, problems)])
        return {
            **decoding_identity(decoding),
            **(model_files.digests(folder) if folder.is_dir() else hub),
            **({} if dtype == "float32" else {"num_drafts": decoding.num_drafts}),
            "dtype": dtype,
            "eos_token_ids": list(self.eos_token_ids),
            "stop": list(taskset.stop),
            "set of prompts": f"sha256:{hashlib.sha256(prompts.encode()).hexdigest()}",
        }

    def prompts(self, taskset: TaskSet, problems: Sequence[Problem]) -> list[Prompt]:
        """What the model is asked."""
        return [Prompt(problem.problem_id, self.text.encode_prompt(taskset.prompt(problem))) for problem in problems]

    def answers(self, taskset: TaskSet, problems: Sequence[Problem], decoding: Decoding) -> Iterator[list[Answer]]:
        """Completions of all problems, batch by batch, in whatever order is fast."""
        how = replace(decoding, eos_token_ids=self.eos_token_ids, stop=taskset.stop)
        return generate_batches(self.model, self.text, self.prompts(taskset, problems), how)


_NOT_OF_IDENTITY = ("batch_size", "num_drafts", "eos_token_ids", "stop")
"""Of the decoding: what changes the speed alone (of proposals, see `Completer.identity`), and what model and tasks say."""


def decoding_identity(decoding: Decoding) -> dict[str, Any]:
    """What of it decides completions, as far as it is known without a model."""
    return {name: value for name, value in asdict(decoding).items() if name not in _NOT_OF_IDENTITY}


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
        except Exception as error:  # as with models
            raise ModelError(f"tokenizer of {path_or_hub_id}: {_line(error)}") from error
        return load_tokenizer(Path(converted), eos_token_id)


def _line(error: Exception) -> str:
    """Of a library's explanations the first that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
