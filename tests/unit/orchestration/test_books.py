"""A repository that is read once: what is kept follows every change of its files, and nothing that is asked changes it."""

import json
import os
import shutil
import threading
import time

import pytest

from tests.unit.orchestration.conftest import PARAMS, dvc
from wmtp.errors import ConfigError
from wmtp.orchestration import books
from wmtp.orchestration.books import ask
from wmtp.orchestration.pipeline import is_up_to_date, judge, judge_all, read_graph
from wmtp.orchestration.remote import has_default


def opened(root, **how):
    return ask(root, lambda repo: repo, **how)


def test_what_was_read_is_kept_while_its_files_stand(made):
    first = opened(made)
    assert judge(made, "make").is_fresh and read_graph(made, ["report"])
    assert opened(made) is first
    (made / "artifacts/data/x").write_text("changed")
    assert not judge(made, "make").is_fresh and opened(made) is first, "data is looked up anew, the pipeline is not"
    os.utime(made / "dvc.lock", ns=(1, 1))
    assert opened(made) is not first


def test_params_are_parsed_once_for_many_questions_and_again_when_they_are_written(made, monkeypatch):
    from dvc.utils.serialize import LOADERS

    parsed, load = [], LOADERS[".yaml"]
    monkeypatch.setitem(LOADERS, ".yaml", lambda name, **how: parsed.append(os.path.basename(name)) or load(name, **how))
    for name in ("train@a", "train@b", "train@a"):
        assert judge(made, name).is_fresh
    assert parsed.count("params.yaml") == 1
    (made / "params.yaml").write_text(PARAMS.replace("lr: 1", "lr: 7"))
    assert [judge(made, name).is_fresh for name in ("train@a", "train@b")] == [False, True]
    assert parsed.count("params.yaml") == 2


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock", "params.yaml"])
def test_a_file_that_is_replaced_is_read_again(made, name):
    first, text = opened(made), (made / name).read_text()
    (made / "new").write_text(text)
    os.replace(made / "new", made / name)
    assert opened(made) is not first


def test_answers_follow_what_other_processes_write(made):
    assert judge(made, "train@a").is_fresh
    (made / "params.yaml").write_text(PARAMS.replace("lr: 1", "lr: 7"))
    assert judge(made, "train@a").reason == "runs.a.lr changed"
    dvc(made, "repro", "train@a")
    assert judge(made, "train@a").is_fresh
    assert is_up_to_date(made, ["train@a", "report"]), "its output is what it was"
    (made / "source.txt").write_text("2\n")
    dvc(made, "repro", "make")
    assert is_up_to_date(made, ["make"]) and not is_up_to_date(made, ["make", "train@a"])


def test_params_that_are_only_proposed_are_judged_without_being_written(made):
    before = books._stamps(made)
    proposed = PARAMS.replace("lr: 2", "lr: 3") + "  c: {lr: 1}\n"
    judged = judge_all(made, ["make", "train@a", "train@b", "train@c"], params=proposed)
    assert {name: one.reason for name, one in judged.items() if not one.is_fresh} == {
        "train@b": "runs.b.lr changed",
        "train@c": "has not run yet",
    }
    assert "train@c" in read_graph(made, ["report"], params=proposed)
    assert "train@c" not in read_graph(made, ["report"]) and judge(made, "train@b").is_fresh
    assert books._stamps(made) == before
    (made / "params.yaml").unlink()
    assert judge_all(made, ["make"], params=PARAMS)["make"].is_fresh


