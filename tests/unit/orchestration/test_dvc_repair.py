"""DVC's two books, half written: put out of the way when they are broken, left alone when they are not."""

import json
import os

import pytest

from tests.unit.orchestration.conftest import dvc
from wmtp.errors import ConfigError
from wmtp.orchestration.books import put_in_order
from wmtp.orchestration.dvc_repair import mend
from wmtp.orchestration.pipeline import judge


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}'])
def test_a_broken_rwlock_is_dropped(made, text):
    path = made / ".dvc/tmp/rwlock"
    path.write_text(text)
    assert judge(made, "make").is_fresh


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}'])
def test_plain_dvc_goes_on_once_the_books_are_in_order(made, text):
    (made / ".dvc/tmp/rwlock").write_text(text)
    put_in_order(made)
    assert "up to date" in dvc(made, "status")


def test_who_uses_a_file_now_stays_known(made):
    path = made / ".dvc/tmp/rwlock"
    in_use = json.dumps({"read": {}, "write": {str(made / "artifacts/data"): {"pid": os.getpid(), "cmd": "dvc repro"}}})
    path.write_text(in_use)
    put_in_order(made)
    assert path.read_text() == in_use


def test_a_broken_lock_file_is_set_aside_and_the_cache_brings_the_results_back(made, capfd):
    path = made / "dvc.lock"
    text = path.read_text()
    path.write_text(text[: len(text) // 2] + "\n  - {")
    judgement = judge(made, "make", look_up_cache=True)
    assert judgement.reason == "has not run yet" and judgement.can_restore
    assert "dvc.lock was half written: moved to .wmtp/dvc.lock.broken-" in capfd.readouterr().err
    assert len(list((made / ".wmtp").glob("dvc.lock.broken-*"))) == 1
    assert "skipping run, checking out outputs" in dvc(made, "repro", "make")


def test_a_merge_conflict_is_the_users(made):
    path = made / "dvc.lock"
    conflict = f"<<<<<<< HEAD\n{path.read_text()}=======\n>>>>>>> other\n"
    path.write_text(conflict)
    with pytest.raises(ConfigError, match="DVC cannot read the pipeline"):
        judge(made, "make")
    assert path.read_text() == conflict


def test_another_error_is_not_ours(made):
    assert mend(made, ValueError("something else")) is False
