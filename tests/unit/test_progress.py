"""What is said of counted work: sparse lines, and a file that another process can read at any time."""

import json

import pytest

from wmtp import progress
from wmtp.progress import PROGRESS_LINE, Progress, progress_line, progress_path


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
    assert record == {"stage": "stage", "step": 60, "total": 110, "loss": 0.5, "tokens_per_s": 1000.0, "eta_s": 100.0}


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
    line = progress_line({"stage": "a@b", "step": 12, "total": 30, "loss": 0.53125, "tokens_per_s": 12345.0, "eta_s": 35.2})
    assert line == "a@b step 12/30  loss 0.5312  12,345 tokens/s  ETA 35 s"
    assert PROGRESS_LINE.match(line).groupdict() == {
        "stage": "a@b",
        "step": "12",
        "total": "30",
        "rest": "  loss 0.5312  12,345 tokens/s  ETA 35 s",
    }
