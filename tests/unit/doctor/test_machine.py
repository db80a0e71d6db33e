"""What the doctor says of a machine, one line each; of the isolation, see tests/unit/sandbox/test_conformance.py."""

import collections
import shutil
import subprocess
import sys

import pytest

from wmtp.doctor import machine as doctor


def test_every_line_says_what_it_is_about_and_all_but_the_isolations_probes_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_isolation", lambda: [doctor.Finding("program isolation", True, "none, 0 of 0 probes")])
    findings = doctor.examine(tmp_path)
    assert [one.what for one in findings] == [
        "python",
        *doctor.PACKAGES,
        "program isolation",
        "workspace",
        "disk",
        "wmtp on PATH",
    ]
    assert all(one.detail and "\n" not in one.detail for one in findings)


@pytest.mark.parametrize(("version", "is_fine"), [((3, 11), True), ((3, 12), True), ((3, 10), False), ((3, 13), False)])
def test_the_python_that_the_packages_are_pinned_for(monkeypatch, version, is_fine):
    info = collections.namedtuple("info", "major minor")(*version)
    monkeypatch.setattr(sys, "version_info", info)
    found = doctor._python()
    assert found.is_fine == is_fine and found.detail.startswith(f"{version[0]}.{version[1]}")
    assert is_fine or found.detail.endswith("; use 3.11 or 3.12")


def test_a_package_is_there_with_its_version_or_is_to_be_installed():
    assert doctor._package("pytest") == doctor.Finding("pytest", True, pytest.__version__)
    missing = doctor._package("no-such-package-anywhere")
    assert not missing.is_fine and missing.detail.startswith("not installed: pip install")


def test_a_workspace_is_a_git_repository_with_dvc(tmp_path):
    assert doctor._workspace(tmp_path).detail.startswith("no git repository (DVC needs one): not a git repo")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert doctor._workspace(tmp_path).detail == "no .dvc folder: dvc init"
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "deep").mkdir()
    assert doctor._workspace(tmp_path / "deep") == doctor.Finding("workspace", True, str(tmp_path.resolve()))


@pytest.mark.parametrize(("free", "is_fine"), [(doctor.FREE_BYTES, True), (doctor.FREE_BYTES - 1, False)])
def test_there_is_room_for_the_artifacts(tmp_path, monkeypatch, free, is_fine):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert doctor._disk(tmp_path) == doctor.Finding(
        "disk", is_fine, "5 GiB free" if is_fine else "5 GiB free: make room for 5 GiB"
    )


def test_the_command_is_found_where_dvc_looks_for_it(tmp_path, monkeypatch):
    command = tmp_path / "wmtp"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._path() == doctor.Finding("wmtp on PATH", True, str(command))
    command.unlink()
    assert not doctor._path().is_fine and "export PATH=" in doctor._path().detail
