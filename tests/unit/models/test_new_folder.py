"""A model's folder has its name when it is whole."""

from pathlib import Path

import pytest

from wmtp.errors import ConfigError
from wmtp.models.new_folder import new_folder


def test_it_has_its_name_at_the_end_and_not_before(tmp_path):
    with new_folder(tmp_path / "deep" / "model") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "model").exists()
    assert [path.name for path in (tmp_path / "deep" / "model").iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


def test_a_failure_leaves_nothing(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("model", "there/model", "made/for/it/model"):
        with pytest.raises(RuntimeError), new_folder(tmp_path / name) as folder:
            (folder / "a").write_text("1")
            raise RuntimeError
    with pytest.raises(ConfigError, match="File name too long"), new_folder(tmp_path / "made" / ("x" * 300) / "model"):
        raise AssertionError("never comes here")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_parent_that_others_have_begun_to_use_stays(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "deep" / "er" / "model"):
        (tmp_path / "deep" / "theirs").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "theirs"]


def test_what_is_there_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full" / "inside").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    faults = {"file": "file is a file", "full": "full is not empty", "file/under": "Not a directory"}
    for name, line in faults.items():
        with pytest.raises(ConfigError, match=line), new_folder(tmp_path / name):
            raise AssertionError("never comes here")
    with pytest.raises(ConfigError, match="is inside of"), new_folder(tmp_path / "full" / "x", tmp_path / "full"):
        raise AssertionError("never comes here")
    with new_folder(tmp_path / "empty") as folder:
        (folder / "a").touch()
    assert (tmp_path / "empty" / "a").exists()


def test_a_link_is_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a").touch()
    assert (tmp_path / "disk" / "model" / "a").exists() and (tmp_path / "link").is_symlink()
    with pytest.raises(ConfigError, match="loop is a link that leads to itself"), new_folder(tmp_path / "loop"):
        raise AssertionError("never comes here")


def test_the_folder_that_one_is_in_is_a_name(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with new_folder(Path()) as folder:
        (folder / "a").touch()
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["a"]


def test_what_there_is_no_room_for_is_refused_before_it_is_written(tmp_path):
    with pytest.raises(ConfigError, match="model: 1,000,000,000,000,000,000 bytes are to be written, and there is room for"):  # noqa: SIM117
        with new_folder(tmp_path / "model", num_bytes=10**18):
            raise AssertionError("never comes here")
    assert not list(tmp_path.iterdir())


def test_remains_of_a_name_that_is_a_pattern_are_its_own(tmp_path):
    for name in (".m[1]*.tmp-dead", ".m1x.tmp-dead"):
        (tmp_path / name).mkdir()
    with new_folder(tmp_path / "m[1]*"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m1x.tmp-dead", "m[1]*"]


def test_its_files_are_for_whom_new_files_are_and_not_for_their_writer_alone(tmp_path):
    with new_folder(tmp_path / "model") as folder:
        (folder / "deep").mkdir()
        for path in (folder / "a", folder / "deep" / "b"):
            path.touch(mode=0o600)
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "plain", tmp_path / "model" / "a", tmp_path / "model" / "deep" / "b")}
    assert len(modes) == 1 and sorted(path.name for path in (tmp_path / "model").iterdir()) == ["a", "deep"]


def test_who_comes_second_is_told_so(tmp_path):
    with pytest.raises(ConfigError, match="model was written by another process meanwhile"), new_folder(tmp_path / "model"):
        (tmp_path / "model" / "inside").mkdir(parents=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