def test_a_look_leaves_no_trace_where_dvc_has_not_been_used_and_is_seen_where_it_has(made, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    fresh = tmp_path / "fresh"
    shutil.copytree(made, fresh, ignore=shutil.ignore_patterns("tmp", "temporary", "fresh"))
    before = listing(fresh)
    assert judge_all(fresh, ["make", "train@a"], look_up_cache=True, params=PARAMS)["make"].is_fresh
    assert not has_default(fresh) and listing(fresh) == before
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert judge(fresh, "make").is_fresh and (fresh / ".dvc/tmp/lock").exists(), "who may wait for others is seen by them"
    assert list((tmp_path / "temporary").iterdir()) == []
    assert opened(fresh, params=PARAMS).tmp_dir == str(fresh / ".dvc/tmp")


def listing(root):
    return {str(path): path.lstat().st_mtime_ns for path in root.rglob("*")}


def test_looking_up_the_cache_leaves_what_is_kept_as_it_was(made):
    (made / "source.txt").write_text("2\n")
    first = judge(made, "make", look_up_cache=True)
    assert judge(made, "make", look_up_cache=True) == first == judge(made, "make", look_up_cache=True)
    (made / "source.txt").write_text("1\n")
    assert judge(made, "make").is_fresh


def test_dvcs_own_warnings_are_not_the_answers(made, caplog):
    """Of a folder that is empty it warns whenever it looks."""
    (made / "artifacts/data/x").unlink()
    judged = judge_all(made, read_graph(made, ["report"]), look_up_cache=True)
    assert judged["make"].can_restore and not caplog.records


def test_threads_take_turns(made):
    found = []
    threads = [threading.Thread(target=lambda: found.append(judge(made, "train@a").is_fresh)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


def test_a_pipeline_that_cannot_be_read_is_one_line_and_read_again_when_it_is_mended(made, monkeypatch):
    monkeypatch.setattr(books, "_BUSY_SECONDS", 0.01)
    text = (made / "dvc.yaml").read_text()
    (made / "dvc.yaml").write_text("stages: {make: [")
    with pytest.raises(ConfigError, match="DVC cannot read the pipeline"):
        judge(made, "make")
    time.sleep(0.01)
    (made / "dvc.yaml").write_text(text)
    assert judge(made, "make").is_fresh


def in_use(root, path, command):
    """As DVC notes that a process, this test's own parent, writes a file."""
    (root / ".dvc/tmp/rwlock").write_text(
        json.dumps({"write": {str(root / path): {"pid": os.getppid(), "cmd": command}}, "read": {}})
    )


def test_of_what_somebody_makes_now_it_is_said_who_and_nobody_waits(made):
    in_use(made, "artifacts/policy/a", "/site/dvc/__main__.py --wait-for-lock repro --single-item train@a")
    judged = judge_all(made, read_graph(made, ["report"]), look_up_cache=True)
    said = f"is in use by process {os.getppid()} (dvc repro train@a)"
    assert {name for name, one in judged.items() if one.is_busy} == {"train@a", "report"}
    reasons = {name: one.reason.rpartition("artifacts/")[2] for name, one in judged.items() if one.is_busy}
    assert reasons == {"train@a": f"policy/a {said}", "report": f"policy {said}"}
    assert judged["make"].is_fresh and judged["train@b"].is_fresh
    assert is_up_to_date(made, ["make", "train@b"]) and not is_up_to_date(made, ["make", "train@a"])


def test_whoever_waits_long_is_told_once_for_what(made, monkeypatch, capfd):
    monkeypatch.setattr(books, "_PATIENCE", 0.0)
    in_use(made, "artifacts/policy/a", "dvc repro train@a")
    end = threading.Timer(2.0, (made / ".dvc/tmp/rwlock").unlink)
    end.start()
    assert judge(made, "train@a").is_fresh
    end.join()
    said = capfd.readouterr().err
    assert (
        said.count("waiting: ") == 1 and f"artifacts/policy/a is in use by process {os.getppid()} (dvc repro train@a)" in said
    )


def test_dvcs_own_lock_is_waited_for_and_named(made, monkeypatch, capfd):
    from dvc.repo import Repo

    monkeypatch.setattr(books, "_PATIENCE", 0.0)
    with Repo(str(made)) as other, other.lock:
        waiting = threading.Thread(target=judge, args=(made, "make"))
        waiting.start()
        waiting.join(timeout=6)
        assert waiting.is_alive()
    waiting.join(timeout=60)
    assert not waiting.is_alive()
    assert "waiting: another DVC process has the workspace's lock, .dvc/tmp/lock" in capfd.readouterr().err
