"""A report on documents: arms are compared by the held-out NLL of every token, paired by document, and nothing is solved."""

import json

import numpy as np
import pytest

from tests.unit.reporting.artifacts import NUM_DOCUMENTS, config_of_documents, write_documents
from wmtp.errors import DataError
from wmtp.reporting.collect import collect
from wmtp.reporting.figures import draw_figures
from wmtp.reporting.inputs import load_inputs
from wmtp.reporting.layout import NARROW
from wmtp.reporting.page import render_page
from wmtp.reporting.tables import arm_rows, main_table, markdown, metrics_tree, terminal_table


@pytest.fixture
def made(tmp_path):
    """Evaluations of documents in the place of solved tasks: rho1 is better by about 0.2 nats a token, random worse by 0.1."""
    config = config_of_documents([0, 1, 2])
    return tmp_path, config, write_documents(tmp_path, config)


def test_differences_are_of_the_nll_of_all_tokens_and_more_saved_is_better(made):
    root, config, truth = made
    report = collect(load_inputs(config, root), config)
    for arm in ("rho1", "random"):
        found = report["arms"][arm]["difference"]
        due = np.mean([truth[f"baseline-s{seed}"] - truth[f"{arm}-s{seed}"] for seed in range(3)])
        assert found["mean"] == pytest.approx(due, rel=1e-9) and found["low"] < due < found["high"]
        assert found["num_tasks"] == NUM_DOCUMENTS and found["num_seeds"] == 3
    verdicts = {row["arm"]: row["verdict"] for row in report["findings"]["arms"]}
    assert verdicts == {"rho1": "better", "random": "worse"}
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_tables_figures_and_the_page_say_what_was_measured_and_nothing_of_solving(made):
    root, config, _ = made
    report = collect(load_inputs(config, root), config)
    header, rows = main_table(report)
    assert header == ["arm", "seeds", "saved against baseline", "verdict", "nll", "tokens"] and rows[0][0] == "baseline"
    (root / "report.json").write_text(json.dumps(report))
    figures = draw_figures(report, form="svg")
    assert {"difference", "nll_per_head", "learning_curves"} <= figures.keys() and "pass_at_1" not in figures
    page = render_page(report, figures, draw_figures(report, NARROW, "svg"))
    texts = [markdown(report), terminal_table(root / "report.json"), page, json.dumps([arm_rows(report), metrics_tree(report)])]
    for text in texts:
        assert "pass@" not in text and "greedy" not in text.lower()
    assert "text: 40 held-out documents; seeds 0, 1, 2" in texts[0] and "n = 3 seeds, 40 documents" in texts[0]
    assert "over documents" in page and "How programs ended" not in page


def test_a_broken_file_of_documents_is_named(made):
    root, config, _ = made
    path = root / "artifacts/evaluation/rho1-s0/per_task.csv"
    path.write_text("task_id,num_tokens\nx,3\n")
    with pytest.raises(DataError, match=r"rho1-s0/per_task\.csv lacks the columns nll_sum"):
        load_inputs(config, root)
    path.write_text("task_id,num_tokens,nll_sum\nx,3,many\n")
    with pytest.raises(DataError, match=r"per_task\.csv: could not convert string to float: 'many'"):
        load_inputs(config, root)
