from pathlib import Path

import pytest

from wmtp.places import home, workspace_name


@pytest.mark.parametrize(
    ("root", "name", "its_home"),
    [
        ("clone", None, "clone"),
        ("clone/.wmtp/workspaces/lr", "lr", "clone"),
        ("clone/.wmtp/workspaces", None, "clone/.wmtp/workspaces"),
        ("clone/workspaces/lr", None, "clone/workspaces/lr"),
    ],
)
def test_a_workspace_knows_its_name_and_its_home(tmp_path, root, name, its_home):
    assert (workspace_name(tmp_path / root), home(tmp_path / root)) == (name, tmp_path.resolve() / its_home)


def test_a_path_is_followed_to_where_it_leads(tmp_path, monkeypatch):
    folder = tmp_path / "clone/.wmtp/workspaces/lr"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    (tmp_path / "link").symlink_to(folder)
    assert workspace_name(Path()) == workspace_name(tmp_path / "link") == "lr"
