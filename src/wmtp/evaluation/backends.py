"""What makes completions: transformers, or vLLM where it is installed. The same prompts, stops and end tokens for both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from wmtp.config.inputs import is_hub_id
from wmtp.errors import ConfigError
from wmtp.evaluation.chat import Chat
from wmtp.evaluation.completer import Completer
from wmtp.evaluation.drafts import require_drafts
from wmtp.evaluation.generate import Decoding, OnPass
from wmtp.evaluation.prompter import Prompter
from wmtp.evaluation.results import Answer, SampleKey
from wmtp.evaluation.vllm_completer import VllmCompleter, require_vllm
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem


class Backend(Protocol):
    """A model that completes tasks."""

    @property
    def prompter(self) -> Prompter: ...

    def identity(self, taskset: TaskSet, problems: Sequence[Problem], decoding: Decoding) -> dict[str, Any]: ...

    def answers(
        self,
        taskset: TaskSet,
        problems: Sequence[Problem],
        decoding: Decoding,
        *,
        done: Collection[SampleKey] = (),
        on_pass: OnPass | None = None,
    ) -> Iterator[list[Answer]]: ...


@dataclass(frozen=True)
class ModelChoice:
    """A model and how it is run. `path`: a folder or a hub id; `revision`: of the hub; `dtype`: `auto` is the weights' own."""

    path: str
    revision: str | None = None
    dtype: str = "auto"
    backend: str = "transformers"

    @classmethod
    def of(cls, value: str, revision: str | None, dtype: str, backend: str) -> ModelChoice:
        """`value` may name its revision itself, `owner/name@REVISION`, as configurations do.

        Raises:
            ConfigError: two revisions are given.
        """
        if not is_hub_id(value, "model") or Path(value).exists():
            return cls(value, revision, dtype, backend)
        path, _, own = value.partition("@")
        if revision not in (None, own):
            raise ConfigError(f"--model {value} and --revision {revision} name two revisions")
        return cls(path, own, dtype, backend)

    def check(self, num_drafts: int, temperature: float | None = None) -> None:
        """What can be known before anything is loaded.

        Raises:
            ConfigError: a revision of a folder; see `require_vllm`.
        """
        if self.revision is not None and Path(self.path).exists():
            raise ConfigError(f"--revision {self.revision} is of the hub, and {self.path} is a folder")
        if self.backend == "vllm":
            require_vllm(num_drafts, temperature)

    def has_chat_template(self) -> bool:
        """Whether its tokenizer has one."""
        return Chat.load(self.path, self.revision) is not None

    def load(self, num_drafts: int = 0) -> Backend:
        """On the accelerator where there is one.

        Raises:
            ConfigError: its further heads cannot propose so many tokens.
            ModelError, DataError: see the backends.
        """
        if self.backend == "vllm":
            return VllmCompleter.load(self.path, revision=self.revision, dtype=self.dtype)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        completer = Completer.load(self.path, device, revision=self.revision, dtype=self.dtype, causal=False)
        require_drafts(completer.model, num_drafts)
        return completer
