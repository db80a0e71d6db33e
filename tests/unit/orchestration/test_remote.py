"""The default remote of a real DVC repository: a folder. That runs use it: tests/integration/test_remotes.py."""

import shutil

import pytest

from tests.unit.orchestration.conftest import dvc
from wmtp.errors import ConfigError, LaunchError
from wmtp.orchestration.pipeline import judge
from wmtp.orchestration.remote import fetch_run_cache, has_default


def test_what_the_remote_knows_of_runs_is_known_here_then(made, tmp_path):
    assert not has_default(made)
    with pytest.raises(ConfigError, match="--pull needs a default remote"):
        fetch_run_cache(made)
    dvc(made, "remote", "add", "--quiet", "--default", "store", str(tmp_path / "remote"))
    assert has_default(made)
    dvc(made, "push", "--run-cache")
    shutil.rmtree(made / ".dvc/cache")
    shutil.rmtree(made / "artifacts")
    (made / "dvc.lock").unlink()
    before = judge(made, "make", look_up_cache=True)
    assert (before.is_known, before.can_restore) == (False, False)
    fetch_run_cache(made)
    after = judge(made, "make", look_up_cache=True)
    assert (after.is_known, after.can_restore) == (True, False)
    dvc(made, "repro", "--pull", "make")
    assert judge(made, "make").is_fresh


def test_what_dvc_lock_says_is_known_too(made):
    shutil.rmtree(made / ".dvc/cache")
    shutil.rmtree(made / "artifacts/data")
    found = judge(made, "make", look_up_cache=True)
    assert (found.is_known, found.can_restore) == (True, False)
    (made / "source.txt").write_text("2\n")
    found = judge(made, "make", look_up_cache=True)
    assert (found.is_known, found.can_restore) == (False, False)


def test_a_remote_that_cannot_be_read_is_said_in_one_line(made):
    dvc(made, "remote", "add", "--quiet", "--default", "store", "s3://nowhere/x")
    dvc(made, "remote", "modify", "store", "endpointurl", "http://127.0.0.1:9")
    with pytest.raises(LaunchError, match="the default remote cannot be read: ") as refused:
        fetch_run_cache(made)
    assert "\n" not in str(refused.value)
