"""A sharded model that was proven to keep packed documents apart learns what one process does."""

import torch

from tests.distributed.harness import full_state, run_on_ranks
from tests.unit.models.families import VOCAB, family
from wmtp.models.build import parallelize
from wmtp.models.load import from_causal_lm
from wmtp.models.packed import prove_packed
from wmtp.objectives import shift_labels

LENS = ((9, 15), (20, 4))


def rows():
    """Two packed rows: tokens, pieces and positions."""
    ids_BT = torch.randint(3, VOCAB, (2, 24), generator=torch.Generator().manual_seed(1))
    segments_BT = torch.tensor([[i for i, n in enumerate(row) for _ in range(n)] for row in LENS])
    positions_BT = torch.tensor([[t for n in row for t in range(n)] for row in LENS])
    return ids_BT, segments_BT, positions_BT


def trained(model, part, factor):
    """After two steps of gradient descent on the rows `part`; FSDP takes the mean over ranks, so `factor` is their number."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    ids_BT, segments_BT, positions_BT = (each[part] for each in rows())
    for _ in range(2):
        output = model.train()(input_ids=ids_BT, position_ids=positions_BT, labels_BTH=shift_labels(ids_BT, 3, segments_BT))
        (factor * output.nll_BTH.mean() * len(ids_BT)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return full_state(model)


def sharded(world):
    model = from_causal_lm(family("mistral"), 3)
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    prove_packed(model, "it")
    return trained(model, slice(world.rank, world.rank + 1), world.size)


def test_a_proven_model_learns_what_one_process_does(tmp_path):
    found, _ = run_on_ranks(2, sharded, tmp_path=tmp_path)
    start = from_causal_lm(family("mistral"), 3)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    due = trained(start, slice(0, 2), 1)
    moved = [name for name, tensor in due.items() if not torch.allclose(tensor, before[name], atol=1e-4)]
    assert len(moved) > 10
    for name, tensor in due.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
