"""Gradients of other people's families, sharded and with activation checkpointing, are those of one process."""

import pytest

from tests.distributed.harness import full_state, run_on_ranks
from tests.unit.models.families import family, padded_tokens
from wmtp.models.build import parallelize
from wmtp.models.load import from_causal_lm
from wmtp.objectives import shift_labels


def gradients(model, ids, labels):
    model.train()(input_ids=ids, labels_BTH=labels).nll_BTH.sum().backward()
    whole = {n: p.grad if not hasattr(p.grad, "full_tensor") else p.grad.full_tensor() for n, p in model.named_parameters()}
    return {name.replace("_checkpoint_wrapped_module.", ""): tensor for name, tensor in whole.items()}


def sharded(world, name):
    """Each rank has a row of its own; FSDP takes the mean."""
    model = from_causal_lm(family(name), 3)
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=True)
    ids, _ = padded_tokens(24)
    mine = ids[world.rank : world.rank + 1]
    found = gradients(model, mine, shift_labels(mine, 3))
    return found, set(full_state(model))


@pytest.mark.parametrize("name", ["qwen3", "gemma3_text", "mistral", "olmo2", "smollm3", "granite"])
def test_two_ranks_have_the_gradients_of_one(name, tmp_path):
    (found, names), _ = run_on_ranks(2, sharded, name, tmp_path=tmp_path)
    model, (ids, _) = from_causal_lm(family(name), 3), padded_tokens(24)
    due = gradients(model, ids, shift_labels(ids, 3))
    assert found.keys() == due.keys() and names == set(model.state_dict())
    for parameter, expected in due.items():
        difference = (found[parameter] * 2 - expected).abs().max() / expected.abs().max()
        assert difference < 2e-6, f"{parameter}: {difference:.2g} of its largest gradient"
