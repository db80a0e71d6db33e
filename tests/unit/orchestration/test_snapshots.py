"""Trees of what lies in a workspace, compared with what plain git commands make of the same files."""

import subprocess

import pytest

from wmtp.errors import ConfigError
from wmtp.orchestration import snapshots
from wmtp.orchestration.snapshots import changed, code_tree, git, lay_over, take


def run(root, *command):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(["git", *who, *command], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path):
    run(tmp_path, "init", "--quiet")
    for name, text in ((".gitignore", "ignored\n"), ("kept", "1"), ("gone", "1"), ("params.yaml", "a: 1\n")):
        (tmp_path / name).write_text(text)
    run(tmp_path, "add", "--all")
    run(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def change(root):
    (root / "kept").write_text("2")
    (root / "gone").unlink()
    (root / "ignored").write_text("x")
    (root / "folder").mkdir()
    (root / "folder/new \N{SNOWMAN}").write_text("3")


def test_a_snapshot_is_what_a_commit_of_everything_would_hold_and_moves_nothing(root):
    assert take(root).tree == run(root, "rev-parse", "HEAD^{tree}")
    change(root)
    (root / "kept").write_text("2")
    run(root, "add", "kept")  # staged is not committed
    before = run(root, "status", "--porcelain"), run(root, "rev-parse", "HEAD")
    found = take(root).tree
    assert (run(root, "status", "--porcelain"), run(root, "rev-parse", "HEAD")) == before
    assert run(root, "ls-tree", "-r", "--name-only", "-z", found).split("\0")[:-1] == [
        ".gitignore",
        "folder/new \N{SNOWMAN}",
        "kept",
        "params.yaml",
    ]
    run(root, "add", "--all")
    run(root, "commit", "--quiet", "--message", "second")
    assert run(root, "rev-parse", "HEAD^{tree}") == found


def test_an_ignored_file_is_in_it_where_it_is_asked_for(root):
    change(root)
    assert changed(root, take(root).tree, take(root, forced=["ignored", "not there"]).tree) == {"ignored": "A"}


def test_what_is_large_and_nobodys_is_left_out_and_named(root, monkeypatch):
    monkeypatch.setattr(snapshots, "LARGEST_BYTES", 10)
    (root / "data*").write_text("x" * 11)
    (root / "data1").write_text("x")
    found = take(root)
    assert found.left_out == ("data*",)
    assert changed(root, "HEAD", found.tree) == {"data1": "A"}


def test_code_is_what_runs_do_not_write(root):
    first = take(root).tree
    (root / "params.yaml").write_text("a: 2\n")
    (root / "dvc.lock").write_text("x")
    second = take(root).tree
    assert first != second and code_tree(root, first) == code_tree(root, second)
    (root / "kept").write_text("2")
    assert code_tree(root, take(root).tree) != code_tree(root, first)


def test_files_are_made_those_of_another_tree_and_back(root):
    old = take(root).tree
    change(root)
    new = take(root).tree
    assert lay_over(root, old, before=new) == ["folder/new \N{SNOWMAN}", "gone", "kept"]
    assert (take(root).tree, (root / "ignored").read_text()) == (old, "x")
    assert run(root, "status", "--porcelain") == ""
    lay_over(root, new, before=old)
    assert take(root).tree == new
    assert lay_over(root, new, before=new) == []


def test_without_a_commit_or_a_repository_of_its_own_it_is_refused(tmp_path, root):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"need a repository of the project's own, but .*empty lies within"):
        take(empty)
    run(empty, "init", "--quiet")
    with pytest.raises(ConfigError, match="has no commit, and experiments and workspaces need one"):
        take(empty)


def test_another_users_repository_is_not_taken_for_one_without_a_commit(root, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own
    with pytest.raises(ConfigError, match=r"git rev-parse in .*: fatal: detected dubious ownership in repository"):
        take(root)


def test_gits_refusal_is_one_line(root):
    with pytest.raises(ConfigError, match=r"^git read-tree in .*: .*nothing.*$") as refused:
        git(root, "read-tree", "nothing")
    assert "\n" not in str(refused.value)
