"""A module as a process in the foreground."""

import json
import subprocess
import sys

import psutil
import pytest

from tests.workspaces import PATIENCE_S, wait_for
from wmtp.errors import LaunchError
from wmtp.orchestration.foreground import run_module

PROGRAM = """
import json, os, signal, subprocess, sys
what = sys.argv[1]
if what == "say":
    own = os.environ["PYTHONPATH"].split(os.pathsep)[0]
    print(json.dumps({"cwd": os.getcwd(), "first": sys.path[0], "own": own}), flush=True)
if what == "leave":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    open("child", "w").write(str(child.pid))
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(3)
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def test_it_runs_in_the_workspace_with_its_code_and_its_exit_code_is_returned(root):
    call = "import sys; from pathlib import Path; from wmtp.orchestration.foreground import run_module\n"
    call += "sys.exit(run_module(Path(sys.argv[1]), 'program', ['say']))"
    done = subprocess.run([sys.executable, "-c", call, str(root)], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout) == {"cwd": str(root), "first": str(root), "own": str(root / "src")}


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_of_it_is_left(root, foreground):
    assert run_module(root, "program", ["leave"]) == 3
    child = int((root / "child").read_text())
    wait_for(lambda: not is_running(child), PATIENCE_S, "the child's end")


def test_that_it_was_killed_is_said(root, foreground):
    with pytest.raises(LaunchError, match="the flow was killed by SIGKILL"):
        run_module(root, "program", ["die"])
