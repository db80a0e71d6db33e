"""A model folder that completes tasks: the one way from a checkpoint to answers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wmtp import model_files
from wmtp.errors import ConfigError, ModelError
from wmtp.evaluation.generate import Decoding, Generate, OnPass, generate_batches
from wmtp.evaluation.plain import decoder_start, positions
from wmtp.evaluation.prompter import Prompter
from wmtp.evaluation.proof import proven_way
from wmtp.evaluation.results import Answer, SampleKey
from wmtp.models.load import prove_heads, read_model
from wmtp.models.mtp import MTPForCausalLM
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem


@dataclass(frozen=True)
class Completer:
    """A language model with its tokenizer. `generate`: the way in which it completes texts."""

    prompter: Prompter
    model: nn.Module
    generate: Generate = generate_batches

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        device: torch.device,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        causal: bool = True,
    ) -> Completer:
        """Any causal language model that transformers knows, wmtp's own included, from a folder or from the hub.

        Args:
            revision: of the hub: a branch, tag or commit.
            dtype: of the weights while they are used; `auto` is their own.
            causal: False lets in models with an encoder and those of several kinds of inputs, which are given texts alone.
        Raises:
            ModelError: no such model, one that cannot complete texts, or files that are not what its architecture is; see
                `read_model`, `prove_heads` and `proven_way`.
            DataError: see `Prompter.load`.
        """
        where = f"model {path_or_hub_id}"
        if Path(path_or_hub_id).exists():
            model_files.require_model(Path(path_or_hub_id), tokenizer=True)
        model: Any = read_model(path_or_hub_id, where, dtype=dtype, revision=revision, device=device, causal=causal).eval()
        if isinstance(model, MTPForCausalLM):
            prove_heads(model, where)
        elif not model.can_generate():
            raise ModelError(f"{where}: transformers completes no texts with a {model.config.model_type} model")
        apart = model.config.is_encoder_decoder
        prompter = Prompter.load(path_or_hub_id, model.generation_config, revision, apart=apart)
        prompter = prompter.padding_with_known(_vocab_size(model))
        prompter.require_known([], _vocab_size(model))
        if isinstance(model, MTPForCausalLM):
            return cls(prompter, model)
        return cls(prompter, model, proven_way(model, prompter.text, where))

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")

    def identity(self, taskset: TaskSet, problems: Sequence[Problem], decoding: Decoding) -> dict[str, Any]:
        """What decides the completions, see `identity_of`.

        Proposals of further heads count where numbers are rounded so coarsely that checking several tokens at once may
        choose others. So does what a decoder beside an encoder starts with.
        """
        commit = getattr(self.model.config, "_commit_hash", None)
        drafts = {} if self.dtype == "float32" else {"num_drafts": decoding.num_drafts}
        starts = {"decoder_start": list(start)} if (start := decoder_start(self.model)) else {}
        return identity_of(self.prompter, taskset, problems, decoding, dtype=self.dtype, commit=commit) | drafts | starts

    def answers(
        self,
        taskset: TaskSet,
        problems: Sequence[Problem],
        decoding: Decoding,
        *,
        done: Collection[SampleKey] = (),
        on_pass: OnPass | None = None,
    ) -> Iterator[list[Answer]]:
        """Completions of all problems, each when it ends, in whatever order is fast.

        Args:
            done: those that are not made again; on_pass: see `OnPass`.
        Raises:
            DataError: a prompt that fills all of the model's positions, or has tokens that the model does not know.
            ConfigError: longer answers are asked for than a decoder beside an encoder has positions.
        """
        prompts = self.prompter.prompts(taskset, problems)
        self.prompter.require_known(prompts, _vocab_size(self.model))
        to_read, to_write = positions(self.model)
        num_start = len(decoder_start(self.model))
        self.prompter.require_room(prompts, to_read, apart=num_start > 0)
        if num_start and to_write is not None and num_start + decoding.max_new_tokens > to_write:
            most = f"{self.prompter.path} has {to_write} positions for an answer"
            raise ConfigError(f"--max-new-tokens={decoding.max_new_tokens} must be at most {to_write - num_start}: {most}")
        how = self.prompter.decoding(taskset, decoding)
        return self.generate(self.model, self.prompter.text, prompts, how, done=done, on_pass=on_pass)


def _vocab_size(model: Any) -> int:
    """How many embeddings it has."""
    return int(model.config.get_text_config(decoder=True).vocab_size)


def identity_of(
    prompter: Prompter, taskset: TaskSet, problems: Sequence[Problem], decoding: Decoding, *, dtype: str, commit: str | None
) -> dict[str, Any]:
    """What decides completions, whatever makes them: the model's files by content (or the hub's commit), prompts, decoding."""
    folder = Path(prompter.path)
    prompts = repr([(prompt.task_id, prompt.input_ids) for prompt in prompter.prompts(taskset, problems)])
    return {
        **decoding_identity(decoding),
        **(model_files.digests(folder) if folder.is_dir() else {"model": prompter.path, "revision": commit}),
        "dtype": dtype,
        "eos_token_ids": list(prompter.eos_token_ids),
        "stop": list(taskset.stop),
        "set of prompts": f"sha256:{hashlib.sha256(prompts.encode()).hexdigest()}",
    }


_NOT_OF_IDENTITY = ("batch_size", "num_drafts", "eos_token_ids", "stop")
"""Of the decoding: what changes the speed alone (of proposals, see `Completer.identity`), and what model and tasks say."""


def decoding_identity(decoding: Decoding) -> dict[str, Any]:
    """What of it decides completions, as far as it is known without a model."""
    return {name: value for name, value in asdict(decoding).items() if name not in _NOT_OF_IDENTITY}
