"""The whole pipeline on a file of documents: packed, scored, learnt from, and reported by held-out NLL."""

import json

from tests.documents import write_documents
from tests.files_page import unknown_fields
from tests.workspaces import Workspace

TINY = {"hidden_size": 16, "intermediate_size": 32, "n_heads": 2, "n_kv_heads": 2}
SETTINGS = {
    "data.train_path": "texts.jsonl",
    "data.max_length": 64,
    "data.num_reference_problems": 60,
    "data.num_validation_problems": 30,
    "data.tokenizer.vocab_size": 320,
    **{f"{stage}.model.{key}": value for stage in ("tune_reference", "train_policy") for key, value in TINY.items()},
    **{f"{stage}.train.steps": 4 for stage in ("tune_reference", "train_policy")},
    **{f"{stage}.train.eval_interval": 2 for stage in ("tune_reference", "train_policy")},
    **{f"{stage}.optim.warmup_steps": 1 for stage in ("tune_reference", "train_policy")},
    "report.num_bootstrap": 100,
}


def test_documents_go_through_every_stage_to_a_report_on_held_out_nll(tmp_path):
    workspace = Workspace(tmp_path)
    write_documents(tmp_path / "texts.jsonl", 300, most=60)
    workspace.run(
        "wmtp", "params", "--profile", "text", "--arms", "baseline,rho1", *(f"{key}={value}" for key, value in SETTINGS.items())
    )
    output = workspace.run("dvc", "repro", "report")
    assert "more_of_long_documents" in output and workspace.stale() == []
    assert not {name.partition("@")[0] for name in workspace.lock()} & {"train_critic", "score_values"}
    for arm in ("baseline", "rho1"):
        summary, metrics = (workspace.read(f"artifacts/{where}/{arm}-s0/{name}.json") for where, name in
                            (("training", "summary"), ("evaluation", "metrics")))  # fmt: skip
        assert summary["valid_token_ratio"] > 0.85
        assert metrics["num_tasks"] == 30 and sorted(metrics["nll"]) == ["head0", "head1", "head2", "head3"]
        assert abs(summary["result"]["val/nll_head0"] / metrics["nll"]["head0"] - 1) < 1e-4
        history = (tmp_path / f"artifacts/training/{arm}-s0/history.jsonl").read_text().splitlines()
        measured = [row["val/nll_head0"] for row in map(json.loads, history)]
        assert len(measured) == 2 and measured[1] < measured[0]
        rows = (tmp_path / f"artifacts/evaluation/{arm}-s0/per_task.csv").read_text().splitlines()
        assert len(rows) == 31 and rows[1].startswith("texts.jsonl:")
    report = json.loads((tmp_path / "artifacts/report/report.json").read_text())
    assert unknown_fields(tmp_path / "artifacts") == []
    assert report["score"]["noun"] == "document" and "nats" in (tmp_path / "artifacts/report/report.md").read_text()
    said = workspace.run(
        "wmtp", "run", "compare", "--profile", "text", "arms=[verifiable]", "data.train_path=texts.jsonl", code=2
    )
    assert "arms.verifiable.weighting.name='verifiable' is not allowed: a weighting of tokens" in said
