"""The report's tables from a small report by hand."""

import csv
import io
import json

import pytest

from wmtp.reporting.tables import (
    arm_rows,
    csv_text,
    curve_rows,
    interval_text,
    main_table,
    markdown,
    metrics_tree,
    reach_text,
    scope_text,
    table_note,
    terminal_table,
    verdict_text,
)


def score(mean, low, high):
    return {"mean": mean, "low": low, "high": high, "seed_min": low, "seed_max": high, "num_seeds": 2}


def arm(mean, difference=None, reach=None, weights=None):
    return {
        "seeds": [0, 1],
        "reported_k": [1, 5],
        "pass_at_k": {"1": score(mean, mean - 0.1, mean + 0.1), "5": score(mean + 0.2, mean, mean + 0.3)},
        "greedy": score(mean / 2, 0.0, 1.0),
        "nll": {"head0": 0.12345678, "head1": 0.5},
        "difference": difference,
        "tokens_to_baseline": reach,
        "weights": weights,
        "cost": {"wall_s": 61.0, "num_parameters": 1000.0},
    }


DIFFERENCE = {
    "mean": 0.25, "low": 0.1, "high": 0.4, "seed_low": -0.1, "seed_high": 0.6, "num_seeds": 2, "num_tasks": 9,
    "joint_low": None, "joint_high": None, "joint_seed_low": -0.3, "joint_seed_high": 0.8, "verdict": "unclear",
}  # fmt: skip
REACH = {"runs": [], "num_reached": 1, "num_runs": 2, "mean_frac": 0.614}


@pytest.fixture
def report():
    return {
        "title": "wmtp [new]",
        "baseline": "baseline", "beside": {},
        "score": {"name": "pass@1", "noun": "task"},
        "setting": {
            "benchmark": "synthetic", "num_tasks": 1, "num_samples": 10, "temperature": 0.8, "top_p": 0.95, "seeds": [0, 1],
        },
        "arms": {
            "baseline": arm(0.3, reach={"runs": [], "num_reached": 2, "num_runs": 2, "mean_frac": 1.0}),
            "rho1": arm(0.55, DIFFERENCE, REACH, {"signal_mean": 1.2, "noise_mean": None}),
        },
        "runs": [],
        "curves": {
            "rho1-s0": {
                "train": [{"step": 10, "tokens": 100, "value": 2.5}, {"step": 20, "tokens": 200, "value": 2.0}],
                "validation": [{"step": 20, "tokens": 200, "value": 1.5}, {"step": 30, "tokens": 300, "value": 1.25}],
            }
        },
        "critic": {"auc": 0.96543219, "brier": 0.1, "ece": None},
        "findings": {"beside": [], 
            "arms": [{"arm": "rho1", "verdict": "unclear", "text": "cannot be told from baseline."}],
            **{group: [f"about {group}"] for group in ("pairs", "curves", "weights", "critic")},
            "caveats": ["2 seeds are few"],
            "limits": "what it cannot say",
        },
    }  # fmt: skip


def test_csv_has_a_column_for_whatever_any_row_has():
    text = csv_text([{"run": "a", "x": 1}, {"run": "b,c", "y": None, "x": 2.5}])
    assert text == 'run,x,y\na,1,\n"b,c",2.5,\n'
    assert csv_text([]) == "\n"


def test_one_flat_row_for_every_arm(report):
    baseline, rho1 = arm_rows(report)
    assert (rho1["arm"], rho1["num_seeds"], rho1["pass@1"], rho1["pass@5_low"], rho1["pass@5_seed_max"]) == pytest.approx(
        ("rho1", 2, 0.55, 0.55, 0.85)
    )
    assert (rho1["greedy_pass@1"], rho1["nll_head1"], rho1["wall_s"]) == (0.275, 0.5, 61.0)
    assert (rho1["difference_mean"], rho1["difference_verdict"], rho1["tokens_to_baseline_frac"]) == (0.25, "unclear", 0.614)
    assert (rho1["weight_signal_mean"], rho1["weight_noise_mean"], rho1["num_reached_baseline"]) == (1.2, None, 1)
    assert "difference_mean" not in baseline and "difference_num_seeds" not in rho1 and baseline["weight_signal_mean"] is None


def test_a_curves_row_is_a_step_with_what_was_measured_then(report):
    assert curve_rows(report) == [
        {"run": "rho1-s0", "step": 10, "tokens": 100, "train_loss": 2.5},
        {"run": "rho1-s0", "step": 20, "tokens": 200, "train_loss": 2.0, "val_nll_head0": 1.5},
        {"run": "rho1-s0", "step": 30, "tokens": 300, "val_nll_head0": 1.25},
    ]


