"""A model's folder has its name when it is whole."""

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
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


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
