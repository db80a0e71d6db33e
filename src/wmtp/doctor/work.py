"""What every stage of a configuration has to do: tokens, operations, bytes. From the configuration alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wmtp.config.inputs import located
from wmtp.doctor.memory import Generating, Memory, Setting, generation_memory, scoring_memory, training_memory
from wmtp.doctor.speed import reached_flops
from wmtp.models.flops import ModelFlops, model_flops
from wmtp.models.skeleton import skeleton

if TYPE_CHECKING:
    from wmtp.config import Config
    from wmtp.config.training import ModelConfig, OptimConfig, TrainConfig
    from wmtp.models.mtp import MTPForCausalLM

_PASS = 1 / 3
"""A forward pass of a training step's three."""

_NUMBER = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of an example: its mean, the longest that is allowed, and the prompt's share."""

    mean: float
    longest: int
    prompt_frac: float = 0.4


@dataclass(frozen=True)
class Work:
    """One stage's. `dtype`: that its products are in; `memory`: of one rank, None where no model is trained.

    `resume_bytes`: of its checkpoints, which go when it is done. `forwards`: passes one after another that generation takes, of
    `weights` bytes each. `smaller`: what makes it need less memory. `reached`: operations per second of one process, where
    that was tried.
    """

    stage: str
    tokens: float = 0.0
    flops: float = 0.0
    dtype: str = "float32"
    memory: Memory | None = None
    host_bytes: int = 0
    disk_bytes: int = 0
    resume_bytes: int = 0
    forwards: float = 0.0
    weights: int = 0
    num_programs: int = 0
    reached: float | None = None
    smaller: str = "a smaller micro_batch_size, activation_checkpointing, model.lora or more devices"


def works(config: Config, root: Path, lengths: Lengths, *, world_size: int, device: str) -> Iterator[Work]:
    """Of every stage with a model that this configuration's runs need, in their order."""
    made = _Planner(config, root, lengths, world_size, device)
    if config.columns["reference"]:
        yield from _of_each(
            [made.reference(), made.scoring("score_reference", made.reference_model)], config.columns["reference"]
        )
    if config.columns["value"]:
        values = made.scoring("score_values", made.critic_model, reads_values=True)
        yield from _of_each([made.critic(), values], config.columns["value"])
    for name in config.runs:
        yield made.policy(name)
    for name in config.runs:
        yield made.evaluation(name)


def _of_each(stages: Sequence[Work], keys: Iterable[str]) -> Iterator[Work]:
    """The same work for every seed."""
    return (replace(stage, stage=f"{stage.stage}@{key}") for key in keys for stage in stages)


