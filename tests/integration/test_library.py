"""The library's page and notebook, run in a workspace in which everything has come to its end."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.unit.library.test_names import BLOCKS
from tests.workspaces import PROJECT


def test_the_page_says_what_is_so(workspace, monkeypatch):
    monkeypatch.chdir(workspace.root)
    names = {}
    for block in BLOCKS:
        exec(compile(block, "docs/library.md", "exec"), names)
    assert len(names["scores"]) > 100 and {"reference_nll", "value"} <= set(names["scores"])
    assert len(names["drawn"]) == 4 and set(names["tasks"]["task_id"])
    assert names["last_nll"](names["workspace"]).keys() == set(names["workspace"].runs)
    assert [verdict.status for verdict in names["verdicts"]] == ["wrong_answer", "timeout"]
    assert names["report"]["arms"].keys() == {run.partition("-s")[0] for run in names["workspace"].runs}


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(workspace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT / "src"))
    notebook = nbformat.read(PROJECT / "docs/notebooks/first_look.ipynb", as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(workspace.root)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert re.search(r"rho1 keeps \d+ of \d+ targets", printed)
