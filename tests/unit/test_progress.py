"""What is said of counted work: sparse lines, and a file that another process can read at any time."""

import json

import pytest

from wmtp import progress
from wmtp.progress import PROGRESS_LINE, Progress, counted, progress_line, progress_path


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only pass when a test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_at_most_every_two_seconds_and_one_at_the_end(tmp_path, clock, capfd):
    work = Progress("stage", total=10, root=tmp_path)
    for step in range(1, 11):
        work.update(step)
        clock[0] += 0.5
    lines = capfd.readouterr().out.splitlines()
    assert [PROGRESS_LINE.match(line)["step"] for line in lines] == ["1", "5", "9", "10"]


def test_the_rest_is_estimated_from_the_steps_of_this_attempt(tmp_path, clock):
    work = Progress("stage", total=110, root=tmp_path)
    work.update(50)  # resumed here: the first 50 steps took no time of this attempt
    clock[0] += 20.0
    work.update(60, loss=0.5, tokens_per_s=1000.0)
    record = json.loads(progress_path(tmp_path, "stage").read_text())
    assert record == {
        "stage": "stage",
        "step": 60,
        "total": 110,
        "loss": 0.5,
        "at_work": None,
        "tokens_per_s": 1000.0,
        "eta_s": 100.0,
    }


def test_what_is_worked_on_at_a_time_counts_before_any_of_it_is_done(tmp_path, clock, capfd):
    work = Progress("stage", total=40, root=tmp_path)
    work.update(10, at_work=0.0)
    clock[0] += 30.0
    work.update(10, at_work=5.0)
    assert json.loads(progress_path(tmp_path, "stage").read_text())["eta_s"] == 30.0 / 5 * 25
    assert capfd.readouterr().out.splitlines()[1] == "stage step 10/40  5.0 more under way  ETA 150 s"


def test_the_file_goes_when_the_work_is_done_and_only_rank_0_has_one(tmp_path, capfd):
    silent = Progress("stage", total=2, root=tmp_path, enabled=False)
    silent.update(1)
    silent.close()
    assert not progress_path(tmp_path, "stage").exists() and capfd.readouterr().out == ""
    work = Progress("stage", total=2, root=tmp_path)
    work.update(1)
    folder = progress_path(tmp_path, "stage").parent
    assert [path.name for path in folder.iterdir()] == ["stage.json"]
    work.close()
    assert list(folder.iterdir()) == []


def test_a_lines_form_is_the_one_that_the_launcher_looks_for():
    record = {"stage": "a@b", "step": 12, "total": 30, "loss": 0.53125, "at_work": None, "tokens_per_s": 12345.0, "eta_s": 35.2}
    line = progress_line(record)
    assert line == "a@b step 12/30  loss 0.5312  12,345 tokens/s  ETA 35 s"
    assert PROGRESS_LINE.match(line).groupdict() == {
        "stage": "a@b",
        "step": "12",
        "total": "30",
        "rest": "  loss 0.5312  12,345 tokens/s  ETA 35 s",
    }


def test_parts_of_a_stage_are_counted_one_after_the_other(tmp_path, clock, capfd):
    """The first and the last of every round are shown, and of what comes in between too fast, nothing."""
    tell = counted("sample", "tokens", tmp_path)
    for total in (1000, 3):
        for done in range(1, total + 1):
            tell(done, total)
            clock[0] += 0.01
            assert progress_path(tmp_path, "sample").exists() == (done < total)
    lines = capfd.readouterr().out.splitlines()
    found = [PROGRESS_LINE.match(line).group("stage", "step", "total") for line in lines]
    assert found[0] == ("sample:tokens", "1", "1000") and found[-2:] == [("sample:tokens", n, "3") for n in ("1", "3")]
    assert ("sample:tokens", "1000", "1000") in found and 5 < len(found) < 10
    assert "ETA" in lines[2]
