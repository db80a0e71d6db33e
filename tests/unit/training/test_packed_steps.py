"""Packed rows are learnt from as the same documents one to a row: the loss, the gradients and the tokens that are selected."""

import numpy as np
import pytest
import torch

from tests.packing import pack_by_hand
from tests.unit.models.families import VOCAB as FAMILY_VOCAB
from tests.unit.models.families import family
from wmtp.config.arms import load_arm
from wmtp.distributed import World
from wmtp.models.heads import HeadLayout
from wmtp.models.load import put_heads
from wmtp.tokens.data import TokenData
from wmtp.training.scoring import reference_nll, validation_nll
from wmtp.training.steps import LanguageModelStep

WIDTH, HEADS = 48, 3
LAYOUTS = (HeadLayout(), HeadLayout("sequential", reads="head0"), HeadLayout("stride", 3))
WEIGHTINGS = ("uniform", "rho1", "entropy")


@pytest.fixture(scope="module")
def both(tables, tmp_path_factory):
    """The same documents, one to a row and packed, and which rows are in which packed row."""
    folders = (tables / "data", tables / "reference", tables / "value")
    data, scores, rows = pack_by_hand(folders, tmp_path_factory.mktemp("packed"), WIDTH)
    unpacked = TokenData.open(folders[0], "train", columns={"reference_nll": folders[1]})
    return unpacked, TokenData.open(data, "train", columns={"reference_nll": scores}), rows


def model_of(name, layout):
    assert FAMILY_VOCAB >= 40
    return put_heads(family(name), HEADS, name, layout).double()


def taken(model, arm, data, rows, parts):
    """Of one step: the loss, every parameter's gradient, and each document's weights by its number."""
    step = LanguageModelStep(World.alone(torch.device("cpu")), model, arm, HEADS, num_steps=10, stride=model.config.head_stride)
    batches = [data.collate(rows[part], part) for part in np.array_split(np.arange(len(rows)), parts)]
    model.zero_grad(set_to_none=True)
    metrics = step(batches, 3)
    loss = metrics.ratios["train/loss"]
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return loss[0] / loss[1], gradients, step.weights([data.collate(rows, np.arange(len(rows)))], 3)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.variant)
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_a_packed_step_is_the_step_of_its_documents(both, name, layout, weighting, parts):
    unpacked, packed, rows = both
    model, arm = model_of(name, layout), load_arm({"weighting": {"name": weighting}}, weighting)
    chosen = np.arange(4)
    loss, gradients, weights_BTH = taken(model, arm, packed, chosen, parts)
    documents = np.array([i for row in chosen for i in rows[row]])
    due_loss, due_gradients, due_BTH = taken(model, arm, unpacked, documents, parts)
    torch.testing.assert_close(loss, due_loss, rtol=1e-6, atol=0)  # norms and rotations compute in float32
    assert gradients.keys() == due_gradients.keys()
    for parameter, gradient in gradients.items():
        scale = float(due_gradients[parameter].abs().max())
        assert (gradient - due_gradients[parameter]).abs().max() <= 1e-5 * scale, parameter
    in_order = torch.cat([weights_BTH[i, : packed.lengths(chosen)[i]] for i in range(len(chosen))])
    due = torch.cat([due_BTH[i, :length] for i, length in enumerate(unpacked.lengths(documents))])
    torch.testing.assert_close(in_order, due, rtol=1e-5, atol=1e-6)
    assert torch.equal(in_order > 0, due > 0)
    assert (in_order > 0).any() and (weighting != "rho1" or (in_order == 0).any())


def test_scores_and_validation_of_packed_rows_are_those_of_their_documents(both):
    unpacked, packed, rows = both
    model, world = model_of("mistral", HeadLayout()).eval(), World.alone(torch.device("cpu"))

    def scored(data):
        batch = data.collate(data.selected, data.selected)
        return torch.cat([row[:n] for row, n in zip(reference_nll(model)(batch), batch.lengths_B.tolist(), strict=True)])

    assert [i for row in rows for i in row] == list(range(len(unpacked)))  # so the tokens are in one order in both
    found, due = scored(packed), scored(unpacked)
    assert (due[unpacked.offsets[:-1]] == 0).all() and (due > 0).sum() > len(due) // 2
    torch.testing.assert_close(found, due, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        values = [validation_nll(world, model, data, HEADS, batch_tokens=200) for data in (packed, unpacked)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_the_share_of_real_tokens_counts_packed_ones(both):
    _, packed, _ = both
    step = LanguageModelStep(
        World.alone(torch.device("cpu")),
        model_of("llama", HeadLayout()),
        load_arm({"weighting": {"name": "uniform"}}, "a"),
        HEADS,
        num_steps=1,
    )
    metrics = step([packed.collate([0, 1], [0, 1])], 0)
    real, room = metrics.ratios["data/valid_token_ratio"]
    lengths = packed.lengths(np.array([0, 1]))
    assert real == lengths.sum() and room == 2 * lengths.max() and real / room > 0.8
