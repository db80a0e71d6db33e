"""Low-rank adapters through PEFT, and their way back into plain weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from wmtp.distributed import seed_everything

if TYPE_CHECKING:
    from wmtp.config.training import LoraConfig


def add_adapters(model: nn.Module, config: LoraConfig, seed: int) -> None:
    """Put adapters on `config.targets` of every decoder block, in place, and freeze everything else.

    Args:
        seed: of the adapters' first factors (the second ones are zero), whatever was drawn before.
    """
    import peft

    seed_everything(seed)
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(config.targets)
    )
    peft.inject_adapter_in_model(settings, model)


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
