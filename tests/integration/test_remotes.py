"""Results travel by DVC remote: a second clone computes nothing."""

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


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_second_clone_finds_everything(kind, server, tmp_path, s3):
    url, endpoint = (f"{tmp_path}/remote", None) if kind == "folder" else ("s3://wmtp/cache", s3)
    first, second = (LightWorkspace(tmp_path / name, server) for name in ("first", "second"))
    try:
        use(first, url, endpoint)
        first.flow()
        first.run("dvc", "push", "--run-cache")
        use(second, url, endpoint)
        (second.root / "dvc.lock").write_text((first.root / "dvc.lock").read_text())
        second.params()
        second.run("dvc", "pull", "--run-cache")
        assert "0 stages ran, 0 were restored, 6 were up to date" in second.flow()
        assert second.ran() == []
    finally:
        kill_all([*first.processes(), *second.processes()])
