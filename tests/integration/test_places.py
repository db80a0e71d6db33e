"""Every command where it may not write, where its user is a number, where the terminal has no letters, where nobody reads."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.integration.light import LightWorkspace
from tests.unit.sandbox.identities import IDENTITIES, become
from tests.workspaces import Workspace

READING = (("arms",), ("profiles",), ("tasks",), ("params", "--print"), ("--version",))
REFUSED = (("stage", "sample"), ("params", "--profile", "toy"), ("run", "compare", "--profile", "toy"))
NOWHERE = {"HOME": "/nonexistent", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    made = LightWorkspace(tmp_path_factory.mktemp("places"))
    for folder in (made.root, *made.root.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    return made


def run(workspace, who, *command, **how):
    environment = {key: value for key, value in workspace.environment().items() if key not in ("USER", "LOGNAME")}
    return subprocess.run(
        [*become(who), *command],
        cwd=workspace.root,
        env={**environment, **NOWHERE},
        stdin=subprocess.DEVNULL,
        **{"capture_output": True, "text": True, **how},
    )


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_what_only_reads_needs_no_place_no_name_and_no_letters(workspace, command):
    done = run(workspace, IDENTITIES[-1], "wmtp", *command)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.isascii()


@pytest.mark.skipif(os.geteuid() != 0, reason="the folder must be another user's")
@pytest.mark.parametrize("command", REFUSED, ids=" ".join)
def test_what_writes_says_in_one_line_where_it_may_not(workspace, command):
    done = run(workspace, IDENTITIES[-1], "wmtp", *command)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {workspace.root}") and done.stderr.endswith(": Permission denied\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="the folder must be another user's")
def test_a_dry_run_needs_no_place_either(workspace):
    done = run(workspace, IDENTITIES[-1], "wmtp", "run", "compare", "--profile", "toy", "--dry")
    assert (done.returncode, done.stderr) == (0, "") and "has not run yet" in done.stdout


@pytest.mark.parametrize("command", ["run compare", "sweep train_policy.optim.lr=1e-3,2e-3"])
def test_a_dry_run_writes_nothing_into_a_fresh_clone(tmp_path, command):
    clone = Workspace(tmp_path)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        clone.run("git", *who, *words)
    before = listing(clone.root)
    clone.run("wmtp", *command.split(), "--profile", "toy", "--dry", PYTHONDONTWRITEBYTECODE="1")
    assert listing(clone.root) == before


def listing(root):
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.rglob("*")}


@pytest.mark.parametrize("command", ["wmtp params --print", "wmtp arms"])
def test_a_reader_that_has_seen_enough_is_no_error(workspace, command):
    script = f"{command} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = run(workspace, "this user", "bash", "-c", script)
    assert done.stdout.strip() in ("0", "141") and done.stderr == ""
