"""Whatever ends a training, the checkpoint that was being written is completed, and the first error is the one that is seen."""

import shutil

import pytest
import torch
from torch.distributed.fsdp import fully_shard

from tests.distributed.harness import run_on_ranks
from wmtp.checkpoint import Checkpointer, TrainState
from wmtp.distributed import seed_everything
from wmtp.errors import DataError


def small_state(world):
    model = fully_shard(torch.nn.Linear(4, 4), mesh=world.mesh)
    return TrainState(model, [torch.optim.AdamW(model.parameters())])


def interrupted(world, folder, raising_ranks, damage=False):
    """Save step 3 and end by an error at once; what was raised, on every rank."""
    state = small_state(world)
    try:
        with Checkpointer(folder, world) as checkpointer:
            checkpointer.save(3, state, {"step": 3})
            if damage:
                checkpointer._pending.done.result()
                world.barrier()
                if world.is_main:
                    shutil.rmtree(folder)
                world.barrier()
            if world.rank in raising_ranks:
                raise DataError(f"rank {world.rank} has read something")
            world.barrier()  # what a rank does that knows nothing of the other's error
    except (DataError, RuntimeError) as error:
        return str(error) if isinstance(error, DataError) else "the other rank is gone"
    return None


def restored(world, folder):
    state = small_state(world)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.zero_()
    progress = Checkpointer(folder, world).load_newest(state, seed=0)
    return progress, torch.get_rng_state().tolist(), sum(float(p.full_tensor().abs().sum()) for p in state.model.parameters())


@pytest.mark.parametrize("raising_ranks", [(0, 1), (1,), (0,)])
def test_an_error_on_any_rank_leaves_the_checkpoint_that_was_being_written(tmp_path, raising_ranks):
    messages = run_on_ranks(2, interrupted, tmp_path / "resume", raising_ranks, tmp_path=tmp_path)
    for rank, message in enumerate(messages):
        assert message == (f"rank {rank} has read something" if rank in raising_ranks else "the other rank is gone")
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["step-00000003"]
    for progress, _, size in run_on_ranks(2, restored, tmp_path / "resume", tmp_path=tmp_path):
        assert progress == {"step": 3} and size > 0


def saved(world, folder):
    """Step 3's checkpoint, with each rank's generator somewhere of its own."""
    state = small_state(world)
    seed_everything(50, world.rank)
    with Checkpointer(folder, world) as checkpointer:
        checkpointer.save(3, state, {"step": 3})
    return torch.get_rng_state().tolist()


def seeded(*stream):
    seed_everything(*stream)
    return torch.get_rng_state().tolist()


def test_generators_go_on_where_they_were_or_start_from_seed_rank_and_step(tmp_path):
    written = run_on_ranks(2, saved, tmp_path / "resume", tmp_path=tmp_path)
    assert [place for _, place, _ in run_on_ranks(2, restored, tmp_path / "resume", tmp_path=tmp_path)] == written
    (alone,) = run_on_ranks(1, restored, tmp_path / "resume", tmp_path=tmp_path)
    many = run_on_ranks(3, restored, tmp_path / "resume", tmp_path=tmp_path)
    assert [place for _, place, _ in (alone, *many)] == [seeded(0, rank, 3) for rank in (0, 0, 1, 2)]


def test_a_checkpoint_that_cannot_be_completed_says_so_and_hides_no_error(tmp_path, capfd):
    messages = run_on_ranks(2, interrupted, tmp_path / "resume", (0, 1), damage=True, tmp_path=tmp_path)
    assert messages == ["rank 0 has read something", "rank 1 has read something"]
    said = capfd.readouterr().out
    assert "checkpoint of step 3 could not be written" in said
    assert "(this came after DataError: rank 0 has read something)" in said


def test_one_flipped_bit_of_any_rank_is_seen_by_all(tmp_path, capfd):
    """Each rank reads its share; whatever one of them finds, all of them go on from the same step."""
    for number in (0, 1):
        folder = tmp_path / f"resume-{number}"
        run_on_ranks(2, saved, folder, tmp_path=tmp_path)
        part = folder / "step-00000003" / f"__{number}_0.distcp"
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
        assert [progress for progress, _, _ in run_on_ranks(2, restored, folder, tmp_path=tmp_path)] == [None, None]
        said = f"step-00000003 is damaged (__{number}_0.distcp: other bytes than were written): starting from the beginning"
        assert capfd.readouterr().out.count(said) == 1
