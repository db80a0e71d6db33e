"""Completions by vLLM, where there is a GPU for it. Prompts, stops, end tokens and what is made of tokens are as everywhere.

Every completion has a seed of its own, so that which ones are made together does not matter; the draws are vLLM's, not those
of `wmtp.evaluation.nucleus`.

Source: vLLM 0.30, `LLM.generate`, `SamplingParams`, `TokensPrompt`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wmtp.checks import installing
from wmtp.errors import ConfigError, ModelError, first_line
from wmtp.evaluation.completer import identity_of
from wmtp.evaluation.generate import Decoding, OnPass, Prompt, made_answer
from wmtp.evaluation.nucleus import row_key
from wmtp.evaluation.prompter import Prompter
from wmtp.evaluation.results import GREEDY, Answer, SampleKey
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem

MIN_TEMPERATURE = 0.01
"""Lower ones it takes for this one (vllm/sampling_params.py, `_MAX_TEMP`)."""
AT_ONCE = 2048
"""Completions that the engine is given at a time: between two entries of the journal."""


def require_vllm(num_drafts: int, temperature: float | None) -> None:
    """Raises:
    ConfigError: vLLM is not installed, or is asked for what it does not do: further heads that propose tokens, temperatures
        that it raises to its own least one.
    """
    if temperature is not None and 0 < temperature < MIN_TEMPERATURE:
        raise ConfigError(
            f"--temperature {temperature:g} is less than --backend vllm can draw at: 0, or {MIN_TEMPERATURE:g} and more"
        )
    if num_drafts:
        raise ConfigError("--num-drafts is of no use with --backend vllm: it runs plain architectures, which have one head")
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(f"--backend vllm needs the package vllm: {installing('vllm')}")


@dataclass(frozen=True)
class VllmCompleter:
    """A vLLM engine with a model's tokenizer. `dtype`: of its weights; `commit`: of the hub's model."""

    prompter: Prompter
    engine: Any
    dtype: str
    commit: str | None

    @classmethod
    def load(cls, path_or_hub_id: str, *, revision: str | None = None, dtype: str = "auto") -> VllmCompleter:
        """A plain architecture from a folder or from the hub.

        Raises:
            ModelError: no such model, one with further heads, or one that vLLM cannot run here.
            DataError: see `Prompter.load`.
        """
        from transformers import AutoConfig, GenerationConfig

        import wmtp.models  # noqa: F401 (registers the model type)

        try:
            config = AutoConfig.from_pretrained(path_or_hub_id, revision=revision)
            require_plain(config.model_type, path_or_hub_id)
            try:
                generation = GenerationConfig.from_pretrained(path_or_hub_id, revision=revision or "main")
            except OSError:
                generation = GenerationConfig.from_model_config(config)
            dtype = str(config.dtype or "float32").removeprefix("torch.") if dtype == "auto" else dtype
            prompter = Prompter.load(path_or_hub_id, generation, revision)
            from vllm import LLM

            engine = LLM(path_or_hub_id, dtype=dtype, revision=revision, tokenizer_revision=revision, generation_config="vllm")
        except ModelError:
            raise
        except Exception as error:  # as with transformers: whatever an engine meets in somebody's files, or on this machine
            raise ModelError(f"model {path_or_hub_id}: {first_line(error)}") from error
        return cls(prompter, engine, dtype, getattr(config, "_commit_hash", None))

    def identity(self, taskset: TaskSet, problems: Sequence[Problem], decoding: Decoding) -> dict[str, Any]:
        """What decides the completions, vLLM's version included."""
        import vllm  # whose distribution may have another name, such as one built for processors alone

        how = {"backend": f"vllm {vllm.__version__}"}
        made = identity_of(self.prompter, taskset, problems, decoding, dtype=self.dtype, commit=self.commit)
        return made | how

    def answers(
        self,
        taskset: TaskSet,
        problems: Sequence[Problem],
        decoding: Decoding,
        *,
        done: Collection[SampleKey] = (),
        on_pass: OnPass | None = None,
    ) -> Iterator[list[Answer]]:
        """Completions of all problems but those that are `done`, some at a time: the engine says nothing before they end."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        how = self.prompter.decoding(taskset, decoding)
        prompts = self.prompter.prompts(taskset, problems)
        self.prompter.require_room(prompts, self.engine.llm_engine.model_config.max_model_len)
        rows = [(prompt, sample) for prompt in prompts for sample in how.samples if (prompt.task_id, sample) not in done]
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            outputs = self.engine.generate(
                [TokensPrompt(prompt_token_ids=list(prompt.input_ids)) for prompt, _ in part],
                [SamplingParams(**sampling(how, prompt, sample)) for prompt, sample in part],
                use_tqdm=False,
            )
            made = [list(output.outputs[0].token_ids) for output in outputs]
            yield [
                made_answer(self.prompter.text, prompt, sample, tokens, how)
                for (prompt, sample), tokens in zip(part, made, strict=True)
            ]


def require_plain(model_type: str, path: str) -> None:
    """Raises:
    ModelError: the architecture is one of wmtp's own.
    """
    if model_type.startswith("wmtp"):
        raise ModelError(
            f"{path} has further heads, which vLLM does not know: write its head 0 by `wmtp export {path} DST` first"
        )


def sampling(decoding: Decoding, prompt: Prompt, sample: int | str) -> dict[str, Any]:
    """vLLM's parameters of one completion. Special tokens are spelt out, so that stop strings find them."""
    is_greedy = sample == GREEDY or decoding.temperature == 0
    return {
        "temperature": 0.0 if is_greedy else decoding.temperature,
        "top_p": 1.0 if is_greedy else decoding.top_p,
        "seed": row_key(decoding.seed, prompt.task_id, sample) >> 1,  # it has to fit a signed integer
        "max_tokens": decoding.max_new_tokens,
        "stop": list(decoding.stop),
        "stop_token_ids": list(decoding.eos_token_ids),
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    }
