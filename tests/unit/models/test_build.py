"""A configured model: what decides its numbers, what it is refused for, and that its layout on ranks changes nothing."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributed.tensor import DTensor

from tests.distributed.harness import full_state, run_on_ranks
from tests.unit.models.tiny import VOCAB, llama, tiny
from wmtp.config.training import ModelConfig
from wmtp.errors import ConfigError, ModelError
from wmtp.models.build import build_model, parallelize
from wmtp.models.value import ValueModel
from wmtp.objectives import shift_labels

TOKENS = {"vocab_size": VOCAB, "max_length": 48, "pad_token_id": 0, "eos_token_id": 1}
SHAPE = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=5, n_heads=4, n_kv_heads=2, n_future=3, rope_theta=500.0)


def read(world, config, n_future, ids):
    """Its first heads' NLL once it is sharded, and its whole state."""
    model = build_model(config, seed=0, n_future=n_future, **TOKENS)
    assert model.config.n_future == len(model.heads) == n_future
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False).eval()
    return model(input_ids=ids, labels_BTH=shift_labels(ids, n_future)).nll_BTH.detach(), full_state(model)


def test_pretrained_path_is_loaded_and_checked(ids, tmp_path):
    source = llama()
    source.save_pretrained(tmp_path / "model")
    config = ModelConfig(pretrained=str(tmp_path / "model"), n_future=2)
    ((found, _),) = run_on_ranks(1, read, config, 2, ids, tmp_path=tmp_path)
    due = torch.nn.functional.cross_entropy(source(ids).logits[:, :-1].mT, ids[:, 1:], reduction="none")
    torch.testing.assert_close(found[:, :-1, 0], due)
    with pytest.raises(ConfigError, match="31 embeddings, but the data's tokens need 99"):
        build_model(config, seed=0, **{**TOKENS, "vocab_size": 99})


def refused(world, config):
    with pytest.raises(ModelError) as said:
        parallelize(build_model(config, seed=0, **TOKENS), world.mesh, dtype="float32", activation_checkpointing=False)
    return str(said.value)


def test_numbers_that_are_none_are_named_on_all_ranks_whichever_holds_them(tmp_path):
    source = llama(tie_word_embeddings=False)
    source.model.embed_tokens.weight.data[VOCAB - 1, 3] = torch.nan
    source.save_pretrained(tmp_path)
    where = f"model.pretrained={tmp_path}"
    found = run_on_ranks(2, refused, ModelConfig(pretrained=str(tmp_path), n_future=2), tmp_path=tmp_path)
    assert found == [f"{where}: tensor model.embed_tokens.weight holds NaN or Inf"] * 2


def test_the_configuration_is_the_models():
    model = build_model(SHAPE, seed=0, **TOKENS)
    config = model.config.decoder_config
    assert (len(model.layers), len(model.heads)) == (3, 3) and config.max_position_embeddings == 48
    assert (config.pad_token_id, config.eos_token_id, config.bos_token_id, config.vocab_size) == (0, 1, None, VOCAB)
    assert config.rope_parameters["rope_theta"] == 500.0 and config.embedding_multiplier == math.sqrt(16)
    attention = model.layers[0].self_attn
    assert attention.q_proj.weight.shape == (16, 16) and attention.k_proj.weight.shape == (8, 16)
    assert model.layers[0].mlp.gate_proj.weight.shape == (24, 16)
    assert model.unembedding.lm_head.weight is model.get_input_embeddings().weight
    untied = build_model(ModelConfig(tie_embeddings=False), seed=0, **TOKENS)
    assert untied.unembedding.lm_head.weight is not untied.get_input_embeddings().weight


def test_one_head_instead_of_several_is_as_many_layers():
    model = build_model(SHAPE, seed=0, n_future=1, **TOKENS)
    assert (len(model.layers), len(model.heads), model.config.n_future) == (5, 1, 1)