class _Planner:
    def __init__(self, config: Config, root: Path, lengths: Lengths, world_size: int, device: str) -> None:
        self.config, self.root, self.lengths, self.world_size, self.device = config, root, lengths, world_size, device
        self._policies: dict[tuple[int, str], Work] = {}  # arms differ in nothing else that counts here

    def model(self, section: ModelConfig, n_future: int) -> MTPForCausalLM:
        folder = None if section.pretrained is None else self.root / located(section.pretrained, "model")
        return skeleton(
            section,
            vocab_size=self.config.data.tokenizer.vocab_size,
            max_length=self.lengths.longest,
            n_future=n_future,
            folder=folder if folder is not None and (folder / "config.json").exists() else None,
        )

    @property
    def reference_model(self) -> MTPForCausalLM:
        return self.model(self.config.tune_reference.model, 1)

    @property
    def critic_model(self) -> MTPForCausalLM:
        section = self.config.train_critic
        return self.reference_model if section.init == "reference" else self.model(section.model, 1)

    @property
    def num_rows(self) -> int:
        """Training examples; of all problems where their number is not said, as many as the training reads."""
        data, train = self.config.data, self.config.train_policy.train
        problems = data.num_problems
        return train.steps * train.global_batch_size if problems is None else problems * data.max_per_problem

    def reference(self) -> Work:
        section = self.config.tune_reference
        return self._training("tune_reference", self.reference_model, section.train, section.optim, section.model)

    def critic(self) -> Work:
        section = self.config.train_critic
        model = self.critic_model
        return self._training("train_critic", model, section.train, section.optim, section.model, reads_values=True)

    def policy(self, name: str) -> Work:
        section, run = self.config.train_policy, self.config.runs[name]
        arm = self.config.arms[run.arm]
        n_future = arm.n_future or section.model.n_future
        shape = arm.model(section.model)
        known = (n_future, repr(shape))
        if known not in self._policies:
            model = self.model(shape, n_future)
            self._policies[known] = self._training("", model, section.train, section.optim, shape)
        work = replace(self._policies[known], stage=f"train_policy@{name}")
        if arm.weighting.needs.policy and section.train.micro_batch_size < section.train.global_batch_size:
            work = replace(work, flops=work.flops * (1 + _PASS))  # the first pass, whose NLLs the weights are made of
        return work

    def _training(
        self,
        stage: str,
        model: MTPForCausalLM,
        train: TrainConfig,
        optim: OptimConfig,
        section: ModelConfig,
        *,
        reads_values: bool = False,
    ) -> Work:
        flops = model_flops(model)
        flops = replace(flops, num_heads=0) if reads_values else flops
        examples = train.steps * train.global_batch_size
        validations = math.ceil(train.steps / train.eval_interval)
        held_out = self.config.data.num_validation_problems * self.config.data.max_per_problem * validations
        step = self._of_example(flops)
        recomputed = 1 + _PASS * train.activation_checkpointing
        numbers = sum(p.numel() for p in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        setting = self._setting(train, optim, reads_values)
        reached = self._reached(model, setting)
        memory = training_memory(model, setting)
        kept = (numbers + 2 * trained) * _NUMBER * (self.config.runtime.keep_checkpoints + 1)
        return Work(
            stage,
            tokens=examples * self.lengths.mean,
            flops=examples * step * recomputed + held_out * step * _PASS,
            dtype=train.dtype,
            memory=memory,
            host_bytes=(numbers + 2 * trained) * _NUMBER,
            disk_bytes=numbers * _saved_bytes(train),
            resume_bytes=kept,
            reached=reached,
        )

    def _reached(self, model: MTPForCausalLM, setting: Setting) -> float | None:
        """By a processor, in float32: in bfloat16 they are slow in ways of their own."""
        if setting.device != "cpu" or setting.bytes_of_compute != _NUMBER:
            return None
        length = max(2, round(self.lengths.mean))
        prompt_len = min(length - 1, round(length * self.lengths.prompt_frac))
        return reached_flops(copy.deepcopy(model), setting.rows, length, prompt_len, reads_values=setting.reads_values)

    def _setting(self, train: TrainConfig, optim: OptimConfig, reads_values: bool) -> Setting:
        longest = self.lengths.longest
        rows = max(1, train.micro_batch_size // self.world_size)
        if train.micro_batch_tokens is not None:
            rows = max(1, min(train.micro_batch_tokens // longest, train.global_batch_size // self.world_size))
        narrow = 2 if train.masters != "float32" else _NUMBER
        return Setting(
            rows,
            longest,
            self.world_size,
            train.dtype,
            self.device,
            train.activation_checkpointing,
            master_bytes=narrow,
            momentum_bytes=narrow,
            compensation_bytes=narrow if train.masters == "kahan" else 0,
            momenta=(1 if optim.name == "muon" else 2, 2),
            reads_values=reads_values,
        )

    def _of_example(self, flops: ModelFlops) -> float:
        """Operations of one example of the mean length."""
        length = np.array([round(self.lengths.mean)])
        targets = int(flops.num_heads * self.lengths.mean * (1 - self.lengths.prompt_frac))
        return float(flops.of_documents(length, targets))

    def scoring(self, stage: str, model: MTPForCausalLM, *, reads_values: bool = False) -> Work:
        """One forward pass over the training examples."""
        section = self.config.score
        numbers = sum(p.numel() for p in model.parameters()) * _NUMBER
        flops = self.num_rows * self._of_example(model_flops(model)) * _PASS
        tokens = self.num_rows * self.lengths.mean
        setting = Setting(
            max(1, section.batch_tokens // self.lengths.longest),
            self.lengths.longest,
            self.world_size,
            section.dtype,
            self.device,
            reads_values=reads_values,
        )
        return Work(
            stage,
            tokens=tokens,
            flops=flops,
            dtype=section.dtype,
            memory=scoring_memory(model, setting),
            host_bytes=numbers if self.device == "cuda" else 0,
            disk_bytes=int(tokens) * _NUMBER,
            smaller="a smaller score.batch_tokens, score.dtype=bfloat16 or more devices",
        )

    def evaluation(self, name: str) -> Work:
        config, data = self.config.evaluate, self.config.data
        arm = self.config.arms[self.config.runs[name].arm]
        section = self.config.train_policy.model
        model = self.model(arm.model(section), arm.n_future or section.n_future)
        numbers, size = sum(p.numel() for p in model.parameters()), _saved_bytes(self.config.train_policy.train)
        tasks = min(config.limit or data.num_test_problems, data.num_test_problems)
        completions = tasks * (1 + config.num_samples)
        tokens = completions * (config.max_new_tokens + self.lengths.mean * self.lengths.prompt_frac)
        runtime = self.config.runtime
        batches = math.ceil(completions / runtime.generation_batch_size / self.world_size)
        how = Generating(
            rows=min(runtime.generation_batch_size, math.ceil(completions / self.world_size)),
            prompt=round(self.lengths.longest * self.lengths.prompt_frac),
            new=config.max_new_tokens,
            num_bytes=size,
            num_proposals=min(runtime.num_drafts, len(model.heads) - 1),
        )
        return Work(
            f"evaluate@{name}",
            tokens=tokens,
            flops=2.0 * numbers * tokens,
            dtype="bfloat16" if size < _NUMBER else "float32",
            memory=generation_memory(model, how),
            host_bytes=numbers * size * self.world_size if self.device == "cuda" else 0,
            forwards=batches * config.max_new_tokens,
            weights=numbers * size,
            num_programs=completions,
            smaller="a smaller runtime.generation_batch_size, or train_policy.train.save_dtype=bfloat16",
        )


def _saved_bytes(train: TrainConfig) -> int:
    """Of one number of the model that is written, and of what generates from it."""
    masters = "float32" if train.masters == "float32" else "bfloat16"
    return 2 if (train.save_dtype or masters) == "bfloat16" else _NUMBER
