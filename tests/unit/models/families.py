"""Tiny random models of other people's families, with windows that a test's tokens are longer than."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM, AutoModelForSeq2SeqLM

VOCAB, WINDOW = 53, 9
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_WINDOWS = {"sliding_window": WINDOW}
_GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
FAMILIES = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "qwen2": {**_WINDOWS, "use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {},
    "mistral": _WINDOWS,
    "ministral3": {},
    "smollm3": {"no_rope_layer_interval": 2},
    "gemma": {},
    "gemma2": {**_WINDOWS, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_WINDOWS, "sliding_window_pattern": 2},
    "phi3": _WINDOWS,
    "olmo": {},
    "olmo2": {},
    "olmo3": _WINDOWS,
    "granite": {
        "embedding_multiplier": 3.0, "logits_scaling": 2.5, "residual_multiplier": 0.5, "attention_multiplier": 0.2,
        "tie_word_embeddings": True,
    },
    "glm4": {},
    "starcoder2": _WINDOWS,
    "stablelm": {},
    "ernie4_5": {},
    "helium": {},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {**_WINDOWS, "logit_scale": 0.3},
    "cwm": _WINDOWS,
    "nemotron": {},
    "mixtral": {**_EXPERTS, **_WINDOWS},
    "qwen3_moe": _EXPERTS,
    "qwen3_next": {
        **_EXPERTS, "shared_expert_intermediate_size": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    },
    "gpt_oss": {**_EXPERTS, **_WINDOWS},
    "glm4_moe": {**_EXPERTS, "n_routed_experts": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
    "deepseek_v3": {
        **_EXPERTS, "num_key_value_heads": 4, "head_dim": 4, "n_routed_experts": 4, "first_k_dense_replace": 1, "n_group": 2,
        "topk_group": 1, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    },
    "exaone4": _WINDOWS,
    "seed_oss": {},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "gpt2": _GPT2,
    "gpt_neox": {},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 32},
}  # fmt: skip
"""Every kind that a decoder is known to differ by: windows, layers without rotary embeddings, several kinds of layers, experts,
linear attention, convolutions, learnt positions, norms elsewhere, scales before and after, capped logits, tied embeddings."""


def family(name, **changes):
    """A model whose every parameter is random, gains and biases included."""
    torch.manual_seed(3)  # what the library draws
    config = AutoConfig.for_model(name, **{**SIZES, **FAMILIES.get(name, {}), **changes})
    return randomised(AutoModelForCausalLM.from_config(config, dtype=torch.float32))


def randomised(model, scale=0.1):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
_BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
}  # fmt: skip
_EXPERT_LAYERS = {"num_experts": 4, "encoder_sparse_step": 1, "decoder_sparse_step": 1}
WITH_ENCODER = {
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "longt5": {**_T5, "local_radius": 7, "global_block_size": 4},
    "switch_transformers": {**_T5, **_EXPERT_LAYERS},
    "bart": _BART,
    "mbart": _BART,
    "plbart": _BART,
    "mvp": _BART,
    "pegasus": _BART,
    "pegasus_x": {**_BART, "block_size": 8, "num_global_tokens": 4},
    "led": {**_BART, "attention_window": 4, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64},
    "marian": _BART,
    "blenderbot": _BART,
    "blenderbot-small": _BART,
    "m2m_100": _BART,
    "nllb-moe": {**_BART, **_EXPERT_LAYERS},
    "bigbird_pegasus": {**_BART, "attention_type": "original_full"},
    "prophetnet": {
        "hidden_size": 32, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_encoder_layers": 2, "num_decoder_layers": 2,
        "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "max_position_embeddings": 64,
    },
}  # fmt: skip
_EYE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8}
_SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}
_QWEN_EYE = {"depth": 1, "num_heads": 2, "patch_size": 4}
SEEING = {
    "qwen2_vl": {"text": _SECTIONS, "vision": {**_QWEN_EYE, "embed_dim": 16, "hidden_size": 32}},
    "qwen2_5_vl": {
        "text": _SECTIONS,
        "vision": {
            **_QWEN_EYE,
            "hidden_size": 16,
            "intermediate_size": 16,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
    },
    "llava": {"text": {"model_type": "llama"}, "vision": {"model_type": "clip_vision_model", **_EYE, "patch_size": 4}},
    "idefics3": {"text": {"model_type": "llama"}, "vision": {**_EYE, "patch_size": 4}},
    "smolvlm": {"text": {"model_type": "llama"}, "vision": {**_EYE, "patch_size": 4}},
}
"""Models of texts and images, by what their parts differ in from `SIZES`."""


def with_encoder(name, **changes):
    torch.manual_seed(3)
    sizes = {key: SIZES[key] for key in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
    config = AutoConfig.for_model(name, **{**sizes, "decoder_start_token_id": 2, **WITH_ENCODER[name], **changes})
    return randomised(AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32), 0.2)


def seeing(name, **changes):
    torch.manual_seed(3)
    parts = SEEING[name]
    text = {**SIZES, "image_token_id": 3, "video_token_id": 4, **parts["text"], **changes}
    special = {"image_token_id": 3, "image_token_index": 3, "video_token_id": 4, "vision_start_token_id": 5}
    config = AutoConfig.for_model(name, text_config=text, vision_config=parts["vision"], **special)
    return randomised(AutoModelForMultimodalLM.from_config(config, dtype=torch.float32))


def padded_tokens(length=32):
    """Two rows (B, T) of random tokens, the second with padding on its left, and the mask."""
    ids = torch.randint(3, VOCAB, (2, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :6] = 0
    return ids, mask
