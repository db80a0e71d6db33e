"""The critic's head: where it starts, what it reads, and its way to the disk and back."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.models.tiny import tiny
from wmtp.errors import CheckpointError
from wmtp.models.value import ValueModel, load_value_model, write_value_model


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_value_model_round_trip_and_first_value(ids, tmp_path, head):
    model = ValueModel(tiny(n_future=1), head=head, reference_nll_input=True).eval()
    surprise = torch.rand(3, 12)
    assert (model(ids, surprise) == 0).all(), "probability one half before training"
    with torch.no_grad():
        model.head[-1].weight.normal_()
    write_value_model(model, tmp_path, is_main=True)
    loaded = load_value_model(tmp_path).eval()
    torch.testing.assert_close(loaded(ids, surprise), model(ids, surprise))
    assert not torch.allclose(loaded(ids, surprise), loaded(ids, surprise * 2))
    head_file = tmp_path / "value_head.safetensors"
    whole = head_file.read_bytes()
    head_file.write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match=r"^[^\n]*not a critic[^\n]*$"):
        load_value_model(tmp_path)
    head_file.write_bytes(whole)
    (tmp_path / "critic.json").unlink()
    with pytest.raises(CheckpointError, match="not a critic"):
        load_value_model(tmp_path)


def test_its_own_parameters_are_its_seeds_and_within_one_over_the_square_root_of_the_inputs(ids):
    made = []
    for seed in (5, 5, 6):
        torch.rand(len(made) + 1)  # whatever is drawn before
        made.append(ValueModel(tiny(n_future=1), head="mlp", seed=seed))
    own = [{n: p for n, p in model.named_parameters() if not n.startswith("backbone.")} for model in made]
    assert set(own[0]) == {f"{place}.{kind}" for place in ("head.1", "head.3", "nll_projection") for kind in ("weight", "bias")}
    for name, tensor in own[0].items():
        assert torch.equal(tensor, own[1][name])
        if name.startswith("head.3"):
            assert (tensor == 0).all(), "the value starts at one half"
            continue
        bound = (2 if name.startswith("nll") else 16) ** -0.5
        assert not torch.equal(tensor, own[2][name]) and 0 < tensor.abs().max() <= bound
        assert tensor.numel() < 100 or tensor.abs().max() > 0.95 * bound


def trained(model, seed=0):
    """With a last layer that says something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.head[-1].weight.normal_(generator=generator)
    return model.eval()


def test_a_value_is_of_the_tokens_and_surprises_up_to_its_own(ids):
    model = trained(ValueModel(tiny(n_future=1)))
    surprise = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1))
    values = model(ids, surprise)
    later_ids, later_surprise = ids.clone(), surprise.clone()
    later_ids[:, 7] = (ids[:, 7] + 1) % 31
    later_surprise[:, 9] += 1
    changed = model(later_ids, surprise)
    torch.testing.assert_close(changed[:, :7], values[:, :7])
    assert (changed[:, 7:] != values[:, 7:]).all()
    changed = model(ids, later_surprise)
    torch.testing.assert_close(changed[:, :9], values[:, :9])
    assert (changed[:, 9:] != values[:, 9:]).all()


def test_the_surprise_is_read_only_by_a_critic_that_is_made_for_it(ids):
    without = trained(ValueModel(tiny(n_future=1), reference_nll_input=False))
    assert torch.equal(without(ids), without(ids, torch.rand(ids.shape)))
    with pytest.raises(AssertionError, match="reads the reference NLL"):
        trained(ValueModel(tiny(n_future=1)))(ids)


@pytest.mark.parametrize("tie", [True, False])
def test_everything_that_a_value_depends_on_is_trained_and_nothing_else(ids, tie):
    """An unembedding of its own has no part in a value; a tied one is the input embedding."""
    model = ValueModel(tiny(n_future=1, tie=tie)).train()
    with torch.no_grad():
        model.head[-1].weight.normal_()
    model(ids, torch.rand(ids.shape)).sum().backward()
    idle = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not idle
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == (set() if tie else {"backbone.unembedding.lm_head.weight"})


def test_the_settings_name_the_dtype_that_is_written(ids, tmp_path):
    model = trained(ValueModel(tiny(n_future=1), reference_nll_input=False))
    for save_dtype in ("bfloat16", None):
        folder = tmp_path / str(save_dtype)
        write_value_model(model, folder, is_main=True, save_dtype=save_dtype)
        named = json.loads((folder / "config.json").read_text())["dtype"]
        stored = {tensor.dtype for path in folder.glob("*.safetensors") for tensor in load_file(path).values()}
        assert named == (save_dtype or "float32") and stored == {getattr(torch, named)}
        assert next(load_value_model(folder).parameters()).dtype == torch.float32


def test_a_head_of_another_critic_is_refused(tmp_path):
    model = ValueModel(tiny(n_future=1), reference_nll_input=False)
    write_value_model(model, tmp_path, is_main=True)
    path = tmp_path / "critic.json"
    path.write_text(path.read_text().replace("false", "true"))
    with pytest.raises(CheckpointError, match=r"missing \['nll_projection.weight', 'nll_projection.bias'\], unexpected \[\]"):
        load_value_model(tmp_path)
