"""Bits that turn in a real DVC repository, where DVC does not look."""

import os
import subprocess

import pytest

from tests.unit.orchestration.conftest import dvc
from wmtp.errors import LaunchError
from wmtp.orchestration.integrity import Damaged, drop_damaged, require_intact
from wmtp.orchestration.pipeline import judge, read_spec

pytestmark = pytest.mark.slow


def flip(path):
    """A bit, and nothing else: size, time and inode stay, as when a disk does it."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[0] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(before.st_mode)


@pytest.fixture(params=["copy", "hardlink"])
def linked(made, request):
    """Everything is up to date, and DVC itself has taken its last look."""
    dvc(made, "config", "cache.type", request.param)
    dvc(made, "checkout", "--relink")
    dvc(made, "status")
    return made


def object_of(root, content):
    """The file of the cache with this content."""
    (path,) = [path for path in root.glob(".dvc/cache/files/md5/*/*") if path.read_text() == content]
    return path


def test_a_damaged_input_is_refused_before_a_stage_reads_it(linked):
    require_intact(linked, "train@a", read_spec(linked, "train@a").deps)
    flip(linked / "artifacts/data/x")
    assert judge(linked, "train@a").is_fresh, "DVC does not see it"
    with pytest.raises(LaunchError, match=r"^train@a: artifacts/data/x is not what was written .*wmtp doctor --cache"):
        require_intact(linked, "train@a", read_spec(linked, "train@a").deps)


def test_a_damaged_object_is_named_and_dropped_and_its_result_made_again(linked):
    path = object_of(linked, "a\n")
    is_link = path.stat().st_nlink > 1
    flip(path)
    assert judge(linked, "train@a").is_fresh
    assert drop_damaged(linked) == [Damaged(f"object {path.parent.name}{path.name}", ("artifacts/policy/a/x",))]
    assert not path.exists() and (linked / "artifacts/policy/a/x").exists() is not is_link
    dvc(linked, "repro")
    assert (linked / "artifacts/policy/a/x").read_text() == "a\n" and drop_damaged(linked) == []


def test_a_damaged_output_comes_back_from_a_cache_that_is_whole(made):
    dvc(made, "config", "cache.type", "copy")
    dvc(made, "checkout", "--relink")
    dvc(made, "status")
    flip(made / "artifacts/policy/b/x")
    assert drop_damaged(made) == [Damaged("artifacts/policy/b/x", ("artifacts/policy/b/x",))]
    assert not judge(made, "train@b").is_fresh
    dvc(made, "checkout")
    assert (made / "artifacts/policy/b/x").read_text() == "b\n" and judge(made, "train@b").is_fresh


def test_a_damaged_list_of_a_folder_is_dropped_too(linked):
    folder = object_of(linked, '[{"md5": "60b725f10c9c85c70d97880dfe8191b3", "relpath": "x"}]')
    flip(folder)
    assert [one.name for one in drop_damaged(linked)] == [f"object {folder.parent.name}{folder.name}"]
    dvc(linked, "repro")
    assert drop_damaged(linked) == []


def test_an_object_of_other_parameters_is_dropped_and_said_to_be_of_no_use_here(made):
    (made / "source.txt").write_text("2\n")
    dvc(made, "repro")
    flip(object_of(made, "1\n"))
    ((name, paths),) = [(one.name, one.paths) for one in drop_damaged(made)]
    assert name.startswith("object ") and paths == ("artifacts/report/x",)


def test_the_doctor_says_it(made):
    done = subprocess.run(["wmtp", "doctor", "--cache"], cwd=made, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok   DVC's cache: every object and every output is what was written\n")
    flip(object_of(made, "b\n"))
    done = subprocess.run(["wmtp", "doctor", "--cache"], cwd=made, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.startswith("MEND object ")
    assert "is not what was written; it is artifacts/policy/b/x; removed: `wmtp run`" in done.stdout
