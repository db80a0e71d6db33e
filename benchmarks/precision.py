"""What bfloat16 master weights cost: the held-out NLL of a small Llama after AdamW, by how its weights are kept and rounded.

    python benchmarks/precision.py          # a minute on one core

A Markov chain of 53 symbols is learnt for 150 steps at two learning rates, forward and backward in float32 in every case, so
that what differs is the weights' and the states' rounding alone. The chain's own entropy is what no model can go below.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from wmtp.training.narrow_adamw import NarrowAdamW

SYMBOLS, LENGTH, BATCH = 53, 64, 32
RATES = (3e-3, 1e-4)
MASTERS: dict[str, tuple[torch.dtype, Callable[..., torch.optim.Optimizer]]] = {
    "float32": (torch.float32, torch.optim.AdamW),
    "stochastic": (torch.bfloat16, NarrowAdamW),
    "kahan": (torch.bfloat16, lambda *args, **options: NarrowAdamW(*args, compensated=True, **options)),
    "bfloat16 as it is": (torch.bfloat16, torch.optim.AdamW),
}


def chain() -> torch.Tensor:
    """Probabilities of the next symbol, (symbol, next)."""
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.randn(SYMBOLS, SYMBOLS, generator=generator)).softmax(dim=-1)


def texts(probabilities: torch.Tensor, number: int, generator: torch.Generator) -> torch.Tensor:
    """(number, LENGTH) symbols of the chain."""
    rows = [torch.randint(SYMBOLS, (number,), generator=generator)]
    for _ in range(LENGTH - 1):
        rows.append(torch.multinomial(probabilities[rows[-1]], 1, generator=generator).squeeze(1))
    return torch.stack(rows, dim=1)


def held_out_nll(masters: str, lr: float, steps: int, probabilities: torch.Tensor) -> float:
    """Nats per symbol."""
    dtype, optimizer_of = MASTERS[masters]
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=SYMBOLS, max_position_embeddings=LENGTH, **sizes))
    kept = {name: torch.nn.Parameter(value.detach().to(dtype)) for name, value in model.named_parameters()}
    optimizer = optimizer_of(list(kept.values()), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)

    def nll(ids: torch.Tensor) -> Any:
        wide = {name: value.float() for name, value in kept.items()}
        return torch.func.functional_call(model, wide, (), {"input_ids": ids, "labels": ids}).loss

    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        nll(texts(probabilities, BATCH, generator)).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return float(nll(texts(probabilities, 512, torch.Generator().manual_seed(2))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    probabilities = chain()
    print(f"held-out NLL after {steps} steps of AdamW, nats per symbol")
    print(f"{'masters':>18} " + " ".join(f"{f'lr {lr:g}':>9}" for lr in RATES))
    for masters in MASTERS:
        print(
            f"{masters:>18} " + " ".join(f"{held_out_nll(masters, lr, steps, probabilities):>9.4f}" for lr in RATES), flush=True
        )
    stationary = torch.linalg.matrix_power(probabilities.double(), 64)[0]
    entropy = -(stationary.unsqueeze(1) * probabilities.double() * probabilities.double().log()).sum()
    print(f"the chain's own entropy: {entropy:.4f}")


if __name__ == "__main__":
    main()
