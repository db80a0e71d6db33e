import pytest
import torch
from transformers import LlamaConfig

from tests.unit.models.families import family
from wmtp.config.schema import TrainPolicyConfig
from wmtp.config.training import LoraConfig, ModelConfig, OptimConfig
from wmtp.errors import ConfigError
from wmtp.models import MTPConfig, MTPForCausalLM
from wmtp.models.build import build_model
from wmtp.models.load import from_causal_lm
from wmtp.models.lora import add_adapters
from wmtp.models.save import Gathered

SIZES = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.fixture
def pretrained(tmp_path):
    MTPForCausalLM(MTPConfig(text_config=LlamaConfig(**SIZES, num_hidden_layers=2), n_future=2)).save_pretrained(tmp_path)
    return str(tmp_path)


def adapted(path, **lora):
    """As `build_model` makes it, but with the model's numbers at once."""
    model = MTPForCausalLM.from_pretrained(path, dtype=torch.float32)
    add_adapters(model, LoraConfig(rank=3, **lora), 0)
    return model


def test_only_adapters_train_and_they_start_at_nothing(pretrained):
    model, plain = adapted(pretrained, full_heads=False), MTPForCausalLM.from_pretrained(pretrained)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable and all(".lora_" in name for name in trainable)
    assert len(trainable) == 3 * 4 * 2  # blocks x projections x factors
    ids = torch.arange(8)[None]
    torch.testing.assert_close(model.eval()(input_ids=ids).logits, plain.eval()(input_ids=ids).logits)


def test_factors_are_float32_whatever_the_checkpoint_holds(pretrained):
    MTPForCausalLM.from_pretrained(pretrained).bfloat16().save_pretrained(pretrained)
    assert {p.dtype for p in adapted(pretrained).parameters()} == {torch.float32}


def test_merged_weights_compute_what_the_adapters_did(pretrained):
    model = adapted(pretrained, alpha=7, targets=["q_proj", "down_proj"], full_heads=False).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    plain = MTPForCausalLM.from_pretrained(pretrained).eval()
    unchanged = plain.head_logits(torch.arange(8)[None])[1]
    tensors = Gathered(model, is_main=True)
    plain.load_state_dict(tensors.whole(tensors.shapes))
    for ours, theirs in zip(plain.head_logits(torch.arange(8)[None]), model.head_logits(torch.arange(8)[None]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours, unchanged)


def test_adapters_have_their_numbers_where_the_model_has_none_yet(pretrained):
    config = ModelConfig(pretrained=pretrained, n_future=2, lora=LoraConfig(rank=3))
    model = build_model(config, vocab_size=20, max_length=8, pad_token_id=0, eos_token_id=1, seed=0)
    due = dict(adapted(pretrained).named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == due[name].requires_grad
        assert torch.equal(parameter, due[name]) if ".lora_" in name else parameter.is_meta


def test_matrices_that_stand_the_other_way_round_are_merged_as_they_stand():
    """GPT-2's; square ones, whose shape does not tell."""
    model, ids = from_causal_lm(family("gpt2"), 1), torch.arange(8)[None]
    add_adapters(model, LoraConfig(rank=2, targets=["c_proj", "c_attn"]), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    plain = from_causal_lm(family("gpt2"), 1)
    tensors = Gathered(model, is_main=True)
    plain.load_state_dict(tensors.whole(tensors.shapes))
    torch.testing.assert_close(plain(input_ids=ids).logits, model.eval()(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


def test_adapters_need_trained_weights_and_adamw():
    with pytest.raises(ConfigError, match=r"model.lora.rank=2 is not allowed: 0 unless model.pretrained"):
        ModelConfig(lora=LoraConfig(rank=2))
    with pytest.raises(ConfigError, match=r"train_policy.optim.name='muon' is not allowed: adamw"):
        TrainPolicyConfig(model=ModelConfig(pretrained="x", lora=LoraConfig(rank=2)), optim=OptimConfig(name="muon"))


def test_further_heads_are_whole_beside_adapters_on_the_trunk(pretrained):
    model = adapted(pretrained)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    whole = {name for name, _ in model.named_parameters() if ".blocks.1." in name}
    assert whole <= trainable and not any(".lora_" in name for name in whole)
    assert len(trainable - whole) == 2 * 4 * 2 and all(".lora_" in name for name in trainable - whole)


def test_targets_that_a_family_does_not_have_are_refused_with_those_it_has():
    model = from_causal_lm(family("phi3"), 2)
    with pytest.raises(
        ConfigError, match=r"model.lora.targets='q_proj' is not allowed: one of down_proj, gate_up_proj, o_proj, qkv"
    ):
        add_adapters(model, LoraConfig(rank=2), 0)
    add_adapters(model, LoraConfig(rank=2, targets=["qkv_proj", "o_proj"]), 0)
    assert sum(".lora_A." in name for name, _ in model.named_parameters()) == 3 * 2
