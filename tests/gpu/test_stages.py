"""Whole stages on a GPU: the numbers of the CPU, and training that goes on where it was stopped.

Each runs in a process of its own, as a stage does: a process that has used its GPU cannot be forked.
"""

import json
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pyarrow
import pytest
import torch

from tests.distributed.trainings import RUN, STAGES, TRAININGS, make_config, make_workspace, run_stage

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

GPU = "cuda"
POLICY = f"train_policy@{RUN}"
HEADS = {"warmup_steps": 2}
DRIFT = {"float32": 1e-3, "bfloat16": 5e-2}
"""How far two devices' NLLs may be apart after six steps, as a share."""


def on(device, root, config, *names, signal_at=()):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in names:
            pool.submit(run_stage, root, config, name, device=device, signal_at=signal_at).result()


def rows(root, name):
    """What was measured at every step, clocks and memory left out."""
    (path,) = (root / STAGES[name][1][1]).glob("*.jsonl")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key.startswith(("train/", "val/"))} for row in found]


def scores(root, name):
    """Every number of a score's table."""
    (output,) = STAGES[name][1]
    table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(root / output / "train.arrow"))).read_all()
    column = table[next(name for name in table.column_names if name.endswith(("_nll", "value")))]
    return np.concatenate([np.asarray(row, dtype=float) for row in column.to_pylist()])


def assert_close(found, expected, share):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in (key for key in one if "nll" in key):  # not a selection's own loss, which rounding may tip
            assert one[key] == pytest.approx(other[key], rel=share, abs=share), key


@pytest.mark.parametrize(
    ("dtype", "adapters", "heads"),
    [
        ("float32", False, None),
        ("float32", True, None),
        ("float32", False, HEADS),
        ("bfloat16", False, None),
        ("bfloat16", True, None),
    ],
)
def test_every_stage_computes_what_the_cpu_computes(tmp_path, dtype, adapters, heads):
    ours_in, oracle_in = tmp_path / "ours", tmp_path / "oracle"
    for folder, device, narrow in ((ours_in, GPU, dtype), (oracle_in, "cpu", "float32")):
        root = make_workspace(folder, dropout=0.0)
        config = make_config(root, adapters=adapters, heads=heads, train={"dtype": narrow}, dropout=0.0)
        on(device, root, config, *STAGES)
    for name in TRAININGS:
        assert_close(rows(ours_in, name), rows(oracle_in, name), DRIFT[dtype])
    for name in (name for name in STAGES if name.startswith("score_")):
        ours, oracle = (scores(folder, name) for folder in (ours_in, oracle_in))
        assert len(oracle) > 24
        np.testing.assert_allclose(ours, oracle, rtol=DRIFT[dtype], atol=DRIFT[dtype], err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_killed_training_goes_on_with_the_device_s_own_random_numbers(tmp_path, dtype):
    """Dropout in attention, adapters and the critic's head: other masks would show at once."""
    for name in ("whole", "killed"):
        root = make_workspace(tmp_path / name)
        config = make_config(root, adapters=True, train={"dtype": dtype})
        on(GPU, root, config, "tune_reference@s0", "score_reference@s0")
        if name == "killed":
            with pytest.raises(BrokenProcessPool):
                on(GPU, root, config, POLICY, signal_at=(5, signal.SIGKILL))
        on(GPU, root, config, POLICY)
    assert_close(rows(tmp_path / "killed", POLICY), rows(tmp_path / "whole", POLICY), DRIFT[dtype])


@pytest.mark.parametrize("section", ["tune_reference", "train_policy"])
def test_flex_attention_learns_the_same(tmp_path, section):
    pytest.importorskip("triton")
    name = {"tune_reference": "tune_reference@s0", "train_policy": POLICY}[section]
    before = [] if section == "tune_reference" else ["tune_reference@s0", "score_reference@s0"]
    for folder, attention in (("plain", None), ("flex", "flex_attention")):
        root = make_workspace(tmp_path / folder, dropout=0.0)
        on(GPU, root, make_config(root, train={"attention": attention}, dropout=0.0), *before, name)
    assert_close(rows(tmp_path / "flex", name), rows(tmp_path / "plain", name), 1e-3)


@pytest.mark.parametrize("backend", ["inductor", "cudagraphs"])
def test_compiled_blocks_learn_the_same(tmp_path, backend):
    pytest.importorskip("triton")
    for name, compiled in (("plain", None), ("compiled", backend)):
        root = make_workspace(tmp_path / name, dropout=0.0)
        options = {} if compiled is None else {"compile_backend": compiled}
        on(GPU, root, make_config(root, train=options, dropout=0.0), "tune_reference@s0")
    assert_close(rows(tmp_path / "compiled", "tune_reference@s0"), rows(tmp_path / "plain", "tune_reference@s0"), 1e-3)
