"""One notion of a run's result: what the summary, the history and the tracker say is what the saved model does."""

import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.distributed.trainings import RUN, make_config, make_workspace, run_stages
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.value import load_value_model

POLICY = f"train_policy@{RUN}"
DIVERGES = {"lr": 0.5, "warmup_steps": 0, "schedule": "constant"}


def rows_of(path, *names):
    table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    return [table[name].to_pylist() for name in names]


def naive_validation(folder, root):
    """Mean NLL of head 0's response tokens, a row at a time, from logits."""
    model = MTPForCausalLM.from_pretrained(folder).eval()
    total, count = 0.0, 0
    for ids, prompt in zip(*rows_of(root / "artifacts/data/validation.arrow", "input_ids", "prompt_len"), strict=True):
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        for place in range(max(prompt, 1), len(ids)):
            total -= float(logprobs[place - 1, ids[place]])
            count += 1
    return total / count


def naive_brier(root):
    model = load_value_model(root / "artifacts/critic/s0").eval()
    data = root / "artifacts/data/critic_validation.arrow"
    (nll,) = rows_of(root / "artifacts/scores/reference/s0/critic_validation.arrow", "reference_nll")
    errors = []
    for ids, correct, surprise in zip(*rows_of(data, "input_ids", "is_correct"), nll, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), torch.tensor([surprise]))
        errors.append((1 / (1 + math.exp(-float(logits[0, -1]))) - correct) ** 2)
    return math.fsum(errors) / len(errors)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = make_workspace(tmp_path_factory.mktemp("prepared"))
    run_stages(root, make_config(root), "tune_reference@s0", "score_reference@s0", tmp_path=root)
    return root


def check(root, folder, metrics, objective, measured, patience):
    """Summary, history and tracker against `measured`, and the step against the history's own best or last row."""
    summary = json.loads((root / folder / "summary.json").read_text())
    history = [json.loads(line) for line in (root / folder / "history.jsonl").read_text().splitlines()]
    validations = [row for row in history if objective in row]
    expected = history[-1] if patience is None else min(validations, key=lambda row: row[objective])
    (marked,) = [row for row in history if row["is_result"]]
    assert summary["result_step"] == marked["step"] == metrics["step"] == expected["step"]
    assert summary["result_tokens"] == expected["tokens"]
    assert summary["steps"] == history[-1]["step"] and summary["tokens"] == history[-1]["tokens"]
    for said in (summary["result"], marked, metrics):
        assert said[objective] == expected[objective] == pytest.approx(measured, rel=1e-4)
    return summary


@pytest.mark.parametrize(("patience", "steps"), [(2, 15), (100, 12), (None, 12)])
def test_what_is_reported_of_a_policy_is_what_the_saved_policy_does(prepared, tmp_path, patience, steps):
    root = tmp_path / "root"
    shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("resume"))
    train = {"early_stopping_patience": patience, "steps": steps, "eval_interval": 2}
    config = make_config(prepared, train=train, optim=DIVERGES, runtime={"keep_checkpoints": 1})
    metrics = run_stages(root, config, POLICY, tmp_path=tmp_path)[POLICY]
    measured = naive_validation(root / f"artifacts/policy/{RUN}", root)
    summary = check(root, f"artifacts/training/{RUN}", metrics, "val/nll_head0", measured, patience)
    if patience is None:
        assert summary["result_step"] == summary["steps"] == steps
    else:
        assert summary["result_step"] < summary["steps"], "this run is made to get worse"
        assert (summary["steps"] < steps) == (patience == 2), "stopped early, or with patience left"


def test_what_is_reported_of_a_critic_is_what_the_saved_critic_does(prepared, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("resume"))
    train = {"early_stopping_patience": 100, "steps": 12, "eval_interval": 2}
    config = make_config(prepared, train=train, optim={"lr": 0.05, "warmup_steps": 0, "schedule": "constant"})
    metrics = run_stages(root, config, "train_critic@s0", tmp_path=tmp_path)["train_critic@s0"]
    summary = check(root, "artifacts/tuning/critic/s0", metrics, "val/brier", naive_brier(root), 100)
    assert summary["critic"]["brier"] == summary["result"]["val/brier"]
    assert np.isclose(summary["critic"]["ece"], summary["result"]["val/ece"])
