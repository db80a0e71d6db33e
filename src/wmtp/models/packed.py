"""Whether documents in one row keep to themselves, whatever the decoder is made of: seen on random tokens before training.

transformers tells pieces by `position_ids` that start again, and masks attention by them in all families that make their masks
with it, for every implementation of attention but flash (which does so for batches of one row). Convolutions, states and
families of their own may do nothing of the kind, and say nothing.

Shapes: B batch, T sequence, H heads, N targets.
"""

from __future__ import annotations

import torch
from torch.distributed.fsdp import FSDPModule

from wmtp.errors import ModelError
from wmtp.models.load import PROOF_RTOL, PROOF_RTOL_NARROW, ready_for_proof
from wmtp.models.mtp import MTPForCausalLM
from wmtp.objectives.shift import shift_labels
from wmtp.types import IGNORE_INDEX

_ROWS = ((17, 23), (5, 1, 34))
"""Tokens of the pieces in each row of the proof; longer than the windows that it shortens, and than a convolution."""


def prove_packed(model: MTPForCausalLM, where: str, *, is_narrow: bool = False) -> None:
    """Every target's NLL is the same in packed rows as where each piece is a row. All ranks call it, of a sharded model.

    Args:
        where: how errors name the model; is_narrow: it computes in 16 bits.
    Raises:
        ModelError: on every rank: it is not.
    """
    stride, heads = model.config.head_stride, model.config.n_future
    generator = torch.Generator().manual_seed(0)
    pieces = [torch.randint(model.config.vocab_size, (n,), generator=generator) for row in _ROWS for n in row]
    packed_BT = torch.cat(pieces).view(len(_ROWS), -1)
    segments_BT = torch.cat([torch.full_like(piece, i) for i, piece in enumerate(pieces)]).view_as(packed_BT)
    positions_BT = torch.cat([torch.arange(len(piece)) for piece in pieces]).view_as(packed_BT)
    alone_BT = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=IGNORE_INDEX)
    packed = shift_labels(packed_BT, heads, segments_BT, stride=stride)
    alone = shift_labels(alone_BT, heads, stride=stride)
    with ready_for_proof(model):
        found_N = _nll(model, packed_BT, packed, position_ids=positions_BT.to(model.device))
        due_N = _nll(model, alone_BT.clamp(min=0), alone)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # whoever asks for parameters now is to be given those that are trained
    difference = (found_N - due_N).abs().max().item()
    if not difference <= (PROOF_RTOL_NARROW if is_narrow else PROOF_RTOL) * due_N.abs().max().item():
        raise ModelError(
            f"{where}: a {model.config.decoder_config.model_type} model cannot learn from packed documents: an NLL differs by "
            f"{difference:.2g} from that of the document alone, so its tokens see, or count, what stands before it in the row"
        )


def _nll(model: MTPForCausalLM, ids_BT: torch.Tensor, labels_BTH: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
    """Of the targets, (N,) float64, in the order of pieces, tokens and heads."""
    labels_BTH = labels_BTH.to(model.device)
    nll_BTH = model(input_ids=ids_BT.to(model.device), labels_BTH=labels_BTH, **inputs).nll_BTH
    return nll_BTH[labels_BTH != IGNORE_INDEX].double()
