"""Results travel by DVC remote: a second clone computes nothing."""

import shutil

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.integration.light import LightWorkspace
from tests.workspaces import kill_all

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def s3(monkeypatch):
    """An S3-compatible server with a bucket `wmtp`; its address."""
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="wmtp")
    yield f"http://{host}:{port}"
    server.stop()


def use(workspace, url, endpoint=None):
    workspace.run("dvc", "remote", "add", "--default", "store", url)
    if endpoint:
        workspace.run("dvc", "remote", "modify", "store", "endpointurl", endpoint)


@pytest.fixture
def second(tmp_path, server):
    """A new clone."""
    made = LightWorkspace(tmp_path / "second", server)
    yield made
    kill_all(made.processes())


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_second_clone_finds_everything(kind, ended, second, tmp_path, s3):
    url, endpoint = (f"{tmp_path}/remote", None) if kind == "folder" else ("s3://wmtp/cache", s3)
    use(ended, url, endpoint)
    ended.run("dvc", "push", "--run-cache")
    use(second, url, endpoint)
    (second.root / "dvc.lock").write_text((ended.root / "dvc.lock").read_text())
    second.params()
    second.run("dvc", "pull", "--run-cache")
    assert "stages: 0 ran, 0 restored, 6 up to date" in second.flow()
    assert second.ran() == []


def test_a_run_brings_from_the_remote_what_is_known_and_the_cache_lacks(ended, tmp_path):
    use(ended, f"{tmp_path}/remote")
    ended.run("dvc", "push", "--run-cache")
    made = ended.ran()
    lose(ended)
    assert "fetch or run" in ended.flow("--dry")
    output = ended.flow()
    assert "stages: 0 ran, 6 restored, 0 up to date" in output and "restored from the default remote: " in output
    ended.params("evaluate.seed=7")  # dvc.lock's outputs belong to other parameters now, which the run cache alone knows
    ended.run("dvc", "repro", "--quiet")
    made = ended.ran()
    lose(ended)
    assert "restored from the default remote: " in ended.flow() and ended.ran() == made
    lose(ended)
    assert "stages: 6 ran, 0 restored" in ended.flow("--no-pull") and len(ended.ran()) == len(made) + 6


def lose(workspace):
    """All outputs, wherever they are kept; what is known of the runs stays."""
    shutil.rmtree(workspace.root / ".dvc/cache/files")
    shutil.rmtree(workspace.root / "artifacts")


def test_a_remote_that_cannot_give_what_is_known_costs_a_warning(ended, tmp_path):
    use(ended, f"{tmp_path}/nothing-was-ever-pushed")
    lose(ended)
    assert "stages: 6 ran, 0 restored" in ended.flow()


def test_a_new_clone_without_a_lock_computes_nothing_when_it_is_told_to_pull(ended, second, tmp_path):
    assert "--pull needs a default remote: `dvc remote add" in second.flow("--pull", code=2)
    for one in (ended, second):
        use(one, f"{tmp_path}/remote")
    ended.run("dvc", "push", "--run-cache")
    assert "stages: 0 ran, 6 restored" in second.flow("--pull")
    assert second.ran() == []
