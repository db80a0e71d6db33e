"""Which of transformers' implementations computes attention, proven to compute what the family's own choice does."""

from __future__ import annotations

from torch import nn

from wmtp.errors import ConfigError, ModelError, first_line
from wmtp.models.load import differing, proof_logits, ready_for_proof
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.slices import gathered


def use_attention(whole: nn.Module, model: MTPForCausalLM, implementation: str, key: str, *, is_narrow: bool) -> None:
    """From now on attention is computed by `implementation`. All ranks call it.

    Args:
        whole: `model`, sharded, or what it is the backbone of; key: of the configuration, for errors; is_narrow: it computes in
            16 bits.
    Raises:
        ConfigError: the family, or what is installed here, has no such implementation.
        ModelError: random tokens, more than a window and some behind padding, have other logits than before.
    """

    def fault() -> str | None:
        due_BTV = proof_logits(model)
        model.set_attn_implementation(implementation)
        return differing({"head 0": (proof_logits(model), due_BTV)}, model, is_narrow=is_narrow)

    try:
        with ready_for_proof(model):
            found = gathered(whole, model.unembedding, fault)
    except (ImportError, NotImplementedError, ValueError) as error:
        reason = first_line(error).partition(". ")[0]  # the advice after it is for whoever wrote the program
        raise ConfigError(f"{key}={implementation} cannot be used here: {reason}") from error
    if found:
        raise ModelError(f"{key}={implementation}: {found}")
