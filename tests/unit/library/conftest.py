"""A policy, a reference and a critic with random weights, as the stages write them."""

import pytest
import torch

from wmtp.config.training import ModelConfig
from wmtp.library import Example
from wmtp.models.build import build_model
from wmtp.models.value import ValueModel, write_value_model
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer

EXAMPLES = [
    Example("def double(x):\n", "    return 2 * x\n"),
    Example("def half(x):\n", "    y = x // 2\n    return y\n", is_correct=False),
    Example("", "x = 1\n"),
]


def model(text, seed, n_future):
    shape = {"hidden_size": 16, "intermediate_size": 24, "n_layers": 4, "n_heads": 2, "n_kv_heads": 1}
    made = build_model(
        ModelConfig(**shape, n_future=n_future),
        vocab_size=text.vocab_size,
        max_length=64,
        pad_token_id=text.pad_token_id,
        eos_token_id=text.eos_token_id,
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return made


@pytest.fixture(scope="package")
def folders(tmp_path_factory):
    """Where `policy`, `reference` and `critic` are."""
    root = tmp_path_factory.mktemp("models")
    text = train_tokenizer([example.prompt + example.solution for example in EXAMPLES] * 3, 270)
    model(text, 1, 3).save_pretrained(root / "policy")
    model(text, 2, 1).save_pretrained(root / "reference")
    critic = ValueModel(model(text, 3, 1))
    with torch.no_grad():
        critic.head[-1].weight.copy_(torch.linspace(-2, 2, 16))
    write_value_model(critic, root / "critic", is_main=True)
    for name in ("policy", "reference", "critic"):
        save_tokenizer(text, root / name, 64)
    return root
