"""A trace is of the steps that were asked for, and can be read as one."""

import gzip
import json

import pytest
import torch

from wmtp.training.trace import Traced


def run(path, steps, **asked):
    """Train a line for some steps; what was said, and the steps that were taken."""
    said, seen = [], []
    weights = torch.zeros(4, requires_grad=True)

    def step_function(batches, step):
        seen.append(step)
        with torch.profiler.record_function(f"step number {step}"):
            (weights - batches).square().sum().backward()

    with Traced(step_function, path, say=said.append, **asked) as traced:
        for step in steps:
            traced(torch.ones(4), step)
            with torch.profiler.record_function(f"optimizer {step}"):
                weights.grad = None
    return said, seen


def names(path):
    """Our own marks in a trace in Chrome's format."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    events = json.loads(text)["traceEvents"]
    return [event["name"] for event in events if event["name"].startswith(("step number", "optimizer"))]


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_it_holds_the_steps_that_were_asked_for_with_the_optimizers(tmp_path, name):
    path = tmp_path / "new" / name
    said, seen = run(path, range(6), first=3, num_steps=2)
    assert sorted(set(names(path))) == ["optimizer 2", "optimizer 3", "step number 2", "step number 3"]
    assert said == [f"trace of steps 3 to 4: {path} (open it in ui.perfetto.dev)"] and seen == list(range(6))


def test_a_training_that_ends_before_leaves_what_there_was(tmp_path):
    said, _ = run(tmp_path / "t.json", range(4), first=4, num_steps=10)
    assert set(names(tmp_path / "t.json")) == {"step number 3", "optimizer 3"} and "steps 4 to 4" in said[0]


@pytest.mark.parametrize("first", [None, 2])
def test_without_one_or_resumed_after_it_nothing_is_written(tmp_path, first):
    said, _ = run(tmp_path / "t.json", range(3, 6), first=first, num_steps=1)
    assert said == [] and not (tmp_path / "t.json").exists()
