"""Clones that differ, with the code of one of them installed: real commands, each run in the other."""

import shutil
import subprocess

import pytest

import wmtp
from tests.workspaces import PROJECT, Workspace
from wmtp.errors import LaunchError
from wmtp.orchestration import own_code

INSTALLED = {"PYTHONPATH": str(PROJECT / "src")}
"""As an editable install of the first clone has it, for a command that is run elsewhere."""


@pytest.fixture
def clone(tmp_path):
    return Workspace(tmp_path / "clone")


def test_a_command_in_another_clone_runs_that_clones_code(clone):
    package = clone.root / "src/wmtp/__init__.py"
    package.write_text(package.read_text().replace(wmtp.__version__, "9.9.edited"))
    assert clone.run("wmtp", "--version", **INSTALLED) == "wmtp 9.9.edited\n"
    below = subprocess.run(
        ["wmtp", "--version"], cwd=clone.root / "configs", env=clone.environment(**INSTALLED), capture_output=True, text=True
    )
    assert below.stdout == "wmtp 9.9.edited\n", below.stderr


def test_a_stages_launcher_and_its_processes_run_that_clones_code(clone):
    """In the clone's own words; nothing of the installed code comes between."""
    sample = clone.root / "src/wmtp/stages/sample.py"
    sample.write_text(
        'from wmtp.errors import CheckpointError\ndef run(config, context):\n    raise CheckpointError("edited rank")\n'
    )
    launch = clone.root / "src/wmtp/orchestration/launch.py"
    launch.write_text(launch.read_text().replace("whole log: ", "edited launcher, whole log: "))
    clone.run("wmtp", "params", "--profile", "toy", **INSTALLED)
    assert "CheckpointError: edited rank (edited launcher, whole log:" in clone.run(
        "wmtp", "stage", "sample", code=1, **INSTALLED
    )


def test_a_worktree_is_a_clone_too_and_a_folder_without_code_is_not(clone, tmp_path):
    assert own_code.is_own(PROJECT) and own_code.is_own(tmp_path)
    assert not own_code.is_own(clone.root)
    with pytest.raises(LaunchError, match="must run here"):
        own_code.require_own(clone.root)
    (tmp_path / "link").symlink_to(PROJECT)
    assert own_code.is_own(tmp_path / "link")


def test_what_cannot_be_put_right_is_said_and_not_tried_for_ever(clone):
    """A program that puts another path before everything else finds the installed code again after its restart."""
    program = clone.root / "foreign.py"
    program.write_text(
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(PROJECT / 'src')!r})\n"
        "from wmtp.errors import LaunchError; from wmtp.orchestration.own_code import restart_if_foreign\n"
        "try: restart_if_foreign(Path.cwd())\n"
        "except LaunchError as error: sys.exit(str(error))\n"
    )
    assert "is another path before it in sys.path?" in clone.run("python", "foreign.py", code=1)


def test_the_path_for_children_names_the_workspace_first_and_once(tmp_path):
    own = str(tmp_path / "src")
    first = own_code.environment(tmp_path, {"PYTHONPATH": "/a:/b", "HOME": "/h"})
    assert first == {"PYTHONPATH": f"{own}:/a:/b", "HOME": "/h"}
    assert own_code.environment(tmp_path, first) == first
    assert own_code.environment(tmp_path, {}) == {"PYTHONPATH": own}


def test_flows_take_the_code_beside_them(clone):
    shutil.rmtree(clone.root / "tasks")
    say = "import flows, wmtp; print(wmtp.__file__)"
    assert clone.run("python", "-c", say, **INSTALLED) == f"{clone.root}/src/wmtp/__init__.py\n"
