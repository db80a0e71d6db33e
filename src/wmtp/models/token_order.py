"""What token-order prediction adds to a model while it is trained, and what is never saved with it."""

from __future__ import annotations

from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.slices import fill_alike
from wmtp.models.unembedding import TokenOrder

_NAME = "token_order."


def add_token_order(model: MTPForCausalLM) -> None:
    """Give the model a `TokenOrder`, whatever else of it is trained; before it is sharded."""
    head = model.unembedding.lm_head
    model.token_order = TokenOrder(head, model.unembedding.rule)
    fill_alike(model, f"{_NAME}lm_head.weight", head.weight)


def is_of_token_order(name: str) -> bool:
    """Whether a parameter of this name is left out of what is saved."""
    return name.startswith(_NAME)
