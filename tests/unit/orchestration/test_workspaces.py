"""Workspaces beside a clone: real worktrees of git's, with the clone's DVC cache."""

import subprocess

import pytest

from tests.unit.orchestration.conftest import dvc, git
from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.errors import ConfigError
from wmtp.orchestration.pipeline import judge, read_spec
from wmtp.orchestration.workspaces import check_name, link_given, open_workspace, require_same_flow, served_environment


@pytest.fixture
def clone(made):
    """The small pipeline, committed, everything up to date."""
    (made / ".gitignore").write_text("/artifacts\n.wmtp/\n")
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "--message", "first")
    return made


def test_a_workspace_has_what_is_not_committed_and_restores_what_was_computed(clone):
    (clone / "notes").write_text("new")
    (clone / "params.yaml").write_text((clone / "params.yaml").read_text().replace("m: 2", "m: 3"))
    said = []
    folder = open_workspace(clone, "lr-1", said.append)
    assert folder == clone.resolve() / ".wmtp/workspaces/lr-1"
    assert said[0].startswith(f"workspace lr-1 is made in {folder} from ") and ", with 2 files that are not " in said[0]
    assert (folder / "notes").read_text() == "new" and "m: 3" in (folder / "params.yaml").read_text()
    assert git(folder, "status", "--porcelain") == git(clone, "status", "--porcelain")
    (folder / "params.yaml").write_text((clone / "params.yaml").read_text().replace("m: 3", "m: 2"))
    assert "Running stage" not in dvc(folder, "repro", "train@a")
    assert (folder / "artifacts/policy/a/x").read_text() == "a\n"


def test_it_is_made_once_and_is_its_own_from_then_on(clone):
    said = []
    folder = open_workspace(clone, "lr", said.append)
    (folder / "source.txt").write_text("2\n")
    (clone / "params.yaml").write_text("size: {n: 9, m: 2}\n")  # not code
    assert open_workspace(clone, "lr", said.append) == folder
    assert len(said) == 2 and "lr runs its own code, which differs from this one's in source.txt (" in said[1]
    assert (folder / "source.txt").read_text() == "2\n" and (clone / "source.txt").read_text() == "1\n"
    assert open_workspace(folder, "lr", said.append) == folder
    assert open_workspace(folder, "other", said.append) == clone.resolve() / ".wmtp/workspaces/other"
    assert (clone / ".wmtp/workspaces/other/source.txt").read_text() == "2\n"


def test_one_that_a_kill_left_half_made_or_somebody_deleted_is_made_anew(clone):
    folder = open_workspace(clone, "lr", print)
    (folder / ".dvc/config.local").unlink()
    (folder / "source.txt").unlink()
    said = []
    open_workspace(clone, "lr", said.append)
    assert (folder / "source.txt").exists() and "is made in" in said[0]
    subprocess.run(["rm", "-r", str(folder)], check=True)
    open_workspace(clone, "lr", said.append)
    assert (folder / "source.txt").exists() and "is made in" in said[1]


def test_remotes_that_are_relative_lead_to_the_same_place(clone):
    dvc(clone, "remote", "add", "--default", "store", "../store")
    dvc(clone, "remote", "add", "--local", "secret", "s3://bucket/x")
    dvc(clone, "remote", "modify", "--local", "secret", "profile", "me")
    folder = open_workspace(clone, "lr", print)
    dvc(folder, "push")
    assert any((clone / "../store").resolve().rglob("*"))
    assert "profile=me" in dvc(folder, "config", "--list")
    assert dvc(folder, "config", "cache.dir").strip() == str(clone.resolve() / ".dvc/cache")


@pytest.mark.parametrize("name", ["", ".", "a/b", "../a", "-a", "a b"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match="must be a name of letters"):
        check_name(name)


def test_a_worker_runs_a_workspace_only_with_its_own_flow(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        for part in ("flows", "tasks", "src/wmtp/config", "src/wmtp/orchestration", "src/wmtp/stages"):
            (root / part).mkdir(parents=True)
            (root / part / "a.py").write_text("1")
    (theirs / "src/wmtp/stages/a.py").write_text("2")
    require_same_flow(ours, theirs)
    (theirs / "tasks/a.py").write_text("2")
    with pytest.raises(ConfigError, match=r"has another .*tasks/a.py than .*ours, which serves: run it there"):
        require_same_flow(ours, theirs)


def test_the_homes_prefect_server_is_the_workspaces_too(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    workspace = tmp_path / ".wmtp/workspaces/lr"
    workspace.mkdir(parents=True)
    assert served_environment(workspace) == {}
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "http://127.0.0.1:1/api"\n')
    assert served_environment(workspace) == {"PREFECT_API_URL": "http://127.0.0.1:1/api"}
    assert served_environment(tmp_path) == {}
    (tmp_path / "prefect.toml").write_text("[api")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        served_environment(workspace)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:2/api")
    assert served_environment(workspace) == {}


def test_data_that_git_does_not_carry_are_linked_and_their_hash_is_the_same(clone, tmp_path):
    """A file and a folder, relative to the clone; what lies elsewhere, or is made, is left to be refused."""
    (clone / ".git/info/exclude").write_text("/data\n/models\n")
    (clone / "data").mkdir()
    (clone / "data/train.jsonl").write_text("{}\n")
    (clone / "models/a").mkdir(parents=True)
    (clone / "models/a/weights").write_text("1")
    (clone / "artifacts/x").write_text("made")
    (clone.parent / "beside.jsonl").write_text("{}\n")
    folder = open_workspace(clone, "lr", print)
    given = ["data.train_path=data/train.jsonl", "data.validation_path=../beside.jsonl", "data.benchmarks=['mbpp:artifacts/x']"]
    config = compose(PROJECT, "mbpp", arms=["baseline"], overrides=[*given, "data.tokenizer.path=models/a"])
    link_given(folder, config)
    assert (folder / "data/train.jsonl").read_text() == "{}\n" and (folder / "models/a/weights").read_text() == "1"
    assert not (folder.parent / "beside.jsonl").exists() and not (folder / "artifacts/x").exists()
    assert git(folder, "status", "--porcelain") == git(clone, "status", "--porcelain")
    link_given(folder, config)
    link_given(clone, config)
    assert not (clone / "data/train.jsonl").is_symlink()
    for root in (clone, folder):
        text = (root / "dvc.yaml").read_text().replace("deps: [source.txt]", "deps: [source.txt, data/train.jsonl, models/a]")
        (root / "dvc.yaml").write_text(text)
    assert read_spec(folder, "make").inputs == read_spec(clone, "make").inputs
    dvc(clone, "repro", "make")
    assert "Running stage" not in dvc(folder, "repro", "make")
    (clone / "data/train.jsonl").write_text("{}\n{}\n")
    assert not judge(folder, "make").is_fresh
