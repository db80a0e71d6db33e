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
from wmtp.models.token_order import add_token_order, is_of_token_order
from wmtp.problems import documents

if TYPE_CHECKING:
    from wmtp.config import Config
    from wmtp.config.training import ModelConfig, OptimConfig, TrainConfig
    from wmtp.models.mtp import MTPForCausalLM

_PASS = 1 / 3
"""A forward pass of a training step's three."""

_NUMBER = 4
"""Bytes of a float32."""

_ORDER = ("reference", "value", "base", "start", "wrong")
"""Groups of columns, as `dvc.yaml` has their stages."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of an example: its mean, the longest that is allowed, and the prompt's share.

    `num_rows`: training examples, where they are made already.
    """

    mean: float
    longest: int
    prompt_frac: float = 0.4
    num_rows: int | None = None


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
    for group in sorted(config.columns, key=_ORDER.index):
        if config.columns[group]:
            yield from _of_each(made.of_column(group), config.columns[group])
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
        self._policies: dict[tuple[int, str, bool], Work] = {}  # arms differ in nothing else that counts here
        self._evaluations: dict[tuple[int, str], Work] = {}

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
        """Training examples; of all problems where their number is neither known nor said, as many as the training reads."""
        if self.lengths.num_rows is not None:
            return self.lengths.num_rows
        problems, train = self.config.data.num_problems, self.config.train_policy.train
        return train.steps * train.global_batch_size if problems is None else problems * self.per_problem

    @property
    def per_problem(self) -> int:
        """Examples of a problem; a document is one."""
        return 1 if self.config.data.is_documents else self.config.data.max_per_problem

    @property
    def num_held_out(self) -> int:
        return self.config.data.num_validation_problems * self.per_problem

    def of_column(self, group: str) -> list[Work]:
        """The stages that make a group of columns."""
        policy = self.config.train_policy.model
        match group:
            case "reference":
                return [self.tuning("tune_reference"), self.scoring("score_reference", self.reference_model)]
            case "value":
                return [self.critic(), self.scoring("score_values", self.critic_model, reads_values=True)]
            case "base":
                return [self.scoring("score_base", self.reference_model)]
            case "start":
                return [self.scoring("score_start", self.model(policy, policy.n_future))]
        assert group == "wrong", f"nothing is known of what makes columns.{group}"
        return [self.tuning("tune_wrong"), self.scoring("score_wrong", self.reference_model)]

    def tuning(self, stage: str) -> Work:
        """The reference's, and its counterpart's on wrong solutions, which is tuned as it is."""
        section = self.config.tune_reference
        return self._training(stage, self.reference_model, section.train, section.optim, section.model)

    def critic(self) -> Work:
        section = self.config.train_critic
        model = self.critic_model
        return self._training("train_critic", model, section.train, section.optim, section.model, reads_values=True)

    def policy(self, name: str) -> Work:
        section, run = self.config.train_policy, self.config.runs[name]
        arm = self.config.arms[run.arm]
        n_future = arm.n_future or section.model.n_future
        shape = arm.model(section.model)
        known = (n_future, repr(shape), arm.token_order > 0)
        if known not in self._policies:
            model = self.model(shape, n_future)
            if arm.token_order:
                add_token_order(model)
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
        held_out = self.num_held_out * validations
        step = self._of_example(flops)
        recomputed = 1 + _PASS * train.activation_checkpointing
        numbers = sum(p.numel() for p in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        saved = sum(p.numel() for name, p in model.named_parameters() if not is_of_token_order(name))
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
            disk_bytes=saved * _saved_bytes(train),
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
            is_eager=train.attention == "eager",
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
        of_model = model_flops(model)
        of_model = replace(of_model, num_heads=0 if reads_values else 1)  # head 0 alone is read
        flops = self.num_rows * self._of_example(of_model) * _PASS
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
        arm, section = self.config.arms[self.config.runs[name].arm], self.config.train_policy.model
        n_future, shape = arm.n_future or section.n_future, arm.model(section)
        known = (n_future, repr(shape))
        if known not in self._evaluations:
            self._evaluations[known] = self._evaluation(self.model(shape, n_future))
        return replace(self._evaluations[known], stage=f"evaluate@{name}")

    def _evaluation(self, model: MTPForCausalLM) -> Work:
        """Completions, and a forward pass over what is held out; of documents that alone."""
        config, data = self.config.evaluate, self.config.data
        solves = config.benchmark not in documents.KINDS
        numbers, size = sum(p.numel() for p in model.parameters()), _saved_bytes(self.config.train_policy.train)
        tasks = min(config.limit or data.num_test_problems, data.num_test_problems) if solves else 0
        completions = tasks * (1 + config.num_samples)
        tokens = completions * (config.max_new_tokens + self.lengths.mean * self.lengths.prompt_frac)
        runtime = self.config.runtime
        batches = math.ceil(completions / runtime.generation_batch_size / self.world_size)
        how = Generating(
            rows=min(runtime.generation_batch_size, math.ceil(completions / self.world_size)),
            prompt=max(1, round(self.lengths.longest * self.lengths.prompt_frac)),
            new=config.max_new_tokens,
            num_bytes=size,
            num_proposals=min(runtime.num_drafts, len(model.heads) - 1),
        )
        return Work(
            "",
            tokens=tokens + self.num_held_out * self.lengths.mean,
            flops=2.0 * numbers * tokens + self.num_held_out * self._of_example(model_flops(model)) * _PASS,
            dtype="bfloat16" if size < _NUMBER else "float32",
            memory=generation_memory(model, how),
            forwards=batches * config.max_new_tokens,
            weights=numbers * size,
            num_programs=completions,
            smaller=f"{'a smaller runtime.generation_batch_size, or ' if solves else ''}train_policy.train.save_dtype=bfloat16",
        )


def _saved_bytes(train: TrainConfig) -> int:
    """Of one number of the model that is written, and of what generates from it."""
    masters = "float32" if train.masters == "float32" else "bfloat16"
    return 2 if (train.save_dtype or masters) == "bfloat16" else _NUMBER
