"""How a model completes texts here as it does on its own: tried out on a few tokens before anything is completed.

Families differ in what they take, and in where they keep their state: one that a cache does not hold is another row's as soon
as rows are repeated or leave the batch, or another prompt's.

Shapes: R rows, B prompts, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from wmtp.errors import ModelError, first_line
from wmtp.evaluation.generate import Generate, generate_batches
from wmtp.evaluation.kv_cache import cache_argument, growing_cache, select_rows, step_arguments
from wmtp.evaluation.plain import Plainly, decoder_start, positions
from wmtp.tokens.encode import TextTokenizer

PLAIN_WAYS = (Plainly(), Plainly(together=False), Plainly(use_cache=False))
"""From fast to slow."""

_TEXT = "def area(width, height):\n    # of a rectangle, in m\n    return width * height\n"
_LENGTHS, _NUM_STEPS = (7, 11), 6
_ROWS, _STAY = (1, 0, 1), (1, 2)
"""Which prompt each row continues, and the rows that stay after half of the steps."""

_RTOL, _RTOL_NARROW = 1e-3, 0.2
"""Of the largest logit, in float32 and in 16 bits, where experts may be chosen otherwise. A state that is another row's
differs by more."""

_Pairs = list[tuple[torch.Tensor, torch.Tensor]]
"""Logits (R, V) as they are found, and as they must be."""


def proven_way(model: Any, text: TextTokenizer, where: str) -> Generate:
    """The fastest way in which a model completes texts as it does on its own. Where it is not that of batches, a line says so.

    Args:
        model: on its device, in evaluation mode. where: how errors name it.
    Raises:
        ModelError: there is none.
    """
    if getattr(model.config, "attention_type", None) == "block_sparse":
        said = "turns its sparse attention off for good with the first short text"
        wanted = "config.json must say attention_type original_full"
        raise ModelError(f"{where}: a {model.config.model_type} model {said}: {wanted}")
    try:
        prove_batches(model, text, where)
        return generate_batches
    except ModelError as error:
        fault = error
    for way in PLAIN_WAYS:
        try:
            prove_plain(model, text, where, way)
        except ModelError as error:
            fault = error
        else:
            print(f"{where}: a {model.config.model_type} model completes {way}")
            return way
    raise fault


def prove_batches(model: Any, text: TextTokenizer, where: str) -> None:
    """Logits with a cache, for prompts of two lengths of which one is repeated, against those of each row alone without one.

    Raises:
        ModelError: they differ, or the model does not run like this.
    """
    if model.config.is_encoder_decoder:
        raise ModelError(f"{where}: a {model.config.model_type} model has an encoder: its prompts are not continued")
    _prove(model, text, where, _pairs)


def prove_plain(model: Any, text: TextTokenizer, where: str, way: Plainly) -> None:
    """The same of transformers' own generation, of one prompt after the other.

    Raises:
        ModelError: see `prove_batches`, or what the model reads is no text.
    """
    if model.main_input_name != "input_ids":
        kind, read = model.config.model_type, model.main_input_name
        raise ModelError(f"{where}: a {kind} model cannot complete texts here: it reads {read}, and no text alone")
    _prove(model, text, where, partial(_plain_pairs, way))


@torch.inference_mode()
def _prove(model: Any, text: TextTokenizer, where: str, pairs_of: Callable[[Any, torch.Tensor], _Pairs]) -> None:
    kind = model.config.model_type
    if any(number is not None and number < max(_LENGTHS) + _NUM_STEPS for number in positions(model)):
        return
    known = torch.tensor(sorted(set(text.encode_prompt(_TEXT))))
    generator = torch.Generator().manual_seed(0)
    draws_RT = torch.randint(len(known), (len(_ROWS), max(_LENGTHS) + _NUM_STEPS), generator=generator)
    ids_RT = known[draws_RT].to(next(model.parameters()).device)
    ids_RT[2, : _LENGTHS[1]] = ids_RT[0, : _LENGTHS[1]]
    try:
        pairs = pairs_of(model, ids_RT)
    except Exception as error:  # families are unlike one another
        raise ModelError(f"{where}: a {kind} model cannot complete texts here: {first_line(error)}") from error
    rtol = _RTOL if next(model.parameters()).itemsize > 2 else _RTOL_NARROW
    for found_RV, due_RV in pairs:
        difference = (found_RV.double() - due_RV.double()).abs().max().item()
        if not difference <= rtol * due_RV.abs().max().item():
            said = f"does not complete texts here as it does on its own: its logits differ by {difference:.2g}"
            raise ModelError(f"{where}: a {kind} model {said}")


def _plain_pairs(way: Plainly, model: Any, ids_RT: torch.Tensor) -> _Pairs:
    """Step by step the logits of rows that go on differently after the same prompt, and each row's own.

    As many rows go on after the next prompt, and nothing is asked between them: what is left of the one before would be found.
    """
    rows = torch.arange(2 if way.together else 1)
    pairs: _Pairs = []
    found = [_written(way, model, ids_RT[rows, : length + _NUM_STEPS], ids_RT[0, :length]) for length in _LENGTHS]
    for length, found_SRV in zip(_LENGTHS, found, strict=True):
        due = [_whole(model, ids_RT[0, :length], ids_T[length : length + _NUM_STEPS]) for ids_T in ids_RT[rows]]
        pairs += zip(found_SRV, torch.stack(due, dim=1), strict=True)
    return pairs


def _written(way: Plainly, model: Any, ids_RT: torch.Tensor, prompt_T: torch.Tensor) -> list[torch.Tensor]:
    """The logits of every step (R, V) where the rows' tokens behind the prompt are chosen."""
    logits: list[torch.Tensor] = []

    def choose(logits_RV: torch.Tensor) -> torch.Tensor:
        logits.append(logits_RV.clone())
        return ids_RT[:, len(prompt_T) + len(logits) - 1]

    way.write(model, prompt_T.expand(len(ids_RT), -1), _NUM_STEPS, choose)
    return logits


