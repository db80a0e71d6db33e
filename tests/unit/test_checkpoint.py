"""Checkpoints are whole or absent, found newest first, and few; on one rank. Several are in tests/distributed."""

import hashlib
import json
import os
import re

import pytest
import torch

from wmtp.checkpoint import Checkpointer, TrainState
from wmtp.distributed import seed_everything
from wmtp.errors import CheckpointError


def make_state(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    return TrainState(model, [torch.optim.AdamW(model.parameters(), lr=0.1)])


def learn(state):
    """A step, so that the optimizer has something to remember."""
    state.model(torch.ones(1, 3)).square().sum().backward()
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad()


def parameters(state):
    return [parameter.detach().clone() for parameter in state.model.parameters()]


def folders(path):
    return sorted(one.name for one in path.iterdir())


def save(world, folder, steps, **options):
    """One checkpoint for each step; the parameters that each of them holds."""
    state, held = make_state(), {}
    with Checkpointer(folder, world, **options.pop("keep", {})) as checkpointer:
        for step in steps:
            learn(state)
            held[step] = parameters(state)
            checkpointer.save(step, state, {"step": step, "rows": [{"loss": 1.5}]}, **options)
    return held


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(world, tmp_path):
    state = make_state()
    learn(state)
    with Checkpointer(tmp_path, world) as checkpointer:
        seed_everything(4)
        torch.rand(5)
        checkpointer.save(1, state, {"step": 1})
        learn(state)
    expected, drawn = parameters(state), torch.rand(3)
    other = make_state(seed=9)
    assert Checkpointer(tmp_path, world).load_newest(other, seed=0) == {"step": 1}
    assert torch.equal(torch.rand(3), drawn), "the generators go on where they were"
    learn(other)
    assert all(torch.equal(a, b) for a, b in zip(parameters(other), expected, strict=True)), "moments and all"


def test_what_was_changed_after_saving_is_not_in_the_checkpoint(world, tmp_path):
    state = make_state()
    before = parameters(state)
    with Checkpointer(tmp_path, world) as checkpointer:
        checkpointer.save(1, state, {})
        with torch.no_grad():
            for parameter in state.model.parameters():
                parameter.fill_(7.0)
    Checkpointer(tmp_path, world).load(1, state)
    assert all(torch.equal(a, b) for a, b in zip(parameters(state), before, strict=True))


def test_the_newest_few_stay_and_the_best(world, tmp_path):
    save(world, tmp_path / "two", [1, 2, 3, 4])
    assert folders(tmp_path / "two") == ["step-00000003", "step-00000004"]
    save(world, tmp_path / "best", [2, 3, 4, 10], best=2)
    assert folders(tmp_path / "best") == ["step-00000002", "step-00000004", "step-00000010"]
    save(world, tmp_path / "one", [1, 2, 3], keep={"keep": 1})
    assert folders(tmp_path / "one") == ["step-00000003"]


def test_a_checkpoint_says_what_is_in_it(world, tmp_path):
    save(world, tmp_path, [3])
    folder = tmp_path / "step-00000003"
    mark = json.loads((folder / "complete.json").read_text())
    assert (mark["step"], mark["written_on"]) == (3, "1 x cpu") and mark["progress"] == {"step": 3, "rows": [{"loss": 1.5}]}
    assert mark["files"] == {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
        if path.name != "complete.json"
    }
    assert "generators-0.pt" in mark["files"] and len(mark["files"]) >= 3


def flip(path, at=-9):
    """One bit, as a disk or a memory does it; size and time stay."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGE = {
    "shorter": "__0_0.distcp: another size than was written",
    "longer": "__0_0.distcp: another size than was written",
    "gone": "__0_0.distcp: No such file or directory",
    "a bit of the tensors": "__0_0.distcp: other bytes than were written",
    "a bit of the generators": "generators-0.pt: other bytes than were written",
    "a bit of the plan": ".metadata: other bytes than were written",
    "no mark": "complete.json: FileNotFoundError",
    "half a mark": "complete.json: JSONDecodeError",
    "a mark of something else": "complete.json: KeyError",
    "a mark of sizes alone": "__0_0.distcp: other bytes than were written",
}


def damaged(folder, how):
    mark, part = folder / "complete.json", folder / "__0_0.distcp"
    if how in ("shorter", "longer"):
        part.write_bytes(part.read_bytes()[:-1] if how == "shorter" else part.read_bytes() + b"x")
    elif how in ("gone", "no mark"):
        (part if how == "gone" else mark).unlink()
    elif how.startswith("a bit of"):
        flip({"tensors": part, "generators": folder / "generators-0.pt", "plan": folder / ".metadata"}[how.split()[-1]])
    elif how == "a mark of sizes alone":
        content = json.loads(mark.read_text())
        content["files"]["__0_0.distcp"]["sha256"] = None
        mark.write_text(json.dumps(content))
    else:
        mark.write_text(mark.read_text()[:20] if how == "half a mark" else "{}")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_and_said(world, tmp_path, capfd, damage):
    held = save(world, tmp_path, [1, 2])
    damaged(tmp_path / "step-00000002", damage)
    state = make_state(seed=5)
    assert Checkpointer(tmp_path, world).load_newest(state, seed=0)["step"] == 1
    assert all(torch.equal(a, b) for a, b in zip(parameters(state), held[1], strict=True))
    said = f"checkpoint step-00000002 is damaged ({DAMAGE[damage]}): using the one before it\n"
    assert capfd.readouterr().out == said
    assert folders(tmp_path) == [".step-00000002.tmp-damaged", "step-00000001"], "it does not push whole ones out"


def test_a_checkpoint_that_is_whole_and_cannot_be_loaded_gives_way_to_the_one_before(world, tmp_path, capfd):
    """Of another model, say: nothing is damaged, and the run must not stand still for ever."""
    held = save(world, tmp_path, [1])
    other = torch.nn.Linear(5, 7)
    with Checkpointer(tmp_path, world) as checkpointer:
        checkpointer.save(2, TrainState(other, [torch.optim.AdamW(other.parameters())]), {"step": 2})
    state = make_state(seed=5)
    assert Checkpointer(tmp_path, world).load_newest(state, seed=0)["step"] == 1
    assert all(torch.equal(a, b) for a, b in zip(parameters(state), held[1], strict=True))
    assert re.match(r"checkpoint step-00000002 is damaged \(\w+: .+\): using the one before it\n$", capfd.readouterr().out)


def test_a_state_that_a_failed_load_has_touched_is_not_trained_on(world, tmp_path):
    other = torch.nn.Linear(5, 7)
    with Checkpointer(tmp_path, world) as checkpointer:
        checkpointer.save(2, TrainState(other, [torch.optim.AdamW(other.parameters())]), {"step": 2})
    with pytest.raises(CheckpointError, match=r"could be loaded \(\w+: .+; the next try starts anew"):
        Checkpointer(tmp_path, world).load_newest(make_state(), seed=0)
    assert Checkpointer(tmp_path, world).load_newest(make_state(), seed=0) is None


def test_a_checkpoint_is_of_use_only_with_the_best_one_that_it_names(world, tmp_path, capfd):
    """Whoever goes on from it would load the best one in the end."""
    save(world, tmp_path, [2, 3, 4, 10], best=2)
    flip(tmp_path / "step-00000002" / "__0_0.distcp")
    with pytest.raises(CheckpointError, match=r"step-00000002 is damaged \(__0_0.distcp: other bytes"):
        Checkpointer(tmp_path, world).load(2, make_state())
    assert Checkpointer(tmp_path, world).load_newest(make_state(), seed=0) is None
    said = capfd.readouterr().out
    assert said.startswith("checkpoint step-00000010 is damaged (step-00000002, the best so far: __0_0.distcp: other bytes")
    assert said.endswith(
        "checkpoint step-00000002 is damaged (__0_0.distcp: other bytes than were written): starting from the beginning\n"
    )


def test_without_a_whole_checkpoint_there_is_nothing_to_go_on_with(world, tmp_path):
    assert Checkpointer(tmp_path / "nowhere", world).load_newest(make_state(), seed=0) is None
    save(world, tmp_path, [1])
    (tmp_path / "step-00000001" / "complete.json").unlink()
    assert Checkpointer(tmp_path, world).load_newest(make_state(), seed=0) is None


def test_until_it_is_whole_it_has_no_name_that_is_looked_for(world, tmp_path):
    checkpointer = Checkpointer(tmp_path, world)
    checkpointer.save(1, make_state(), {})
    assert not list(tmp_path.glob("step-*")) and len(list(tmp_path.glob(".step-00000001.tmp-*"))) == 1
    checkpointer.wait()
    assert folders(tmp_path) == ["step-00000001"]
    checkpointer.wait()


def test_what_an_attempt_before_left_unfinished_is_not_taken_over(world, tmp_path):
    checkpointer = Checkpointer(tmp_path, world)
    checkpointer.save(1, make_state(), {})
    checkpointer.wait()
    left = tmp_path / ".step-00000002.tmp-ranks"
    left.mkdir()
    (left / "half.distcp").write_text("half")
    checkpointer.save(2, make_state(), {})
    checkpointer.wait()
    assert not (tmp_path / "step-00000002" / "half.distcp").exists()


def test_another_world_seeds_anew_and_says_so(world, tmp_path, capfd):
    save(world, tmp_path, [2])
    mark = tmp_path / "step-00000002" / "complete.json"
    mark.write_text(mark.read_text().replace("1 x cpu", "4 x cuda"))
    Checkpointer(tmp_path, world).load_newest(make_state(), seed=3)
    drawn = torch.rand(3)
    assert "step-00000002 was written on 4 x cuda, here is 1 x cpu: dropout is seeded anew" in capfd.readouterr().out
    seed_everything(3, 0, 2)
    assert torch.equal(torch.rand(3), drawn), "by seed, rank and step"


def test_a_place_that_cannot_be_written_is_one_line(world, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError) as caught:
        Checkpointer(tmp_path / "file" / "resume", world).save(5, make_state(), {})
    assert str(caught.value).startswith(f"checkpoint of step 5 could not be written to {tmp_path / 'file' / 'resume'} (")
    assert "bytes are free there): " in str(caught.value) and "\n" not in str(caught.value)
