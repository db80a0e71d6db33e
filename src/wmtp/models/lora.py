"""Low-rank adapters through PEFT, and their way back into plain weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from wmtp.checks import require
from wmtp.distributed import seed_everything

if TYPE_CHECKING:
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
    peft.inject_adapter_in_model(settings, model)
    if config.full_heads:
        model.heads[1:].requires_grad_(True)


def merge_adapters(model: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """A full state dict with `W + scaling * B A` for every adapted W, under the names that W has without adapters.

    Args:
        model: what the state was taken from; one without adapters gives the state back.
        state: whole tensors (empty on ranks that hold none).
    Source: Hu et al. 2021, arXiv 2106.09685, equation 3.
    """
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        return state  # without peft, whose import takes longer than a small model's saving
    from peft.tuners.lora import LoraLayer

    (scaling,) = {module.scaling["default"] for module in model.modules() if isinstance(module, LoraLayer)}
    merged = {name: tensor for name, tensor in state.items() if ".lora_" not in name and ".base_layer." not in name}
    for name, weight in state.items():
        prefix, found, rest = name.partition(".base_layer.")
        if found:
            update = state[f"{prefix}.lora_B.default.weight"].float() @ state[f"{prefix}.lora_A.default.weight"].float()
            merged[f"{prefix}.{rest}"] = (weight.float() + scaling * update).to(weight.dtype)
    return merged