def _whole(model: Any, prompt_T: torch.Tensor, next_S: torch.Tensor) -> torch.Tensor:
    """The logits (S, V) of tokens behind a prompt in one forward pass."""
    start = decoder_start(model)
    if not start:
        ids_T = torch.cat([prompt_T, next_S])
        logits_TV: torch.Tensor = model(input_ids=ids_T[None, :-1], use_cache=False).logits[0]
    else:
        ids_T = torch.cat([next_S.new_tensor(start), next_S])
        logits_TV = model(input_ids=prompt_T[None], decoder_input_ids=ids_T[None, :-1], use_cache=False).logits[0]
    return logits_TV[-len(next_S) :]


def _pairs(model: Any, ids_RT: torch.Tensor) -> _Pairs:
    """Step by step the logits with a cache, and each row's own."""
    lengths_R = torch.tensor([_LENGTHS[prompt] for prompt in _ROWS])
    alone = [
        model(input_ids=ids_T[None, : length + _NUM_STEPS]).logits[0, length - 1 :]
        for ids_T, length in zip(ids_RT, lengths_R.tolist(), strict=True)
    ]
    width, argument, cache = max(_LENGTHS), cache_argument(model), growing_cache(model)
    rows = torch.tensor([_ROWS.index(prompt) for prompt in range(len(_LENGTHS))], device=ids_RT.device)
    mask_BT = (torch.arange(width) >= width - torch.tensor(_LENGTHS).unsqueeze(1)).long().to(ids_RT.device)
    places_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    ids_BT = ids_RT[rows].gather(1, places_BT)
    made = model(**step_arguments(argument, cache, ids_BT, mask_BT, places_BT), logits_to_keep=1).logits[:, -1]
    alive = list(range(len(_ROWS)))
    prompts = torch.tensor(_ROWS, device=ids_RT.device)
    select_rows(cache, prompts)
    mask_RT, found_RV, pairs = mask_BT[prompts], made[prompts], []
    for step in range(_NUM_STEPS):
        pairs.append((found_RV, torch.stack([alone[row][step] for row in alive])))
        if step == _NUM_STEPS // 2:
            keep = torch.tensor(_STAY, device=ids_RT.device)
            select_rows(cache, keep)
            alive, mask_RT = list(_STAY), mask_RT[keep]
        place_R = (lengths_R[alive] + step).unsqueeze(1).to(ids_RT.device)
        ids_R = ids_RT[alive].gather(1, place_R)
        mask_RT = torch.nn.functional.pad(mask_RT, (0, 1), value=1)
        found_RV = model(**step_arguments(argument, cache, ids_R, mask_RT, place_R)).logits[:, -1]
    return pairs