def test_the_few_numbers_that_dvc_shows(report):
    tree = metrics_tree(report)
    expected = {
        "pass@1": 0.55,
        "pass@5": 0.75,
        "greedy_pass@1": 0.275,
        "nll_head0": 0.123457,
        "nll_head1": 0.5,
        "difference": 0.25,
    }
    assert tree["rho1"] == expected
    assert "difference" not in tree["baseline"] and tree["critic"] == {"auc": 0.965432, "brier": 0.1}
    assert "critic" not in metrics_tree(report | {"critic": None})


def test_the_main_table_compares_with_the_baseline(report):
    header, rows = main_table(report)
    assert header == ["arm", "seeds", "pass@1", "pass@5", "greedy", "minus baseline", "verdict", "nll", "tokens"]
    assert rows[0] == ["baseline", "2", "0.300 [0.200, 0.400]", "0.500 [0.300, 0.600]", "0.150", "", "", "0.1235", ""]
    assert rows[1][0] == "rho1" and rows[1][5:] == [
        "+0.250 [+0.100, +0.400]",
        "cannot tell [-0.300, +0.800]",
        "0.1235",
        "61 % (1 of 2)",
    ]


def test_of_one_run_nothing_is_said_to_decide(report):
    report["arms"]["rho1"]["difference"] = DIFFERENCE | {"verdict": "single", "seed_low": None, "seed_high": None}
    assert main_table(report)[1][1][6] == "one run"
    assert "verdict: brackets" in table_note(report)
    report["setting"]["seeds"] = [0]
    assert "verdict" not in table_note(report)


def test_without_a_baseline_the_table_has_no_columns_for_it(report):
    report["baseline"] = None
    header, rows = main_table(report)
    assert header == ["arm", "seeds", "pass@1", "pass@5", "greedy", "nll"] and {len(row) for row in rows} == {6}
    assert "tokens" not in table_note(report)


@pytest.mark.parametrize(
    ("verdict", "num_seeds", "text"),
    [("better", 3, "beats"), ("single", 1, "one run"), ("worse", 2, "worse"), ("unclear", 3, "cannot tell")],
)
def test_verdicts_in_words(verdict, num_seeds, text):
    assert verdict_text({"verdict": verdict, "num_seeds": num_seeds}) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "61 % (1 of 2)"),
        ({"num_reached": 2}, "61 %"),
        ({"mean_frac": None, "num_reached": 0}, "never"),
        ({"num_runs": 0}, ""),
    ],
)
def test_how_soon_the_baseline_is_reached(changes, text):
    assert reach_text(REACH | changes, is_baseline=False) == text
    assert reach_text(REACH | changes, is_baseline=True) == reach_text(None, is_baseline=False) == ""


def test_the_scope_counts_in_english(report):
    assert scope_text(report) == "synthetic: 1 task x 10 samples (T = 0.8, top-p 0.95); seeds 0, 1"
    report["setting"] |= {"num_tasks": 1200, "num_samples": 1, "seeds": [3], "temperature": 1.0}
    assert scope_text(report) == "synthetic: 1,200 tasks x 1 sample (T = 1, top-p 0.95); seed 3"


def test_markdown_holds_the_table_and_every_finding(report):
    lines = markdown(report).splitlines()
    header, rows = main_table(report)
    table = [line for line in lines if line.startswith("|")]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in table] == [header, ["---"] * len(header), *rows]
    said = [line for line in lines if line.startswith("- ")]
    groups = ("pairs", "curves", "weights", "critic")
    expected = ["- **rho1** cannot be told from baseline.", *(f"- about {group}" for group in groups), "- 2 seeds are few"]
    assert said == expected and lines[-1] == "what it cannot say" and lines[0] == "# wmtp [new]"


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminals_table_fits_and_holds_every_number(report, tmp_path, width):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    text = terminal_table(path, width)
    assert max(len(line) for line in text.splitlines()) <= width
    flat = " ".join(text.split())
    assert all(number in flat for number in ("0.550", "0.275", "+0.250", "0.1235", "61 %"))
    assert "wmtp [new]" in flat and "! 2 seeds are few" in flat, "what stands in brackets is no colour"


def test_an_interval_in_brackets():
    assert interval_text(score(0.5, 0.25, 0.751)) == "0.500 [0.250, 0.751]"


def test_csv_rows_of_arms_are_read_back_as_they_were(report):
    rows = list(csv.DictReader(io.StringIO(csv_text(arm_rows(report)))))
    assert [row["arm"] for row in rows] == ["baseline", "rho1"] and float(rows[1]["pass@1"]) == 0.55
    assert rows[0]["difference_mean"] == "" and rows[1]["weight_noise_mean"] == ""
