"""Low-rank adapters through PEFT, and their way back into plain weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from wmtp.checks import require
from wmtp.distributed import seed_everything
from wmtp.models.parts import without_wrappers

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

    from wmtp.config.training import LoraConfig
    from wmtp.models.mtp import MTPForCausalLM


def add_adapters(model: MTPForCausalLM, config: LoraConfig, seed: int) -> None:
    """Put adapters on `config.targets` of every decoder block, in place, and freeze everything else.

    With `config.full_heads` the further heads have none, and stay free.

    Args:
        seed: of the adapters' first factors (the second ones are zero), whatever was drawn before.
    Raises:
        ConfigError: blocks have no matrices of such a name; those that they have are named.
    """
    import peft

    own = {id(module) for head in model.heads[1:] for module in head.modules()} if config.full_heads else set()
    blocks = [places[index] for places, index in model.blocks()]
    linear = (nn.Linear, Conv1D)
    inside = {id(module) for block in blocks for module in block.modules() if isinstance(module, linear)} - own
    names = [name for name, module in model.named_modules() if id(module) in inside]
    known = sorted({name.rpartition(".")[2] for name in names})
    for target in config.targets:
        require(target in known, "model.lora.targets", target, f"one of {', '.join(known)}, which this model's blocks have")
    chosen = [name for name in names if name.rpartition(".")[2] in config.targets]
    seed_everything(seed)
    settings = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=chosen)
    with _on_the_cpu([model.get_submodule(name) for name in chosen]):
        peft.inject_adapter_in_model(settings, model)
    if config.full_heads:
        model.heads[1:].requires_grad_(True)


@contextmanager
def _on_the_cpu(matrices: Sequence[nn.Module]) -> Iterator[None]:
    """Adapters are put where their matrices are, and have their numbers now: so these are on the CPU meanwhile, of no size."""
    weights = {matrix: cast(nn.Parameter, matrix.weight) for matrix in matrices}
    empty = {matrix: weight for matrix, weight in weights.items() if weight.is_meta}
    for matrix, weight in empty.items():
        matrix.weight = nn.Parameter(torch.zeros((), dtype=weight.dtype).expand(weight.shape))
    yield
    for matrix, weight in empty.items():
        matrix.weight = weight.requires_grad_(bool(matrix.weight.requires_grad))


def adapted(model: nn.Module) -> dict[str, LoraLayer]:
    """The layers with adapters by their names in the model's state; none of a model without."""
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        return {}  # without peft, whose import takes longer than a small model's saving
    from peft.tuners.lora import LoraLayer

    return {without_wrappers(name): module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def merged(name: str, read: Callable[[str], torch.Tensor], layers: Mapping[str, LoraLayer]) -> torch.Tensor:
    """A tensor of a model's state, or, of an adapted matrix, `W + scaling * B A`.

    Args:
        read: gives whole tensors of the state by name. layers: see `adapted`.
    Source: Hu et al. 2021, arXiv 2106.09685, equation 3.
    """
    weight = read(name)
    prefix, found, rest = name.partition(".base_layer.")
    if not found or rest != "weight":
        return weight
    update = read(f"{prefix}.lora_B.default.weight").float() @ read(f"{prefix}.lora_A.default.weight").float()
    if getattr(layers[prefix], "fan_in_fan_out", False):  # GPT-2's matrices stand the other way round
        update = update.T
    return (weight.float() + layers[prefix].scaling["default"] * update).to(weight.dtype)