def test_its_seed_alone_decides_a_models_numbers():
    first = build_model(SHAPE, seed=3, **TOKENS)
    torch.rand(17)
    again, other = build_model(SHAPE, seed=3, **TOKENS), build_model(SHAPE, seed=4, **TOKENS)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_a_multi_token_model_keeps_its_heads_and_what_it_has_not_is_refused(ids, tmp_path):
    source = tiny(n_future=3)
    source.save_pretrained(tmp_path / "model")
    config = ModelConfig(pretrained=str(tmp_path / "model"), n_future=3)
    ((_, found),) = run_on_ranks(1, read, config, 3, ids, tmp_path=tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in source.state_dict().items())
    with pytest.raises(ConfigError, match="has n_future=3, but n_future=4 is configured: at most as many"):
        build_model(config, seed=0, n_future=4, **TOKENS)
    with pytest.raises(ConfigError, match=r"has heads of its own: model.head_init=copy is not allowed, use null"):
        build_model(replace(config, head_init="copy"), seed=0, **TOKENS)
    with pytest.raises(
        ConfigError, match=r"model.head_variant=parallel and model.head_stride=1, but sequential and 1 are conf"
    ):
        build_model(replace(config, head_variant="sequential"), seed=0, **TOKENS)


def test_an_arm_with_fewer_heads_takes_the_first_ones(ids, tmp_path):
    source = tiny(n_future=3)
    source.save_pretrained(tmp_path / "model")
    for n_future in (1, 2):
        config = ModelConfig(pretrained=str(tmp_path / "model"), n_future=3)
        ((found, _),) = run_on_ranks(1, read, config, n_future, ids, tmp_path=tmp_path)
        due = source(input_ids=ids, labels_BTH=shift_labels(ids, n_future)).nll_BTH
        torch.testing.assert_close(found, due)


def loss_and_gradients(model, ids):
    labels = shift_labels(ids, 3)
    loss = model(input_ids=ids, labels_BTH=labels).nll_BTH.sum()
    loss.backward()
    whole = {name: p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad for name, p in model.named_parameters()}
    return loss.detach(), {name.replace("_checkpoint_wrapped_module.", ""): grad for name, grad in whole.items()}


def laid_out(world, ids, tie, remat, dtype):
    model = parallelize(tiny(tie=tie), world.mesh, dtype=dtype, activation_checkpointing=remat)
    loss, gradients = loss_and_gradients(model, ids)
    kinds = {(type(p).__name__, p.dtype) for p in model.parameters()}
    return loss, gradients, full_state(model), kinds


@pytest.mark.parametrize(
    ("tie", "remat", "dtype"), [(True, False, "float32"), (False, True, "float32"), (False, False, "bfloat16")]
)
def test_the_layout_changes_neither_the_loss_nor_the_gradients_nor_the_names(ids, tmp_path, tie, remat, dtype):
    (found,) = run_on_ranks(1, laid_out, ids, tie, remat, dtype, tmp_path=tmp_path)
    model = tiny(tie=tie)
    loss, gradients = loss_and_gradients(model, ids)
    exact = dtype == "float32"
    torch.testing.assert_close(found[0], loss, rtol=1e-5 if exact else 0.02, atol=0)
    assert found[1].keys() == gradients.keys()
    for name, gradient in gradients.items():
        size = gradient.abs().max().item()
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=size * (1e-4 if exact else 0.15), msg=name)
    assert found[2].keys() == model.state_dict().keys()
    assert all(torch.equal(found[2][name], tensor) for name, tensor in model.state_dict().items())
    assert found[3] == {("DTensor", torch.float32)}, "every parameter is sharded, and kept in float32"


def critic():
    model = ValueModel(tiny(n_future=1)).eval()
    with torch.no_grad():
        model.head[-1].weight.fill_(0.1)
    return model


def critic_laid_out(world, ids):
    model = parallelize(critic(), world.mesh, dtype="float32", activation_checkpointing=False)
    kinds = {type(p).__name__ for p in model.parameters()}
    return model(ids, torch.ones(ids.shape)).detach(), kinds


def test_a_critic_is_laid_out_with_its_backbone(ids, tmp_path):
    ((values, kinds),) = run_on_ranks(1, critic_laid_out, ids, tmp_path=tmp_path)
    torch.testing.assert_close(values, critic()(ids, torch.ones(ids.shape)).detach())
    assert kinds == {"DTensor"} and values.abs().min() > 0
