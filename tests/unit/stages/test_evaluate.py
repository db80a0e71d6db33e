"""The stage on a tiny random policy: real generation, real execution, one and two gloo ranks."""

import gzip
import hashlib
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.unit.evaluation.models import EOS, PAD, byte_tokenizer, mtp
from tests.workspaces import PATIENCE_S, free_port
from wmtp.config import LaunchConfig, compose
from wmtp.problems.files import write_problems
from wmtp.problems.render import as_comment
from wmtp.stages.context import StageContext
from wmtp.tokens.tables import write_table
from wmtp.tokens.tokenizer import save_tokenizer
from wmtp.tracking import NullTracker
from wmtp.types import IOTest, Problem

REPOSITORY = Path(__file__).parents[3]
PROBLEMS = [
    Problem(f"p{i}", f"Print {'anything ' * (i % 3)}{i}.", (IOTest("", ""), IOTest("1\n", "")), difficulty=i % 2)
    for i in range(5)
]
"""Solved by the empty program and by any that prints nothing: a random model gets both kinds of verdict."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    data, policy = root / "artifacts/data", root / "artifacts/policy/baseline-s0"
    data.mkdir(parents=True)
    model = mtp(7, n_future=2)
    with torch.no_grad():
        model.unembedding.lm_head.weight[EOS] *= 4
    model.save_pretrained(policy)
    save_tokenizer(byte_tokenizer(), policy, 64)
    write_problems(data / "test_problems.jsonl", PROBLEMS)
    sizes = {"vocab_size": 258, "largest_token_id": 257, "max_length": 64}
    meta = {**sizes, "eos_token_id": EOS, "pad_token_id": PAD, "is_ordered": False}
    (data / "meta.json").write_text(json.dumps(meta | {"sources": [["given.jsonl", 7, "abc"]]}))
    write_table(data / "validation.arrow", validation_table())
    return root


def validation_table():
    rows = [[*as_comment(problem).encode(), *b"print(1)", EOS] for problem in PROBLEMS]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    tokens = pa.array(np.concatenate(rows).astype(np.int32))
    return pa.table(
        {
            "problem_id": [problem.problem_id for problem in PROBLEMS],
            "input_ids": pa.LargeListArray.from_arrays(pa.array(offsets), tokens),
            "prompt_len": pa.array([len(row) - 9 for row in rows], pa.int32()),
            "is_correct": [True] * len(rows),
        }
    )


def make_config(*overrides):
    fixed = ["evaluate.num_samples=4", "report.k=[1,4]", "evaluate.max_new_tokens=12"]
    return compose(REPOSITORY, "toy", arms=["baseline"], overrides=[*fixed, *overrides])


def rank_main(rank, size, port, config, context):
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    from wmtp.stages.evaluate import run

    result = run(config, replace(context, rank=rank, world_size=size))
    if rank == 0:
        context.resume.joinpath("result.json").write_text(json.dumps([result.metrics, result.counts]))


def evaluate(workspace, tmp_path, config, size=1):
    """Run the stage on `size` forked ranks; returns the output folder."""
    name = "artifacts/evaluation/baseline-s0"
    context = StageContext(
        name="evaluate@baseline-s0",
        root=workspace,
        outputs={name: tmp_path / f"out-{size}-{os.urandom(3).hex()}"},
        resume=tmp_path / "resume",
        fingerprint="f",
        launch=LaunchConfig(device="cpu"),
        tracker=NullTracker(),
        runtime=config.runtime,
    )
    fork, port = multiprocessing.get_context("fork"), free_port()
    ranks = [fork.Process(target=rank_main, args=(rank, size, port, config, context)) for rank in range(size)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in ranks] == [0] * size
    return context.outputs[name]


def read_samples(folder):
    """Without their times."""
    records = [json.loads(line) for line in gzip.decompress((folder / "samples.jsonl.gz").read_bytes()).decode().splitlines()]
    assert all(record.pop("wall_s") >= 0 for record in records)
    return records


def test_one_and_two_ranks_write_the_same_results(workspace, tmp_path):
    one = evaluate(workspace, tmp_path / "a", make_config())
    two = evaluate(workspace, tmp_path / "b", make_config(), size=2)
    assert (one / "per_task.csv").read_bytes() == (two / "per_task.csv").read_bytes()
    assert read_samples(one) == read_samples(two)
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    for volatile in ("generation",):
        first.pop(volatile), second.pop(volatile)
    assert first["sandbox"].pop("machine_factor") >= 1 and second["sandbox"].pop("machine_factor") >= 1
    assert first["nll"] == pytest.approx(second.pop("nll"))
    assert {**first, "nll": 0, "perplexity": 0} == {**second, "nll": 0, "perplexity": 0}


OWN = ("data.source=jsonl", "data.train_path=a.jsonl", "data.validation_path=b.jsonl")


@pytest.mark.parametrize(("source", "overrides"), [("synthetic", ()), ("jsonl", OWN)])
def test_metrics_and_samples_say_everything(workspace, tmp_path, source, overrides):
    folder = evaluate(workspace, tmp_path, make_config("evaluate.limit=3", *overrides))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["run"], metrics["arm"], metrics["seed"], metrics["benchmark"]) == (
        "baseline-s0",
        "baseline",
        0,
        source,
    )
    assert (metrics["num_tasks"], metrics["num_samples"], metrics["limit"]) == (3, 4, 3)
    content = (workspace / "artifacts/data/test_problems.jsonl").read_bytes()
    assert metrics["dataset"] == {
        "name": "test_problems.jsonl",
        "md5": hashlib.md5(content).hexdigest(),
        "sources": {"given.jsonl": "abc"},
    }
    _, counts = json.loads((tmp_path / "resume" / "result.json").read_text())
    tasks = {name.removeprefix("split/test/problems/"): number for name, number in counts.items() if name.startswith("split/")}
    assert tasks == {"read": len(PROBLEMS), "dropped/over_limit": len(PROBLEMS) - 3, "kept": 3}
    assert set(metrics["nll"]) == set(metrics["token_accuracy"]) == {"head0", "head1"}
    assert metrics["perplexity"] == pytest.approx(np.exp(metrics["nll"]["head0"]))
    assert sum(metrics["verdicts"].values()) == 12 and sum(metrics["greedy_verdicts"].values()) == 3
    assert "passed" in metrics["verdicts"] and len(metrics["verdicts"]) > 1
    assert metrics["sandbox"]["isolation"] != "none" and metrics["sandbox"]["allow_unsafe"] is False
    samples = read_samples(folder)
    assert [s["sample"] for s in samples] == ["greedy", 0, 1, 2, 3] * 3
    assert all(s["verdict"] == "passed" for s in samples if not s["completion"].strip())


def test_an_interrupted_evaluation_continues(workspace, tmp_path):
    config = make_config("runtime.generation_batch_size=5")
    whole = evaluate(workspace, tmp_path / "whole", config)
    (journal,) = (tmp_path / "whole/resume").glob("samples-0-*.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    resume = tmp_path / "again/resume"
    resume.mkdir(parents=True)
    (resume / "samples-1-7.jsonl").write_text("".join(lines[:12]) + lines[12][:30])
    again = evaluate(workspace, tmp_path / "again", config, size=2)
    assert read_samples(again) == read_samples(whole)
    generation = json.loads((again / "metrics.json").read_text())["generation"]
    assert generation["resumed_samples"] == 12
    there = {(record["task_id"], record["sample"]) for record in map(json.loads, lines[:12])}
    made = [sample for sample in read_samples(again) if (sample["task_id"], sample["sample"]) not in there]
    assert generation["tokens"] == sum(sample["num_tokens"] for sample in made), "nothing is made twice"
