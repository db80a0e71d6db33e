"""How a benchmark is asked: prompt format, solved examples, chat template, sanitizing. One way for both commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from wmtp.errors import ConfigError
from wmtp.problems.formats import PromptFormat
from wmtp.problems.render import completion_alone
from wmtp.problems.shots import NO_SHOTS, Shots, choose_shots
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem

ChatUse = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class Asking:
    """What is asked for on the command line; None is as the benchmark's convention has it.

    Attributes:
        prompt: the name of a prompt format.
        num_shots, shots, shot_seed: see `choose_shots`.
        chat_template: `auto` uses the tokenizer's where the format is made for one, and there is one.
        sanitize: run the code in the completions, see `wmtp.problems.sanitize`.
    """

    prompt: str | None = None
    num_shots: int | None = None
    shots: str | None = None
    shot_seed: int | None = None
    chat_template: ChatUse = "auto"
    sanitize: bool = False

    def prepare(self, taskset: TaskSet, problems: Sequence[Problem]) -> Asked:
        """Everything that is known without a model.

        Raises:
            ConfigError, DataError: see `TaskSet.format` and `choose_shots`; sanitizing answers that are no programs.
        """
        form = taskset.format(self.prompt)
        shots = choose_shots(form, problems, taskset.read, number=self.num_shots, source=self.shots, seed=self.shot_seed)
        return self._asked(taskset, form, shots)

    def to_score(self, taskset: TaskSet) -> TaskSet:
        """The tasks as completions from elsewhere were asked for: what they are put together and judged by.

        Raises:
            ConfigError: see `prepare`.
        """
        form = taskset.format(self.prompt)
        return self._asked(taskset, form, NO_SHOTS).of(lambda: self.chat_template == "on" or form.needs_chat)

    def _asked(self, taskset: TaskSet, form: PromptFormat, shots: Shots) -> Asked:
        if self.sanitize and taskset.judge is not None:
            raise ConfigError(f"--sanitize takes the code out of an answer, and answers of {taskset.name} are texts")
        return Asked(taskset, form, shots, self.chat_template, self.sanitize)


@dataclass(frozen=True)
class Asked:
    """A format with its examples; whether it becomes a chat is for the tokenizer to say."""

    taskset: TaskSet
    form: PromptFormat
    shots: Shots
    chat_template: ChatUse
    sanitize: bool

    def of(self, has_template: Callable[[], bool]) -> TaskSet:
        """The tasks as a model with that tokenizer is asked them. `has_template` is called only where it matters.

        Raises:
            ConfigError: a chat is asked for, and there is no template; or none may be used for what is nothing but a chat.
        """
        is_made_for_one = self.form.needs_chat or self.form.in_chat is not None
        wanted = self.chat_template == "on" or (self.chat_template == "auto" and is_made_for_one)
        in_chat = wanted and has_template()
        if self.chat_template == "on" and not in_chat:
            raise ConfigError("--chat-template on: the model's tokenizer has no chat template")
        if self.form.needs_chat and not in_chat:
            why = "the model's tokenizer has no chat template" if wanted else "leave --chat-template off out"
            raise ConfigError(f"the prompt format {self.form.name} is a chat: {why}")
        form = self.form.in_chat if in_chat and self.form.in_chat is not None else self.form
        taskset = replace(self.taskset.asked(form, self.shots), in_chat=in_chat)
        if not self.sanitize or taskset.sanitizes:
            return taskset
        return replace(taskset, sanitizes=True, assemble=completion_alone if in_chat else taskset.assemble)


def prompt_facts(taskset: TaskSet, shots: Shots = NO_SHOTS) -> dict[str, Any]:
    """How the tasks were asked, as metrics.json has it."""
    return {
        "format": taskset.asked_as,
        "num_shots": len(shots.same) or max(map(len, shots.by_task.values()), default=0),
        "shots": shots.as_dict(),
        "chat_template": taskset.in_chat,
        "sanitized": taskset.sanitizes,
        "stop": list(taskset.stop),
    }
