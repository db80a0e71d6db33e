"""Models on texts: generation, the NLL of every token under every head, the critic's value of every token.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from wmtp import model_files
from wmtp.checks import require_several
from wmtp.evaluation.completer import Completer
from wmtp.evaluation.drafts import require_drafts
from wmtp.evaluation.generate import Decoding, Prompt, generate
from wmtp.evaluation.results import Answer
from wmtp.models.load import from_causal_lm
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.value import ValueModel, load_value_model
from wmtp.objectives.shift import shift_labels
from wmtp.tokens.data import Batch, TokenData, TokenMeta, sequential_batches
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.tokenizer import load_tokenizer
from wmtp.training.scoring import ScoreFunction, critic_values
from wmtp.types import IGNORE_INDEX

if TYPE_CHECKING:
    import pandas as pd

BATCH_TOKENS = 4096
"""Padded tokens of one forward pass."""


@dataclass(frozen=True)
class Example:
    """A solution in its context: what a training row is made of."""

    prompt: str
    solution: str
    is_correct: bool = True


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model with its tokenizer. `model.config.n_future`: how many heads it has."""

    model: MTPForCausalLM
    text: TextTokenizer
    eos_token_ids: tuple[int, ...]

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 128,
        num_samples: int = 0,
        temperature: float = 0.8,
        top_p: float = 0.95,
        seed: int = 0,
        num_drafts: int = 0,
        stop: Sequence[str] = (),
        batch_size: int = 64,
    ) -> list[Answer]:
        """Continue prompts: greedily where no samples are asked for, and with that many draws where they are.

        Args:
            num_drafts: tokens that the further heads propose per forward pass: changes the speed, not the text.
            stop: a completion ends before the first of these.
        Returns:
            prompt by prompt, its samples in order; `completion` is the text, `num_tokens` and `num_forwards` what it took.
        Raises:
            ValueError: an empty prompt, or no token to make.
            ConfigError: more proposals than there are heads for.
            EvaluationError: proposals from a model that cannot take tokens back.
        """
        require_several(prompts, "prompts", str)
        require_drafts(self.model, num_drafts)
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 1")
        decoding = Decoding(
            num_samples=num_samples,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            num_drafts=num_drafts,
            greedy=num_samples == 0,
            eos_token_ids=self.eos_token_ids,
            stop=tuple(stop),
        )
        asked = [Prompt(f"{number:09d}", self.text.encode_prompt(prompt)) for number, prompt in enumerate(prompts)]
        return generate(self.model, self.text, asked, decoding)

    @torch.inference_mode()
    def nll(self, examples: Sequence[Example]) -> list[pd.DataFrame]:
        """NLL of every token of every example, in nats.

        Returns:
            per example a row for every token (`id`, `token`, `is_prompt`) with a column `nll_head<h>` for every head: the
            token's NLL given all tokens before it but the last h (times the heads' stride); NaN where a head sees nothing.
        """
        data = table_of(self.text, examples)
        frames, stride = frames_of(self.text, data), self.model.config.head_stride
        for batch in _batches(self.model, data):
            nll_BTH = all_token_nll(self.model, batch).float().cpu().numpy()
            for row, length, nll_TH in zip(batch.rows_B.tolist(), batch.lengths_B.tolist(), nll_BTH, strict=True):
                for h in range(nll_TH.shape[1]):
                    unseen = min(1 + h * stride, length)
                    frames[row][f"nll_head{h}"] = np.concatenate([[np.nan] * unseen, nll_TH[: length - unseen, h]])
        return frames


@dataclass(frozen=True, eq=False)
class Critic:
    """A model of V(s_t): the probability that the solution is correct, given the prefix up to and including a token."""

    model: ValueModel
    text: TextTokenizer

    @torch.inference_mode()
    def values(self, examples: Sequence[Example], reference: LanguageModel | None = None) -> list[pd.DataFrame]:
        """The value of every token.

        Args:
            reference: the tuned reference model, whose NLL of every token a critic reads unless it was trained without.
        Returns:
            per example a row for every token (`id`, `token`, `is_prompt`) with its `value`.
        Raises:
            ValueError: this critic reads the reference's NLL, and there is none.
        """
        data = table_of(self.text, examples, self._inputs(examples, reference))
        frames = frames_of(self.text, data)
        score: ScoreFunction = critic_values(self.model)
        for batch in _batches(self.model, data):
            values_BT = score(batch).float().cpu().numpy()
            for row, length, values_T in zip(batch.rows_B.tolist(), batch.lengths_B.tolist(), values_BT, strict=True):
                frames[row]["value"] = values_T[:length]
        return frames

    def _inputs(self, examples: Sequence[Example], reference: LanguageModel | None) -> dict[str, np.ndarray]:
        """The score columns that this critic reads, flat over all tokens."""
        if self.model.nll_projection is None:
            return {}
        if reference is None:
            raise ValueError("this critic reads the reference's NLL of every token: give `reference`")
        return {"reference_nll": flat_nll(reference, examples)}


