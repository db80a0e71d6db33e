"""Tiny random models and a byte tokenizer for generation tests."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from wmtp.models.mtp import MTPConfig, MTPForCausalLM
from wmtp.tokens.encode import TextTokenizer

EOS, PAD = 257, 256
SIZES = {"vocab_size": 258, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}


def byte_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, "<|pad|>", "<|eos|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|pad|>", "<|eos|>"])
    return TextTokenizer(tokenizer, EOS, PAD)


def llama(seed=0, scale=3.0):
    """Random weights large enough that greedy decoding wanders instead of repeating one token."""
    torch.manual_seed(seed)
    config = LlamaConfig(**SIZES, num_hidden_layers=2, eos_token_id=EOS, pad_token_id=PAD, initializer_range=0.02 * scale)
    return LlamaForCausalLM(config).eval()


def mtp(seed=0, n_future=3):
    torch.manual_seed(seed)
    llama = LlamaConfig(**SIZES, num_hidden_layers=3, eos_token_id=EOS, pad_token_id=PAD)
    model = MTPForCausalLM(MTPConfig(text_config=llama, n_future=n_future)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 * 1.5)
    return model
