"""Files of a repository at a revision, from a server on this machine that answers as the hub does."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import PurePosixPath

import pytest

FILES = {"config.json": b"{}", "data/train.jsonl": b'{"a": 1}\n', "data/test.jsonl": b'{"a": 2}\n'}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = """
import sys
from pathlib import Path
from wmtp.errors import LaunchError
from wmtp.hub import fetch
revision, end, folder = sys.argv[1:]
try:
    paths = fetch("org/name", revision, Path(folder), lambda all: [p for p in all if p.endswith(end)], is_dataset=True)
    print(*[path.relative_to(folder) for path in paths])
except LaunchError as error:
    print("error:", error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(with_body=True)

    def do_HEAD(self):
        self.answer(with_body=False)

    def answer(self, with_body):
        path = self.path.partition("?")[0]
        api, files = "/api/datasets/org/name/revision/", f"/datasets/org/name/resolve/{COMMIT}/"
        headers = {"X-Repo-Commit": COMMIT}
        if path == f"{api}v1":
            body = json.dumps({"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}).encode()
        elif path.startswith(files) and path.removeprefix(files) in FILES:
            body = FILES[path.removeprefix(files)]
            headers["ETag"] = f'"{PurePosixPath(path).stem}"'
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body)), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetched(tmp_path, endpoint, revision="v1", end=".jsonl", **environment):
    """In a process of its own: the library reads its settings when it is imported."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", **environment}
    command = [sys.executable, "-c", PROGRAM, revision, end, str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    done = subprocess.run(command, env={**kept, **settings}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_chosen_files_lie_where_they_lie_in_the_repository_beside_the_commit_that_they_are_of(tmp_path, endpoint):
    assert fetched(tmp_path, endpoint) == "data/test.jsonl data/train.jsonl"
    out = tmp_path / "out"
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {"data/train.jsonl", "data/test.jsonl", ".hub.json"}
    assert (out / "data/train.jsonl").read_bytes() == FILES["data/train.jsonl"]
    origin = json.loads((out / ".hub.json").read_text())
    assert origin == {"repository": "org/name", "kind": "dataset", "revision": "v1", "commit": COMMIT}


def test_a_revision_that_is_not_there_is_one_line(tmp_path, endpoint):
    said = fetched(tmp_path, endpoint, revision="v2")
    assert said.startswith("error: dataset org/name@v2 cannot be fetched from the hub:") and "\n" not in said


def test_without_a_network_the_line_says_what_to_do(tmp_path):
    for settings in ({"HF_HUB_OFFLINE": "1"}, {}):
        said = fetched(tmp_path, "http://127.0.0.1:9", **settings)
        assert said.endswith("without a network, put its files into a folder and name that folder instead"), said
        (tmp_path / "out").rmdir()
