"""The whole stage on generated artifacts: what it writes, that it repeats itself, and that the page stands alone."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.reporting.artifacts import make_config, write_artifacts
from tests.workspaces import PROJECT
from wmtp.config import LaunchConfig
from wmtp.reporting import terminal_table
from wmtp.stages.context import StageContext
from wmtp.stages.declared import declared_only
from wmtp.stages.report import run
from wmtp.tracking import NullTracker

pytestmark = pytest.mark.slow

ARMS = ["ntp", "baseline", "filtered", "rho1", "verifiable"]
DECLARED = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["report"]["params"]
PLOTS = {"pass_at_1", "difference", "pass_at_k", "by_difficulty", "nll_per_head", "learning_curves", "weights", "calibration"}


def make_report(root: Path, arms: list[str], seeds: list[int], *overrides: str, out: str = "artifacts/report") -> Path:
    config = make_config(arms, seeds, *overrides)
    write_artifacts(root, config, num_tasks=30)
    context = StageContext(
        name="report",
        root=root,
        outputs={"artifacts/report": root / out},
        resume=root / "resume",
        fingerprint="0" * 64,
        launch=LaunchConfig(),
        tracker=NullTracker(),
    )
    result = run(declared_only(config, DECLARED, "report"), context)
    assert result.counts == {"num_runs": len(arms) * len(seeds), "num_arms": len(arms)}
    return root / out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("report"), ARMS, [0, 1])


def test_writes_every_file(folder):
    texts = {"index.html", "report.json", "report.md", "metrics.json", "summary.csv", "arms.csv", "curves.csv"}
    assert {path.name for path in folder.iterdir()} == texts | {f"{name}.png" for name in PLOTS}
    assert all((folder / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in PLOTS)


def test_the_page_says_what_it_was_made_of(folder):
    assert json.loads((folder / "report.json").read_text())["fingerprint"] == "0" * 64
    assert f"fingerprint is {'0' * 16};" in (folder / "index.html").read_text()


def test_the_page_needs_nothing_else(folder):
    page = (folder / "index.html").read_text()
    sources = re.findall(r'(?:src|srcset|href)="([^"]+)"', page)
    beside = {source for source in sources if not source.startswith("#")}
    assert beside == {"arms.csv", "summary.csv", "curves.csv", "report.json"}, (
        "data to take along, which the page does not need"
    )
    assert "<script src" not in page and page.count("<script>") == 1 and not re.search(r"url\((?!#)", page)
    assert page.count('<svg class="wide"') == page.count('<svg class="narrow"') == len(PLOTS)
    anchors = set(re.findall(r'<a href="#(\w+)"', page))
    assert anchors == {"findings", "scores", "learning", "weights", "critic", "cost", "data"}
    assert anchors <= set(re.findall(r'id="(\w+)"', page))


def test_the_page_shows_what_the_data_is(folder):
    page = (folder / "index.html").read_text()
    assert "<th>noisy share</th>" in page and "<td>0.500</td>" in page
    assert "<tr><th>table train</th><td>solutions</td><td>6,000</td>" in page
    assert '<td class="reasons">126 too long</td>' in page


def test_the_page_escapes_what_models_and_people_wrote(tmp_path):
    page = (make_report(tmp_path, ["baseline"], [0], "report.title='<b>x</b>'") / "index.html").read_text()
    assert "<h1>&lt;b&gt;x&lt;/b&gt;</h1>" in page


def test_tables_agree_with_the_inputs(folder):
    rows = list(csv.DictReader((folder / "summary.csv").open()))
    assert [row["run"] for row in rows] == [
        f"{arm}-s{seed}" for arm in ["baseline", "filtered", "ntp", "rho1", "verifiable"] for seed in (0, 1)
    ]
    metrics = json.loads((folder.parent / "evaluation/rho1-s1/metrics.json").read_text())
    assert float(rows[7]["pass@1"]) == metrics["pass@1"]
    arms = {row["arm"]: row for row in csv.DictReader((folder / "arms.csv").open())}
    mean = sum(float(row["pass@1"]) for row in rows if row["arm"] == "rho1") / 2
    assert float(arms["rho1"]["pass@1"]) == pytest.approx(mean)
    assert arms["ntp"]["nll_head1"] == "" and float(arms["rho1"]["nll_head1"]) > 0
    tree = json.loads((folder / "metrics.json").read_text())
    assert tree["rho1"]["pass@1"] == pytest.approx(mean, abs=1e-6) and tree["critic"]["auc"] == 0.965
    curves = list(csv.DictReader((folder / "curves.csv").open()))
    assert len(curves) == 10 * 30 and sum(bool(row["val_nll_head0"]) for row in curves) == 10 * 6


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    first = make_report(tmp_path, ["baseline", "verifiable"], [0], out="first")
    again = make_report(tmp_path, ["baseline", "verifiable"], [0], out="again")
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_arms_without_scores_or_baseline_leave_their_parts_out(tmp_path):
    folder = make_report(tmp_path, ["ntp"], [0])
    assert not {"difference.png", "weights.png", "calibration.png"} & {path.name for path in folder.iterdir()}
    page = (folder / "index.html").read_text()
    assert 'id="critic"' not in page and 'id="weights"' not in page
    assert "minus" not in (folder / "report.md").read_text().splitlines()[4]


def test_markdown_and_terminal_show_the_same_rows(folder):
    markdown = (folder / "report.md").read_text()
    table = terminal_table(folder / "report.json")
    report = json.loads((folder / "report.json").read_text())
    for arm, entry in report["arms"].items():
        score = f"{entry['pass_at_k']['1']['mean']:.3f}"
        assert re.search(rf"^\| {arm} \| 2 \| {score} \[", markdown, re.MULTILINE)
        assert re.search(rf"^. ?{arm} *. +2 . +{score} ", table, re.MULTILINE)
    assert max(len(line) for line in table.splitlines()) <= 120
    assert "2 seeds are few" in " ".join(table.split())


def test_the_terminal_table_is_light(folder):
    code = (
        "import sys; from wmtp.reporting import terminal_table; terminal_table(sys.argv[1]);"
        "sys.exit(','.join({'torch', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder / "report.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_toy_run_without_a_measurable_critic_is_reported(tmp_path):
    config = make_config(["baseline", "verifiable"], [0])
    folder = make_report(tmp_path, ["baseline", "verifiable"], [0], out="first")
    path = tmp_path / "artifacts/tuning/critic/s0/summary.json"
    summary = json.loads(path.read_text())
    for key in ("auc", "auc_max_reference_nll", "explained_variance", "pairwise_accuracy"):
        del summary["critic"][key]
    path.write_text(json.dumps(summary))
    context = StageContext("report", tmp_path, {"artifacts/report": folder}, tmp_path / "r", "0", LaunchConfig(), NullTracker())
    run(config, context)
    assert "AUC could not be measured" in (folder / "index.html").read_text()
