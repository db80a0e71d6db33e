"""Multi-token prediction on transformers' Llama layers: one trunk, H parallel heads, one norm, one unembedding.

Shapes: B batch, T sequence, H heads, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers import initialization as init
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding

from wmtp.objectives.linear_nll import ScaleGuess, linear_nll
from wmtp.objectives.loss import mtp_loss
from wmtp.objectives.shift import heads_first, shift_labels

_IMPORT_FIRST = (
    "This is a multi-token model of wmtp. `import wmtp.models` makes it known to transformers (pip install wmtp); "
    "`wmtp export` writes it as a plain model, which needs no wmtp."
)
"""What transformers says where it is asked for such a model and wmtp was not imported, see `MTPConfig.to_dict`."""


@strict
class MTPConfig(LlamaConfig):
    """A Llama configuration with `n_future` heads.

    `num_hidden_layers` counts trunk layers and heads together (the paper's parameter matching).
    `embedding_multiplier` scales the input embeddings (sqrt(D) for models initialised here, 1 for converted ones).
    """

    model_type = "wmtp_mtp"
    n_future: int = 1
    embedding_multiplier: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """With an `auto_map`, whose repository transformers names before it refuses a model type that it does not know."""
        return {**super().to_dict(), "auto_map": {"AutoConfig": f"{_IMPORT_FIRST}--wmtp.MTPConfig"}}

    @property
    def num_trunk_layers(self) -> int:
        return self.num_hidden_layers - self.n_future


@dataclass
class MTPOutput(CausalLMOutputWithPast):
    """`logits` are head 0's. `nll_BTH`, `entropy_BTH`: only when `labels_BTH` was given (and entropy asked for)."""

    nll_BTH: torch.Tensor | None = None
    entropy_BTH: torch.Tensor | None = None


def _entropy(logits_NV: torch.Tensor) -> torch.Tensor:
    """Of each row's softmax, nats. NaN where the logits are: a broken step is the loop's to end, on every rank at once."""
    return torch.distributions.Categorical(logits=logits_NV, validate_args=False).entropy()


class Unembedding(nn.Module):
    """Owns the final norm and the unembedding, so that both are gathered where FSDP expects them."""

    def __init__(self, config: MTPConfig) -> None:
        super().__init__()
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.lm_head(self.norm(hidden_BTD))
        return logits

    def nll(
        self,
        hidden_HBTD: Sequence[torch.Tensor],
        labels_BTH: torch.Tensor,
        scale_BTH: torch.Tensor | None = None,
        guess: ScaleGuess | None = None,
    ) -> torch.Tensor:
        """NLL of every head's targets, (B, T, H), float32, 0 where ignored.

        One call for all heads: the weights are gathered once and one weight gradient accumulates.

        Args:
            hidden_HBTD: each head's output.
            scale_BTH: the gradient of the loss with respect to the result where it is known ahead, see `linear_nll`.
            guess: what can be told of it on the way, see `linear_nll`; rows are in `heads_first` order.
        """
        rows_ND = torch.cat([self.norm(hidden_BTD).flatten(0, 1) for hidden_BTD in hidden_HBTD])
        scale_N = None if scale_BTH is None else heads_first(scale_BTH)
        nll_N = linear_nll(rows_ND, self.lm_head.weight, heads_first(labels_BTH), scale_N=scale_N, guess=guess)
        return torch.stack(nll_N.view(-1, *labels_BTH.shape[:2]).unbind(), dim=-1)

    @torch.no_grad()
    def entropy(self, hidden_BTD: torch.Tensor, rows: int = 1024) -> torch.Tensor:
        """Predictive entropy in nats at every position, float32."""
        flat_ND = self.norm(hidden_BTD).flatten(0, 1)
        parts = [_entropy(self.lm_head(part).float()) for part in flat_ND.split(rows)]
        return torch.cat(parts).view(hidden_BTD.shape[:2])


class MTPForCausalLM(PreTrainedModel, GenerationMixin):
    """Head h at position t predicts token t+1+h. Without `labels_BTH` only the trunk and head 0 run.

    Source: Gloeckle et al. 2024, arXiv 2404.19737.
    """

    config_class = MTPConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = False
    _no_split_modules = ["LlamaDecoderLayer"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _tied_weights_keys = {"unembedding.lm_head.weight": "embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: MTPConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        trunk = config.num_trunk_layers
        self.layers = nn.ModuleList([LlamaDecoderLayer(config, i) for i in range(trunk)])
        self.heads = nn.ModuleList([LlamaDecoderLayer(config, trunk + h) for h in range(config.n_future)])
        self.rotary_emb = LlamaRotaryEmbedding(config)
        self.unembedding = Unembedding(config)
        for block in (*self.layers, *self.heads):
            for linear in (block.self_attn.o_proj, block.mlp.down_proj):
                linear.writes_residual = True
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Embeddings of std 1/sqrt(D) scaled back up at the input; matrices of std 1/sqrt(fan_in); blocks start as identity."""
        if isinstance(module, nn.Linear):
            std = 0.0 if getattr(module, "writes_residual", False) else module.in_features**-0.5
            init.normal_(module.weight, mean=0.0, std=std)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=module.embedding_dim**-0.5)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed_tokens = cast(nn.Embedding, value)

    def get_output_embeddings(self) -> nn.Module:
        return self.unembedding.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.unembedding.lm_head = new_embeddings

    # ------------------------------------------------------------------------------- forward

    def _prepare(
        self,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        past_key_values: Any,
    ) -> dict[str, Any]:
        """Keyword arguments that every decoder layer takes."""
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + seen).unsqueeze(0)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        return {
            "attention_mask": mask,
            "position_ids": position_ids,
            "position_embeddings": self.rotary_emb(inputs_embeds, position_ids=position_ids),
            "past_key_values": past_key_values,
            "use_cache": past_key_values is not None,
        }

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Scaled input embeddings, (B, T, D)."""
        embeds: torch.Tensor = self.embed_tokens(input_ids) * self.config.embedding_multiplier
        return embeds

    def _trunk(self, inputs_embeds: torch.Tensor, layer_args: dict[str, Any]) -> torch.Tensor:
        hidden_BTD = inputs_embeds
        for layer in self.layers:
            hidden_BTD = layer(hidden_BTD, **layer_args)
        return hidden_BTD

    def features(self, inputs_embeds: torch.Tensor) -> torch.Tensor:
        """Head 0's normalised hidden states for right-padded embeddings, (B, T, D); what the critic's value head reads."""
        layer_args = self._prepare(inputs_embeds, None, None, None)
        normed: torch.Tensor = self.unembedding.norm(self.heads[0](self._trunk(inputs_embeds, layer_args), **layer_args))
        return normed

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        *,
        labels_BTH: torch.Tensor | None = None,
        scale_BTH: torch.Tensor | None = None,
        guess: ScaleGuess | None = None,
        return_entropy: bool = False,
        **kwargs: Any,
    ) -> MTPOutput:
        """Next-token logits, or the NLL of every head.

        Args:
            input_ids: (B, T) int64; attention_mask: (B, T), 0 on padding (training batches are right-padded and need none).
            labels: (B, T) unshifted labels as Hugging Face has them; sets `loss` to the mean over heads.
            labels_BTH: targets per head (see `shift_labels`); `nll_BTH` comes back and no logits are made. Of fewer heads than
                there are, the first: no others run.
            scale_BTH: the gradient of the loss with respect to `nll_BTH` where it is known ahead (up to one factor):
                spares the backward pass a quarter of the unembedding's work, see `linear_nll`.
            guess: the same for what can only be told on the way, see `Unembedding.nll`.
            return_entropy: also return each head's predictive entropy (no gradient).
            logits_to_keep: logits of the last positions only (0 for all).
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids)
        if labels is not None and labels_BTH is None:
            labels_BTH = shift_labels(labels, self.config.n_future)
        if use_cache and past_key_values is None and labels_BTH is None:
            past_key_values = DynamicCache(config=self.config)
        layer_args = self._prepare(inputs_embeds, attention_mask, position_ids, past_key_values)
        trunk_BTD = self._trunk(inputs_embeds, layer_args)
        if labels_BTH is None:
            hidden_BTD = self.heads[0](trunk_BTD, **layer_args)
            return MTPOutput(logits=self.unembedding(hidden_BTD[:, -logits_to_keep:]), past_key_values=past_key_values)
        hidden_HBTD = [head(trunk_BTD, **layer_args) for head in islice(self.heads, labels_BTH.shape[-1])]
        nll_BTH = self.unembedding.nll(hidden_HBTD, labels_BTH, scale_BTH, guess)
        entropies = [self.unembedding.entropy(hidden_BTD) for hidden_BTD in hidden_HBTD] if return_entropy else []
        return MTPOutput(
            loss=None if labels is None else mtp_loss(nll_BTH, labels_BTH).loss,
            nll_BTH=nll_BTH,
            entropy_BTH=torch.stack(entropies, dim=-1) if entropies else None,
        )

    def head_hidden(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        num_heads: int | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """What the first `num_heads` heads (all by default) hand to the unembedding, each (B, T, D); fills their caches."""
        embeds = self.embed(input_ids)
        layer_args = self._prepare(embeds, attention_mask, position_ids, past_key_values)
        trunk_BTD = self._trunk(embeds, layer_args)
        return tuple(head(trunk_BTD, **layer_args) for head in self.heads[:num_heads])

    def head_logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Logits of every head, H tensors (B, T, V): for small evaluations and tests."""
        return tuple(self.unembedding(hidden_BTD) for hidden_BTD in self.head_hidden(input_ids, attention_mask))


AutoConfig.register(MTPConfig.model_type, MTPConfig)
AutoModelForCausalLM.register(MTPConfig, MTPForCausalLM)
