"""The critic's head: where it starts, what it reads, and its way to the disk and back."""

import pytest
import torch

from tests.unit.models.tiny import tiny
from wmtp.errors import CheckpointError
from wmtp.models.value import ValueModel, load_value_model, save_value_model


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_value_model_round_trip_and_first_value(ids, tmp_path, head):
    model = ValueModel(tiny(n_future=1), head=head, reference_nll_input=True).eval()
    surprise = torch.rand(3, 12)
    assert (model(ids, surprise) == 0).all(), "probability one half before training"
    with torch.no_grad():
        model.head[-1].weight.normal_()
    save_value_model(model, model.state_dict(), tmp_path)
    loaded = load_value_model(tmp_path).eval()
    torch.testing.assert_close(loaded(ids, surprise), model(ids, surprise))
    assert not torch.allclose(loaded(ids, surprise), loaded(ids, surprise * 2))
    (tmp_path / "critic.json").unlink()
    with pytest.raises(CheckpointError, match="not a critic"):
        load_value_model(tmp_path)
