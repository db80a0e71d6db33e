"""Completions by transformers' own `generate`, for models that the batches of `wmtp.evaluation.generate` do not fit: those with
an encoder, and those that keep their state in a way of their own.

One prompt at a time, and its samples as the rows of a batch, so that nothing is padded. Transformers runs the model, and the
tokens are chosen here, as everywhere: neither its draws nor the settings of `generation_config.json` count.

Shapes: R rows, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from wmtp.evaluation.generate import Decoding, OnPass, Prompt, Rows, row_batches
from wmtp.evaluation.results import Answer, SampleKey

if TYPE_CHECKING:
    from wmtp.tokens.encode import TextTokenizer

Choose = Callable[[torch.Tensor], torch.Tensor]
"""Logits of the next token (R, V), float32 -> tokens (R,)."""


def decoder_start(model: Any) -> tuple[int, ...]:
    """What a decoder beside an encoder starts with, before anything is chosen: its start token, and one that its settings
    force to be the first (a language's, for instance). Empty without an encoder, or where no start is named.
    """
    if not model.config.is_encoder_decoder:
        return ()
    settings = model.generation_config
    start = settings.bos_token_id if settings.decoder_start_token_id is None else settings.decoder_start_token_id
    return () if start is None else tuple(token for token in (start, settings.forced_bos_token_id) if token is not None)


def positions(model: Any) -> tuple[int | None, int | None]:
    """How many tokens an encoder reads at most and how many a decoder; without an encoder both are the decoder's, prompt and
    answer together. None where its settings name no number.
    """
    config = model.config
    decoder = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    if not config.is_encoder_decoder:
        return decoder, decoder
    encoder = getattr(getattr(config, "encoder", config), "max_position_embeddings", None)
    return (
        getattr(config, "max_encoder_position_embeddings", encoder),
        getattr(config, "max_decoder_position_embeddings", decoder),
    )


@dataclass(frozen=True)
class Plainly:
    """How a model is run, see `__call__`.

    use_cache: a forward pass reads the new token alone, and the whole text again where it is False. together: a prompt's
    samples are rows of one batch, and else each is one of its own.
    """

    use_cache: bool = True
    together: bool = True

    def __str__(self) -> str:
        rows, cache = ("" if self.together else " and a sample"), ("" if self.use_cache else ", without a cache")
        return f"a prompt{rows} at a time{cache}"

    @torch.inference_mode()
    def __call__(
        self,
        model: Any,
        text: TextTokenizer,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        *,
        done: Collection[SampleKey] = (),
        on_pass: OnPass | None = None,
    ) -> Iterator[list[Answer]]:
        """As `generate_batches`, with the rows of one batch handed over together.

        Args:
            done: completions that are not made again; on_pass: see `OnPass`.
        Raises:
            ValueError: an empty prompt.
        """
        device = next(model.parameters()).device
        how = decoding if self.together else replace(decoding, batch_size=1)
        for prompt in prompts:
            for rows in row_batches([prompt], how, done):
                yield self._made(model, prompt, Rows(text, rows, how, device), on_pass)

    def _made(self, model: Any, prompt: Prompt, rows: Rows, on_pass: OnPass | None) -> list[Answer]:
        made: list[Answer] = []

        def choose(logits_RV: torch.Tensor) -> torch.Tensor:
            rows.num_forwards += 1
            chosen_R = rows.choose(logits_RV, ahead=0)
            rows.record(chosen_R)
            made.extend(rows.ended(on_pass))
            return chosen_R

        ids_RT = torch.tensor([prompt.input_ids], device=rows.device).expand(len(rows.rows), -1)
        self.write(model, ids_RT, rows.decoding.max_new_tokens, choose, lambda: len(made) == len(rows.rows))
        return made

    def write(
        self,
        model: Any,
        ids_RT: torch.Tensor,
        max_new_tokens: int,
        choose: Choose,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Continue prompts of one length, or answer them, up to so many tokens, with what `choose` says that comes next.

        Args:
            is_over: asked after every choice, whether no more is wanted.
        """
        start = decoder_start(model)
        settings = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, use_cache=self.use_cache)
        inputs: dict[str, Any] = {}
        if start:
            settings.decoder_start_token_id = start[0]
            inputs["decoder_input_ids"] = torch.tensor([start], device=ids_RT.device).expand(len(ids_RT), -1)
            inputs["attention_mask"] = torch.ones_like(ids_RT)
        own, model.generation_config = model.generation_config, GenerationConfig()  # it would fill in what is not given
        try:
            model.generate(
                ids_RT,
                generation_config=settings,
                logits_processor=LogitsProcessorList([_Choice(choose)]),
                stopping_criteria=StoppingCriteriaList([_End(is_over)]),
                **inputs,
            )
        finally:
            model.generation_config = own


class _Choice(LogitsProcessor):
    """Leaves one token of each row, the chosen one."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen_R1 = self._choose(scores).unsqueeze(1)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen_R1, 0.0)


class _End(StoppingCriteria):
    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._is_over(), device=input_ids.device)
