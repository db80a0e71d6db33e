"""Whether a model continues texts here as it does on its own: tried out on a few tokens before anything is completed.

Families differ in what they take, and in where they keep their state: one that a cache does not hold is another row's as soon
as rows are repeated or leave the batch.

Shapes: R rows, B prompts, T positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch

from wmtp.errors import ModelError, first_line
from wmtp.evaluation.kv_cache import cache_argument, growing_cache, select_rows, step_arguments
from wmtp.tokens.encode import TextTokenizer

_TEXT = "def area(width, height):\n    # of a rectangle, in m\n    return width * height\n"
_LENGTHS, _NUM_STEPS = (7, 11), 6
_ROWS, _STAY = (1, 0, 1), (1, 2)
"""Which prompt each row continues, and the rows that stay after half of the steps."""

_RTOL, _RTOL_NARROW = 1e-3, 0.2
"""Of the largest logit, in float32 and in 16 bits, where experts may be chosen otherwise. A state that is another row's
differs by more."""


@torch.inference_mode()
def prove_completions(model: Any, text: TextTokenizer, where: str) -> None:
    """Logits with a cache, for prompts of two lengths of which one is repeated, against those of each row alone without one.

    Args:
        model: on its device, in evaluation mode. where: how errors name it.
    Raises:
        ModelError: they differ, or the model does not run like this.
    """
    kind = model.config.model_type
    positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if positions is not None and positions < max(_LENGTHS) + _NUM_STEPS:
        return
    known = torch.tensor(sorted(set(text.encode_prompt(_TEXT))))
    generator = torch.Generator().manual_seed(0)
    draws_RT = torch.randint(len(known), (len(_ROWS), max(_LENGTHS) + _NUM_STEPS), generator=generator)
    ids_RT = known[draws_RT].to(next(model.parameters()).device)
    ids_RT[2, : _LENGTHS[1]] = ids_RT[0, : _LENGTHS[1]]
    try:
        pairs = _pairs(model, ids_RT)
    except Exception as error:  # families are unlike one another
        raise ModelError(f"{where}: a {kind} model cannot complete texts here: {first_line(error)}") from error
    rtol = _RTOL if next(model.parameters()).itemsize > 2 else _RTOL_NARROW
    for found_RV, due_RV in pairs:
        difference = (found_RV.double() - due_RV.double()).abs().max().item()
        if not difference <= rtol * due_RV.abs().max().item():
            what = f"with a cache its logits differ by {difference:.2g}"
            raise ModelError(f"{where}: a {kind} model does not complete texts here as it does on its own: {what}")


def _pairs(model: Any, ids_RT: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Step by step, (R, V): the logits with a cache, and each row's own."""
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
    made = model(**step_arguments(argument, cache, ids_BT, mask_BT, places_BT)).logits[:, -1]
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
