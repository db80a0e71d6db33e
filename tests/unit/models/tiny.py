"""Small random models and text for them."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from wmtp.config.training import ModelConfig
from wmtp.models.build import build_model, parallelize

VOCAB = 31


def tiny(n_future=3, tie=True, seed=0, **changes):
    shape = {"hidden_size": 16, "intermediate_size": 24, "n_layers": 4, "n_heads": 2, "n_kv_heads": 1} | changes
    config = ModelConfig(**shape, n_future=n_future, tie_embeddings=tie)
    model = build_model(config, vocab_size=VOCAB, max_length=64, pad_token_id=0, eos_token_id=1, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def llama(**changes):
    torch.manual_seed(0)
    keys = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, max_position_embeddings=64, **keys, **changes)).eval()


def filled(model, world):
    """A pretrained model that was built, as a stage has it: sharded, read and proven."""
    return parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False).eval()