def load_model(path_or_hub_id: str | Path, *, device: str = "cpu", revision: str | None = None) -> LanguageModel:
    """A policy, a reference, or any causal language model that heads can be put on (it has one head then).

    Raises:
        ModelError, DataError: no such model or tokenizer, or one that no heads can be put on.
    """
    completer = Completer.load(str(path_or_hub_id), torch.device(device), revision=revision)
    model: Any = completer.model
    if not isinstance(model, MTPForCausalLM):
        model = from_causal_lm(model, 1, f"model {path_or_hub_id}").eval()
    return LanguageModel(model, completer.prompter.text, completer.prompter.eos_token_ids)


def load_critic(folder: str | Path, *, device: str = "cpu") -> Critic:
    """What `train_critic` wrote.

    Raises:
        CheckpointError, DataError: no critic, or no tokenizer.
    """
    model_files.require_model(Path(folder), tokenizer=True)
    return Critic(load_value_model(Path(folder)).to(device).eval(), load_tokenizer(Path(folder)))


# ------------------------------------------------------------------------------- texts as rows


def table_of(text: TextTokenizer, examples: Sequence[Example], columns: Mapping[str, np.ndarray] | None = None) -> TokenData:
    """Examples as a token table; the columns are flat over all tokens.

    Raises:
        ValueError: no examples.
    """
    require_several(examples, "examples", Example)
    if not examples:
        raise ValueError("give at least one example")
    rows = text.encode_rows([(example.prompt, example.solution) for example in examples])
    lengths = np.array([len(row.ids) for row in rows])
    tokens = np.concatenate([np.array(row.ids, dtype=np.int32) for row in rows])
    is_correct = np.array([example.is_correct for example in examples])
    return TokenData(
        path=Path("the given examples"),
        meta=TokenMeta(
            vocab_size=text.vocab_size,
            largest_token_id=int(tokens.max()),
            eos_token_id=text.eos_token_id,
            pad_token_id=text.pad_token_id,
            max_length=int(lengths.max()),
            is_ordered=False,
        ),
        arrow=pa.table({"is_correct": is_correct}),
        fingerprint=b"",
        tokens=tokens,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        prompt_lens=np.array([row.prompt_len for row in rows], dtype=np.int32),
        is_correct=is_correct,
        selected=np.arange(len(rows)),
        columns=dict(columns or {}),
    )


def frames_of(text: TextTokenizer, data: TokenData) -> list[pd.DataFrame]:
    """Per example a row for every token: `id`, `token` (its text), `is_prompt`."""
    import pandas as pd

    frames = []
    for row, prompt_len in enumerate(data.prompt_lens.tolist()):
        ids = data.tokens[data.offsets[row] : data.offsets[row + 1]]
        tokens = [text.decode([token]) for token in ids.tolist()]
        frames.append(pd.DataFrame({"id": ids, "token": tokens, "is_prompt": np.arange(len(ids)) < prompt_len}))
    return frames


def all_token_nll(model: MTPForCausalLM, batch: Batch) -> torch.Tensor:
    """(B, T, H): entry (b, t, h) is the NLL of token t + 1 + h * stride, prompt included; 0 where there is none."""
    position = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
    labels_BT = batch.input_ids.masked_fill(position >= batch.lengths_B.unsqueeze(1), IGNORE_INDEX)
    labels_BTH = shift_labels(labels_BT, model.config.n_future, stride=model.config.head_stride)
    nll_BTH: torch.Tensor = model(input_ids=batch.input_ids, labels_BTH=labels_BTH).nll_BTH
    return nll_BTH


def flat_nll(model: LanguageModel, examples: Sequence[Example]) -> np.ndarray:
    """Head 0's NLL of all tokens of all examples, one after the other; 0 for the first of each, as score columns have it."""
    return np.concatenate([frame["nll_head0"].fillna(0.0).to_numpy(np.float32) for frame in model.nll(examples)])


def _batches(model: torch.nn.Module, data: TokenData) -> Iterator[Batch]:
    device = next(model.parameters()).device
    return (batch.to(device) for batch in sequential_batches(data, batch_tokens=BATCH_TOKENS))
