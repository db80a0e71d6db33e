"""How many floating-point operations a training step is by itself, whatever the implementation spends on it.

Of real tokens and targets: padding, recomputation and passes without gradient are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from wmtp.models.mtp import MTPForCausalLM

_WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
_ATTENTION = {"full_attention", *_WINDOWS}


@dataclass(frozen=True)
class Attention:
    """One layer's: operations for each pair of a query and a key, and how far back keys go. `span` None: to the start."""

    per_pair: float
    span: int | None = None
    is_chunked: bool = False

    def pairs(self, lengths_N: np.ndarray) -> np.ndarray:
        """Of causal rows of so many tokens, a token with itself included."""
        whole = lengths_N * (lengths_N + 1) // 2
        if self.span is None:
            return whole
        chunks, rest = np.divmod(lengths_N, self.span)
        full = self.span * (self.span + 1) // 2
        if self.is_chunked:
            return chunks * full + rest * (rest + 1) // 2
        return np.where(lengths_N > self.span, full + (lengths_N - self.span) * self.span, whole)


@dataclass(frozen=True)
class ModelFlops:
    """Operations of a forward and a backward pass: for each token, for each target of a head, and of attention.

    `num_heads`: that have targets.
    """

    per_token: float
    per_target: float
    attention: tuple[Attention, ...]
    num_heads: int

    def of_documents(self, lengths_N: np.ndarray, num_targets: int) -> float:
        """Of documents of so many tokens, and of so many targets of all heads together."""
        pairs = sum(layer.per_pair * float(layer.pairs(lengths_N).sum()) for layer in self.attention)
        return self.per_token * float(lengths_N.sum()) + self.per_target * num_targets + pairs


def model_flops(model: nn.Module, *, frozen_trunk: bool = False) -> ModelFlops:
    """Of a multi-token model, a critic, or any module of matrices alone; sharded or not.

    Every parameter of two or more dimensions but the embeddings is a matrix that every token is multiplied with: 2 operations
    for each number forward, 2 backward for the inputs' gradient, 2 for its own where it is trained. Of a layer's experts a
    token meets `num_experts_per_tok`. Attention: products of queries with keys and of probabilities with values, over causal
    pairs. What recurrent layers do beside their matrices is not counted.

    Args:
        frozen_trunk: only further heads are trained; everything else runs forward alone.
    Source: Kaplan et al. 2020, arXiv 2001.08361, section 2.1; Chowdhery et al. 2022 (PaLM), arXiv 2204.02311, appendix B.
    """
    backbone = _backbone(model)
    further = {p for head in (backbone.heads[1:] if backbone is not None else ()) for p in head.parameters()}
    unembedding = backbone.unembedding.lm_head if backbone is not None else None
    per_token = 0.0
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) or module is unembedding:
            continue
        share = _share(name, backbone)
        for parameter in module.parameters(recurse=False):
            if parameter.ndim >= 2:
                passes = 1 if frozen_trunk and parameter not in further else 2 + parameter.requires_grad
                per_token += 2.0 * parameter.numel() * share * passes
    if backbone is None or unembedding is None:
        return ModelFlops(per_token, 0.0, (), 0)
    num_heads = len(backbone.heads) if model is backbone else 0
    passes = 2 + (unembedding.weight.requires_grad and not frozen_trunk)
    per_target = 2.0 * unembedding.weight.numel() * passes
    attention = tuple(_attention(backbone.config.decoder_config, len(backbone.heads), frozen_trunk))
    return ModelFlops(per_token, per_target if num_heads else 0.0, attention, num_heads)


def _backbone(model: nn.Module) -> MTPForCausalLM | None:
    found = model if isinstance(model, MTPForCausalLM) else getattr(model, "backbone", None)
    return found if isinstance(found, MTPForCausalLM) else None


def _share(name: str, backbone: MTPForCausalLM | None) -> float:
    """Of a module's numbers that a token meets."""
    if backbone is None or "experts" not in name.split("."):
        return 1.0
    config: Any = backbone.config.decoder_config
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    num_experts = next(getattr(config, key) for key in names if getattr(config, key, None))
    return float(config.num_experts_per_tok / num_experts)


def _attention(config: Any, num_heads: int, frozen_trunk: bool) -> Iterator[Attention]:
    """Of every layer, the further heads' being of the last one's kind."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    width_k, width_v = getattr(config, "qk_head_dim", None) or width, getattr(config, "v_head_dim", None) or width
    kinds = list(getattr(config, "layer_types", None) or [_only_kind(config)] * config.num_hidden_layers)
    for layer, kind in enumerate(kinds + [kinds[-1]] * (num_heads - 1)):
        if kind in _ATTENTION:
            passes = 1 if frozen_trunk and layer < len(kinds) else 3
            span = getattr(config, _WINDOWS[kind], None) if kind in _WINDOWS else None
            yield Attention(2.0 * heads * (width_k + width_v) * passes, span, kind == "chunked_attention")


def _only_kind(config: Any) -> str:
    has_window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return "sliding_attention" if has_window else "full_attention"
