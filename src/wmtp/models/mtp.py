"""Multi-token prediction on any of transformers' decoders: one trunk, H heads, one norm, one unembedding.

Shapes: B batch, T sequence, H heads, D width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import init_empty_weights
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from wmtp.model_types import MULTI_TOKEN
from wmtp.models.heads import HeadLayout, Heads, layers_name, norm_name, passed_by
from wmtp.models.unembedding import LogitRule, TokenOrder, Unembedding
from wmtp.objectives.linear_nll import ScaleGuess
from wmtp.objectives.loss import mtp_loss
from wmtp.objectives.shift import shift_labels
from wmtp.objectives.token_order import OrderTargets

_NO_DECODER = "config.json has no text_config: not a multi-token model, or one of an older wmtp; train it again"

_IMPORT_FIRST = (
    "This is a multi-token model of wmtp. Where wmtp is installed, `import wmtp.models` makes it known to transformers; "
    "`wmtp export` writes it as a plain model, which needs no wmtp."
)
"""What transformers says where it is asked for such a model and wmtp was not imported, see `MTPConfig.to_dict`."""


@strict
class MTPConfig(PreTrainedConfig):
    """`n_future` heads on a decoder.

    `text_config` is the whole configuration of the causal language model that head 0 is; its last layer is head 0. Further
    heads are further layers of that kind, which it does not count. `head_*`: see `HeadLayout`.
    """

    model_type = MULTI_TOKEN
    sub_configs_defaults = {"text_config": SubConfigSpec(AutoConfig, model_type="llama", optional=True)}  # noqa: RUF012

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    n_future: int = 1
    head_variant: str = "parallel"
    head_stride: int = 1
    head_reads: str = "trunk"

    def __post_init__(self, **kwargs: Any) -> None:
        if self.text_config is None and "hidden_size" in kwargs:
            raise ValueError(_NO_DECODER)
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """With an `auto_map`, whose repository transformers names before it refuses a model type that it does not know."""
        return {**super().to_dict(), "auto_map": {"AutoConfig": f"{_IMPORT_FIRST}--wmtp.MTPConfig"}}

    @property
    def layout(self) -> HeadLayout:
        """What its further heads are."""
        return HeadLayout(self.head_variant, self.head_stride, self.head_reads)

    @property
    def decoder_config(self) -> PreTrainedConfig:
        """`text_config`.

        Raises:
            ValueError: there is none: the folder is of another kind, or of a wmtp that knew Llama alone.
        """
        if not isinstance(self.text_config, PreTrainedConfig):
            raise ValueError(_NO_DECODER)
        return self.text_config

    @property
    def num_blocks(self) -> int:
        """Trunk layers and heads together (the paper's parameter matching)."""
        return int(self.decoder_config.num_hidden_layers) + self.n_future - 1

    @property
    def vocab_size(self) -> int:
        return int(self.decoder_config.vocab_size)

    @property
    def hidden_size(self) -> int:
        return int(self.decoder_config.hidden_size)

    @property
    def max_position_embeddings(self) -> int | None:
        return getattr(self.decoder_config, "max_position_embeddings", None)

    @property
    def tie_word_embeddings(self) -> bool:
        return bool(getattr(self.decoder_config, "tie_word_embeddings", False))


@dataclass
class MTPOutput(CausalLMOutputWithPast):
    """`logits` are head 0's. `nll_BTH`, `entropy_BTH`, `order_BT`: only when `labels_BTH` was given (and those asked for)."""

    nll_BTH: torch.Tensor | None = None
    entropy_BTH: torch.Tensor | None = None
    order_BT: torch.Tensor | None = None


class MTPForCausalLM(PreTrainedModel, GenerationMixin):
    """Head h at position t predicts token t+1+h, with a stride t+1+h*stride. Without `labels_BTH` only head 0 runs.

    Args:
        source: a causal language model of `config.text_config`'s kind, whose modules this one takes over; made anew without it.
            See `wmtp.models.load.from_causal_lm`, which checks that it can carry heads.
    Source: Gloeckle et al. 2024, arXiv 2404.19737.
    """

    config_class = MTPConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = False
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MTPConfig, source: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if source is None:
            source = AutoModelForCausalLM.from_config(config.decoder_config)
        else:
            module: Any
            for module in source.modules():
                module._is_hf_initialized = True  # its weights stay
        self.model: PreTrainedModel = source.get_decoder()
        self._layers, self._norm = layers_name(self.model), norm_name(self.model)
        self.layers[-1] = Heads(
            self.layers[-1], config.n_future, len(self.layers), config.layout, self.norm, config.hidden_size
        )
        self.unembedding = Unembedding(source.get_output_embeddings(), LogitRule.of(config.decoder_config))
        self.token_order: TokenOrder | None = None
        self.generation_config = source.generation_config
        embedding = self.get_input_embeddings()
        embedding.padding_idx = None  # a token that pads is learnt where it is a token
        (name,) = (name for name, module in self.named_modules() if module is embedding)
        self._tied_weights_keys = {"unembedding.lm_head.weight": f"{name}.weight"}
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As transformers reads it, with the buffers that files do not hold computed anew.

        transformers leaves to each family to fill them, which looks for its own layers in their places, and not for heads: what
        it does not find is memory that was never written (Falcon-H1's multipliers).
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        with init_empty_weights(include_buffers=False):
            made = dict(cls(cast(MTPConfig, model.config)).named_buffers())
        for prefix, module in model.named_modules():
            for name in module._non_persistent_buffers_set:
                buffer = getattr(module, name)
                if buffer is not None and not buffer.is_meta:
                    buffer.copy_(made[f"{prefix}.{name}".strip(".")])
        return loaded

    @property
    def layers(self) -> nn.ModuleList:
        """The trunk's layers, and the heads in the place of the last one."""
        return cast(nn.ModuleList, getattr(self.model, self._layers))

    @property
    def last_layer_name(self) -> str:
        """Of the module that holds the heads, `model.layers.31`; head 0's tensors are those of its `blocks.0`."""
        return f"model.{self._layers}.{len(self.layers) - 1}"

    @property
    def heads(self) -> nn.ModuleList:
        """One decoder layer each."""
        return self._heads.blocks

    @property
    def _heads(self) -> Heads:
        return cast(Heads, self.layers[-1])

    @property
    def norm(self) -> nn.Module:
        """After every head."""
        return cast(nn.Module, getattr(self.model, self._norm))

    def blocks(self) -> Iterator[tuple[nn.ModuleList, int]]:
        """Where every decoder layer is, the trunk's and the heads', as a list and a place in it."""
        yield from ((self.layers, index) for index in range(len(self.layers) - 1))
        yield from ((self.heads, index) for index in range(len(self.heads)))

    def keep_heads(self, n_future: int) -> None:
        """Let go of all heads but the first `n_future`."""
        del self.heads[n_future:]
        self.config.n_future = n_future

    def new_cache(self, num_heads: int | None = None) -> DynamicCache:
        """An empty cache for the trunk and the first `num_heads` heads (all by default), of the family's kinds of layers."""
        cache = DynamicCache(config=self.config.decoder_config)
        more = (self.config.n_future if num_heads is None else num_heads) - 1
        cache.layers += [copy.deepcopy(cache.layers[-1]) for _ in range(more)]
        return cache

    def get_input_embeddings(self) -> nn.Embedding:
        return cast(nn.Embedding, self.model.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.unembedding.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.unembedding.lm_head = new_embeddings

    # ------------------------------------------------------------------------------- forward

    def _run(self, num_heads: int, *, frozen: bool = False, **inputs: Any) -> tuple[list[torch.Tensor], Any]:
        """The first heads' normalised outputs, each (B, T, D), and the caches."""
        heads, ahead = self._heads, self._ahead(num_heads, inputs)
        with heads.running(num_heads, ahead) as outputs, torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            decoded = self.model(**inputs)
        further = outputs[1:] if heads.layout.is_chain else [self.norm(output) for output in outputs[1:]]
        return [decoded.last_hidden_state, *further], decoded.get("past_key_values")

    def _ahead(self, num_heads: int, inputs: dict[str, Any]) -> list[torch.Tensor]:
        """For every further head of a chain the embeddings (B, T, D) of the tokens it is told, past the end any."""
        if num_heads == 1 or not self._heads.layout.is_chain:
            return []
        if inputs.get("input_ids") is None or inputs.get("past_key_values") is not None:
            raise ValueError("sequential heads read the tokens ahead of them: give whole texts as input_ids, see `chained`")
        embedded_BTD = self.get_input_embeddings()(inputs["input_ids"])
        return [embedded_BTD.roll(-h, dims=1) for h in range(1, num_heads)]

    def features(self, input_ids: torch.Tensor, clue_BTD: torch.Tensor | None = None) -> torch.Tensor:
        """Head 0's normalised hidden states for right-padded tokens, (B, T, D); what the critic's value head reads.

        Args:
            clue_BTD: added to what the first layer reads.
        """
        with _added(self.layers[0], clue_BTD):
            (hidden_BTD,), _ = self._run(1, input_ids=input_ids, use_cache=False)
        return hidden_BTD

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
        frozen_trunk: bool = False,
        order: OrderTargets | None = None,
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
            frozen_trunk: no gradient is recorded for the trunk, head 0 and the unembedding.
            order: what is to come; `order_BT` comes back, the loss of `token_order`, which `add_token_order` made.
            logits_to_keep: logits of the last positions only (0 for all).
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if labels is not None and labels_BTH is None:
            labels_BTH = shift_labels(labels, self.config.n_future, stride=self.config.head_stride)
        inputs: dict[str, Any] = {"attention_mask": attention_mask, "position_ids": position_ids, **kwargs}
        inputs |= {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        if labels_BTH is None:
            use_cache = bool(use_cache) or past_key_values is not None
            (hidden_BTD,), caches = self._run(1, past_key_values=past_key_values, use_cache=use_cache, **inputs)
            return MTPOutput(logits=self.unembedding(hidden_BTD[:, -logits_to_keep:]), past_key_values=caches)
        hidden_HBTD, _ = self._run(labels_BTH.shape[-1], frozen=frozen_trunk, use_cache=False, **inputs)
        nll_BTH = self.unembedding.nll(hidden_HBTD, labels_BTH, scale_BTH, guess, frozen=frozen_trunk)
        assert order is None or self.token_order is not None, "`add_token_order` was not called"
        entropies = [self.unembedding.entropy(hidden_BTD) for hidden_BTD in hidden_HBTD] if return_entropy else []
        return MTPOutput(
            loss=None if labels is None else mtp_loss(nll_BTH, labels_BTH).loss,
            nll_BTH=nll_BTH,
            entropy_BTH=torch.stack(entropies, dim=-1) if entropies else None,
            order_BT=None if order is None or self.token_order is None else self.token_order(hidden_HBTD[0], order),
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
        hidden_HBTD, _ = self._run(
            self.config.n_future if num_heads is None else num_heads,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=past_key_values is not None,
        )
        return tuple(hidden_HBTD)

    def chain_start(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What head 0 hands to the unembedding, and what the chain behind it reads, both (B, T, D)."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        with self._heads.running(1) as outputs:
            decoded = self.model(**inputs, past_key_values=past_key_values, use_cache=past_key_values is not None)
        return decoded.last_hidden_state, self._heads.first_of_chain(outputs[0])

    def chained(
        self,
        head: int,
        hidden_BTD: torch.Tensor,
        ahead_BT: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One head of a chain alone: what the next one reads, and what goes to the unembedding, both (B, T, D).

        Args:
            hidden_BTD: what the head before hands on; ahead_BT: the tokens that that one predicts.
            past_key_values: a cache that is this head's own, of `new_cache`.
        """
        embedded_BTD = self.get_input_embeddings()(ahead_BT)
        trunk = self.layers[:-1]
        with self._heads.running_alone(head, hidden_BTD, embedded_BTD) as outputs, passed_by(trunk, self._heads.gives_tuples):
            self.model(
                inputs_embeds=torch.zeros_like(hidden_BTD),
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=past_key_values is not None,
            )
        handed_on_BTD, normed_BTD = outputs
        return handed_on_BTD, normed_BTD

    def head_logits(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Logits of every head, H tensors (B, T, V): for small evaluations and tests."""
        return tuple(self.unembedding(hidden_BTD) for hidden_BTD in self.head_hidden(input_ids, attention_mask, position_ids))


@contextmanager
def _added(layer: nn.Module, clue_BTD: torch.Tensor | None) -> Iterator[None]:
    """`clue_BTD` is added to the hidden states that `layer` is called with."""

    def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (args[0] + clue_BTD, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": kwargs["hidden_states"] + clue_BTD}

    if clue_BTD is None:
        yield
        return
    handle = layer.register_forward_pre_hook(add, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()


AutoConfig.register(MTPConfig.model_type, MTPConfig)
AutoModelForCausalLM.register(MTPConfig, MTPForCausalLM)
