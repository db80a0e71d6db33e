"""A checkpoint of somebody else's beside the arms: its numbers by hand, what is said of it, and what is refused."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.unit.reporting.artifacts import make_config, write_artifacts, write_checkpoint
from wmtp.errors import ConfigError, DataError
from wmtp.reporting.alternatives import alternatives
from wmtp.reporting.collect import collect
from wmtp.reporting.figures import draw_figures
from wmtp.reporting.inputs import load_beside, load_inputs
from wmtp.reporting.layout import NARROW, WIDE
from wmtp.reporting.page import render_page
from wmtp.reporting.tables import arm_rows, csv_text, main_table, markdown, metrics_tree, terminal_table

NOT_OURS = "one checkpoint, not a run of ours"


def report_of(root, seeds, beside, *overrides):
    given = [f"report.beside.{name}=results/{name}" for name in beside]
    config = make_config(["baseline", "rho1"], seeds, *given, *overrides)
    if not (root / "artifacts").exists():
        write_artifacts(root, config, num_tasks=60)
    for name, changes in beside.items():
        write_checkpoint(root / f"results/{name}", root / f"artifacts/evaluation/rho1-s{seeds[0]}", **changes)
    inputs = load_inputs(config, root)
    return collect(replace(inputs, beside=load_beside(config, root, inputs.runs[0])), config)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("beside")


@pytest.fixture(scope="module")
def report(root):
    return report_of(root, [0, 1, 2], {"theirs": {}})


def solved(root, run):
    rows = csv.DictReader((root / f"artifacts/evaluation/{run}/per_task.csv").open())
    by_task = {row["task_id"]: int(row["num_correct"]) / int(row["num_samples"]) for row in rows}
    return np.array([by_task[task] for task in sorted(by_task)])


def test_its_scores_are_its_own_and_the_difference_is_from_the_mean_of_the_baselines_runs(root, report):
    theirs, entry = solved(root, "rho1-s0"), report["beside"]["theirs"]
    baseline = np.mean([solved(root, f"baseline-s{seed}") for seed in (0, 1, 2)], axis=0)
    assert entry["pass_at_k"]["1"]["mean"] == pytest.approx(theirs.mean())
    difference = entry["difference"]
    assert difference["mean"] == pytest.approx((theirs - baseline).mean()) and difference["num_tasks"] == 60
    error = (theirs - baseline).std() / 60**0.5
    for end, sign in (("low", -1), ("high", 1)):
        assert difference[end] == pytest.approx(difference["mean"] + sign * 1.96 * error, abs=0.2 * error), "over tasks"
    assert difference["seed_low"] is None and difference["joint_low"] is None and difference["verdict"] == "single"


def test_the_arms_are_compared_as_they_are_without_it(root, report):
    config = make_config(["baseline", "rho1"], [0, 1, 2])
    alone = collect(load_inputs(config, root), config)
    same = ("arms", "runs", "curves", "pairs", "setting", "baseline")
    assert {key: report[key] for key in same} == {key: alone[key] for key in same}
    assert report["findings"]["arms"] == alone["findings"]["arms"] and alone["beside"] == {}


def test_nothing_is_claimed_of_a_method(report):
    (row,) = report["findings"]["beside"]
    assert row["name"] == "theirs" and row["text"].startswith(f"is {NOT_OURS} (org/theirs): it ")
    assert "from baseline in this one pair, which says nothing of the method (pass@1 " in row["text"]
    assert "n = 1 checkpoint against 3 seeds of baseline, 60 tasks" in row["text"] and "beats" not in row["text"]


class Rows(HTMLParser):
    """The cells of every table row."""

    def __init__(self):
        super().__init__()
        self.rows, self._in = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in = True

    def handle_endtag(self, tag):
        self._in = self._in and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in:
            self.rows[-1][-1] += data


def test_it_is_a_row_wherever_arms_are_listed(report, tmp_path):
    header, rows = main_table(report)
    cells = dict(zip(header, rows[-1], strict=True))
    assert cells["arm"] == "theirs" and cells["seeds"] == "" and cells["verdict"] == "one checkpoint"
    entry = report["beside"]["theirs"]
    score = f"{entry['pass_at_k']['1']['mean']:.3f}"
    assert cells["pass@1"].startswith(score) and cells["minus baseline"].startswith(f"{entry['difference']['mean']:+.3f}")
    text = markdown(report)
    assert f"theirs: {NOT_OURS}." in text and f"- **theirs** is {NOT_OURS}" in text
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert "theirs" in terminal_table(tmp_path / "report.json")
    arms = list(csv.DictReader(io.StringIO(csv_text(arm_rows(report)))))
    assert [row["arm"] for row in arms] == ["baseline", "rho1", "theirs"] and arms[-1]["checkpoint"] == "org/theirs"
    assert arms[-1]["num_seeds"] == "" and float(arms[-1]["pass@1"]) == entry["pass_at_k"]["1"]["mean"]
    assert metrics_tree(report)["theirs"]["difference"] == round(entry["difference"]["mean"], 6)
    parser = Rows()
    parser.feed(render_page(report, {}, {}))
    (row,) = [row for row in parser.rows if row and row[0].startswith("theirs")]
    (due,) = [row for row in parser.rows if row and row[0] == "rho1" and any("[" in cell for cell in row)][:1]
    assert len(row) == len(due) and row[1].startswith(score), "its cells stand under the arms'"
    assert row[0] == f"theirs {NOT_OURS}" and any(cell.startswith(score) for cell in row)


def test_the_figure_of_pass_at_1_has_it_and_its_words_too(report):
    for layout in (WIDE, NARROW):
        svg = draw_figures(report, layout, "svg")
        assert b"theirs" in svg["pass_at_1"] and b"(one checkpoint)" in svg["pass_at_1"]
        assert b"theirs" not in svg["learning_curves"]
    assert "theirs (one checkpoint) " in alternatives(report)["pass_at_1"]


def test_a_report_of_before_is_still_a_table(report, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({key: report[key] for key in report if key != "beside"}))
    assert "rho1" in terminal_table(tmp_path / "report.json")


def test_several_are_one_family_and_one_run_of_the_baseline_is_one_seed(tmp_path):
    report = report_of(tmp_path, [0], {"theirs": {}, "others": {"model": "org/others"}})
    assert list(report["beside"]) == ["others", "theirs"]
    difference = report["beside"]["theirs"]["difference"]
    assert difference["joint_low"] < difference["low"] and difference["joint_high"] > difference["high"]
    assert "1 checkpoint against 1 seed of baseline" in report["findings"]["beside"][0]["text"]
    assert ">jointly [" in render_page(report, {}, {}).replace("<small>", ">")


def test_without_the_baseline_there_are_scores_alone(tmp_path):
    config = make_config(["rho1"], [0], "report.beside.theirs=results/theirs")
    write_artifacts(tmp_path, config, num_tasks=20)
    write_checkpoint(tmp_path / "results/theirs", tmp_path / "artifacts/evaluation/rho1-s0")
    inputs = load_inputs(config, tmp_path)
    report = collect(replace(inputs, beside=load_beside(config, tmp_path, inputs.runs[0])), config)
    assert report["findings"]["beside"] == [{"name": "theirs", "text": f"is {NOT_OURS} (org/theirs)."}]
    assert main_table(report)[1][-1][0] == "theirs" and NOT_OURS in render_page(report, {}, {})


def test_a_program_that_ran_without_a_sandbox_is_said(tmp_path):
    sandbox = {"isolation": "none", "allow_unsafe": True, "limits": {"time_limit_s": {"least": 2.0, "most": 4.0}}}
    report = report_of(tmp_path, [0], {"theirs": {"sandbox": sandbox}})
    assert "Programs ran without a sandbox (allow_unsafe)." in report["findings"]["caveats"]
    assert report["setting"]["isolation"] == ["namespaces and rlimits", "none"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"dataset": {"md5": "1" * 32}},
            r"dataset\.md5='1{32}', and the runs have '0{32}': .*--data artifacts/data/test_problems",
        ),
        ({"sandbox": {"limits": {}}}, r"sandbox\.limits=\{\}, and the runs have .*--timeout and --memory"),
        ({"prompt": {"format": "other"}}, r"prompt=\{'format': 'other'\}, and the runs have .*--prompt"),
        ({"num_samples": 3}, r"num_samples=3, and the runs have 10: .*--num-samples"),
    ],
)
def test_what_was_evaluated_otherwise_is_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=rf"^report\.beside\.theirs=results/theirs has {said}") as caught:
        report_of(tmp_path, [0], {"theirs": changes})
    assert "\n" not in str(caught.value)


def test_other_tasks_are_refused(tmp_path):
    config = make_config(["baseline"], [0], "report.beside.theirs=results/theirs")
    write_artifacts(tmp_path, config, num_tasks=20)
    write_checkpoint(tmp_path / "results/theirs", tmp_path / "artifacts/evaluation/baseline-s0")
    table = tmp_path / "results/theirs/per_task.csv"
    table.write_text(table.read_text().replace("test/000", "test/999"))
    with pytest.raises(DataError, match=r"results/theirs/per_task\.csv has other tasks than the runs"):
        load_beside(config, tmp_path, load_inputs(config, tmp_path).runs[0])
