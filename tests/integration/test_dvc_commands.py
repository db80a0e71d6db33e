"""What users of DVC do by its own commands, in a light workspace: experiments and plots."""

import csv
import re
import subprocess

import pytest

from tests.integration.light import LightWorkspace

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")


@pytest.fixture
def workspace(tmp_path):
    made = LightWorkspace(tmp_path / "workspace")
    made.params()
    subprocess.run([*GIT, "add", "--all"], cwd=made.root, check=True)
    subprocess.run([*GIT, "commit", "--quiet", "-m", "first"], cwd=made.root, check=True)
    return made


def test_an_experiment_of_dvcs_is_the_same_to_wmtp(workspace):
    before = (workspace.root / "params.yaml").read_text()
    workspace.run("dvc", "exp", "run", "-S", "evaluate.seed=3", "-S", "arms.rho1.weighting.keep_frac=0.7")
    written = (workspace.root / "params.yaml").read_text()
    assert "keep_frac: 0.7" in written and len(workspace.ran()) == 6
    same = ("evaluate.seed=3", "arms.rho1.weighting.keep_frac=0.7")
    output = workspace.flow(*same, PREFECT_API_URL="http://127.0.0.1:9/api")  # nothing to do: no Prefect
    assert "stages: 0 ran, 0 restored, 6 up to date" in output
    assert (workspace.root / "params.yaml").read_text() == written and workspace.stale() == []
    workspace.params()
    assert (workspace.root / "params.yaml").read_text() == before


def test_plots_need_no_network(workspace):
    report = workspace.root / "artifacts/report"
    report.mkdir(parents=True)
    with (report / "curves.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["run", "step", "tokens", "train_loss", "val_nll_head0"])
        rows.writerows([run, step, 100 * step, 2.0, 1.5 / step] for run in ("baseline-s0", "rho1-s0") for step in (1, 2, 3))
    for name in ("pass_at_1.png", "weights.png"):
        (report / name).write_bytes(b"a picture")
    workspace.run("dvc", "plots", "show")
    page = (workspace.root / "dvc_plots/index.html").read_text()
    assert not re.findall(r"""(?:src|href|import|url)\W{1,3}(?:https?:)?//[^"')]+""", page)
    assert re.findall(r"vegaEmbed\('#\w+', spec\)", page) and page.count('"run": "rho1-s0"') == 3
    assert len(re.findall(r'<img src="static/[^"]+\.png"', page)) == 2
