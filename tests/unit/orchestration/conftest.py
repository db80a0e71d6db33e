"""A pipeline of three small stages in a real DVC repository."""

import shutil
import signal
import subprocess

import pytest

PIPELINE = """
stages:
  make:
    cmd: mkdir -p artifacts/data && cp source.txt artifacts/data/x
    deps: [source.txt]
    params: [size]
    outs: [artifacts/data]
  train:
    foreach: ${runs}
    do:
      cmd: mkdir -p artifacts/policy/${key} && echo ${key} > artifacts/policy/${key}/x
      meta: {distributed: true}
      deps: [artifacts/data]
      params:
        - runs.${key}
      outs:
        - artifacts/policy/${key}
  report:
    cmd: mkdir -p artifacts/report && echo 1 > artifacts/report/x
    deps: [artifacts/policy]
    outs: [artifacts/report]
"""
PARAMS = "size: {n: 1, m: 2}\nruns:\n  a: {lr: 1}\n  b: {lr: 2}\n"


def git(root, *command):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(["git", *who, *command], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def dvc(root, *command):
    return subprocess.run(["dvc", *command], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """`new`: before anything has run; `made`: everything up to date."""
    folder = tmp_path_factory.mktemp("pipelines")
    new = folder / "new"
    (new / "configs").mkdir(parents=True)
    for name, text in (("dvc.yaml", PIPELINE), ("params.yaml", PARAMS), ("source.txt", "1\n")):
        (new / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=new, check=True)
    dvc(new, "init", "--quiet")
    shutil.copytree(new, folder / "made")
    dvc(folder / "made", "repro")
    return folder


@pytest.fixture
def pipeline(originals, tmp_path, monkeypatch):
    """A pipeline's root, before anything has run; the current folder is one within."""
    return _copy(originals / "new", tmp_path, monkeypatch)


@pytest.fixture
def made(originals, tmp_path, monkeypatch):
    """The same, everything up to date."""
    return _copy(originals / "made", tmp_path, monkeypatch)


def _copy(original, tmp_path, monkeypatch):
    root = shutil.copytree(original, tmp_path / "pipeline")
    monkeypatch.chdir(root / "configs")
    return root


@pytest.fixture
def foreground():
    """Signals mean what they mean in a terminal: a background job ignores SIGINT, under nohup SIGHUP, and so would children."""
    before = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in before.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
