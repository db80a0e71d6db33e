"""What is said of speed, against sums by hand."""

import numpy as np
import pytest
import torch

from tests.packing import pack_by_hand
from tests.unit.models.families import family
from wmtp.config.training import HeadsConfig
from wmtp.distributed import World
from wmtp.models.load import from_causal_lm
from wmtp.objectives.shift import shift_labels
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.pace import Pace
from wmtp.types import IGNORE_INDEX


def pace_of(tables, **options):
    loader = TrainLoader(TokenData.open(tables / "data", "train"), batch_size=8, seed=0)
    model = from_causal_lm(family("llama"), 2)
    world = World.alone(torch.device("cpu"))
    return Pace(world, model, loader, dtype="float32", **{"heads": HeadsConfig(), **options}), loader, model


def test_a_steps_operations_are_its_own_rows(tables):
    pace, loader, model = pace_of(tables)
    unembedding = model.unembedding.lm_head.weight
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2) - unembedding.numel()
    if not model.config.tie_word_embeddings:
        matrices -= model.get_input_embeddings().weight.numel()
    due = 0
    for row in loader.global_rows(3).tolist():
        length, prompt = int(loader.data.lengths(np.array([row]))[0]), int(loader.data.prompt_lens[row])
        targets = sum(1 for h in range(2) for t in range(length) if prompt <= t + 1 + h < length)
        pairs = length * (length + 1) / 2
        attention = 4 * 3 * 2 * 2 * 32 * pairs  # layers, passes, an addition and a multiplication, two products of width 32
        due += 6 * matrices * length + 6 * unembedding.numel() * targets + attention
    assert pace.flops(3) == pytest.approx(due, rel=1e-9)


def test_further_heads_alone_are_less_work(tables):
    pace, _, _ = pace_of(tables, heads=HeadsConfig(warmup_steps=2))
    whole, _, _ = pace_of(tables)
    assert pace.flops(1) < 0.8 * whole.flops(1) and pace.flops(2) == whole.flops(2)


def test_utilisation_is_said_where_a_peak_is_known_alone(tables):
    pace, _, _ = pace_of(tables)
    row = pace.row(tokens=200, flops=6e9, time_s=4.0)
    assert row["perf/tokens_per_s"] == 50 and row["perf/model_flops_per_s"] == 1.5e9 and "perf/mfu" not in row
    pace, _, _ = pace_of(tables, peak_flops=6e9)
    assert pace.row(tokens=200, flops=6e9, time_s=4.0)["perf/mfu"] == 0.25


def test_packed_rows_are_as_much_work_as_their_documents(tables, tmp_path):
    folders = (tables / "data", tables / "reference", tables / "value")
    folder, _, documents = pack_by_hand(folders, tmp_path, 48)
    packed = TokenData.open(folder, "train")
    lengths, place, is_target = packed.documents(np.array([2, 0]))
    unpacked = TokenData.open(tables / "data", "train")
    due = unpacked.documents(np.array(documents[2] + documents[0]))
    assert sorted(lengths.tolist()) == sorted(due[0].tolist())
    assert place.tolist() == due[1].tolist() and is_target.tolist() == due[2].tolist()


@pytest.mark.parametrize("stride", [1, 3])
def test_targets_are_those_that_labels_name(tables, stride):
    rows = np.array([0, 5, 9])
    data = TokenData.open(tables / "data", "train")
    _, place, is_target = data.documents(rows)
    labels_BTH = shift_labels(data.collate(rows, rows).labels_BT, 3, stride=stride)
    due = [int((labels_BTH[..., h] != IGNORE_INDEX).sum()) for h in range(3)]
    assert [int(is_target[place > h * stride].sum()) for h in range(3)] == due
