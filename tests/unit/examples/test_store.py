"""What is read once comes back as it was read, and a kill leaves no half of it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.examples import store as stores
from wmtp.examples.store import Stores, distinct, stored
from wmtp.problems.choose import UNKNOWN
from wmtp.problems.files import Reading, write_problems
from wmtp.types import AssertTest, IOTest, Problem, Solution


def some(number):
    return [
        Problem(
            f"p{i}",
            f"Say {i} \u03bb.\n" if i % 2 else f"Say {i}.",
            (IOTest("1\n", f"{i}\n"), IOTest("", "")) if i % 3 else (AssertTest(f"assert f() == {i}"),),
            difficulty=None if i % 4 == 0 else i,
            time_limit_s=1.5 + i,
            solutions=tuple(Solution(f"x = {i}\n# {j} \u00e9", j % 2 == 0) for j in range(i % 5)),
            own_checker="pass" if i == 1 else "",
        )
        for i in range(number)
    ]


def opened(path, folder, **reading):
    return stored("jsonl", str(path), Reading(**reading), Stores(folder / "stores"))


@pytest.fixture(params=[2**23, 10], ids=["one batch", "many batches"])
def source(tmp_path, monkeypatch, request):
    monkeypatch.setattr(stores, "BATCH_CHARACTERS", request.param)
    write_problems(tmp_path / "train.jsonl", some(40))
    return tmp_path / "train.jsonl"


def test_problems_and_solutions_come_back_as_they_were_read(source, tmp_path):
    store = opened(source, tmp_path)
    expected = list(tasksets.load_problems("jsonl", str(source)))
    candidates, start = store.candidates, 0
    for i, problem in enumerate(expected):
        rows = np.arange(start, start + len(problem.solutions))
        start += len(problem.solutions)
        again = store.problem(i, rows[::-1])
        assert again == replace(problem, solutions=problem.solutions[::-1])
        assert (again.file, again.row) == (str(source), i + 1)
        assert [s.place for s in again.solutions] == [f"solutions[{j}]" for j in range(len(rows))][::-1]
        assert candidates.problems[rows].tolist() == [i] * len(rows)
        assert candidates.is_correct[rows].tolist() == [s.is_correct for s in problem.solutions]
        assert store.difficulties[i] == (UNKNOWN if problem.difficulty is None else problem.difficulty)
        assert store.prompts[i] == tasksets.get("jsonl").prompt(problem)
    assert start == len(candidates) == store.num_solutions and store.problem_ids == [p.problem_id for p in expected]
    rows = np.array([start - 1, 0, 5, 0])
    texts = [s.code for p in expected for s in p.solutions]
    assert store.codes(rows) == [texts[i] for i in rows] and store.codes(np.empty(0, int)) == []
    characters = store.solutions["characters"].to_pylist()
    assert characters == [len(text) for text in texts]


def test_a_source_is_read_once_whatever_it_is_called(source, tmp_path, monkeypatch):
    first = opened(source, tmp_path)
    moved = tmp_path / "elsewhere.jsonl"
    os.rename(source, moved)
    monkeypatch.setattr(tasksets, "load_problems", None)
    again = opened(moved, tmp_path)
    assert again.problems.equals(first.problems) and again.solutions.equals(first.solutions)
    assert again.problem(3, np.empty(0, int)).file == str(moved)


def test_other_content_or_another_reader_is_another_store(source, tmp_path):
    opened(source, tmp_path)
    with source.open("a") as lines:
        lines.write(json.dumps({"problem_id": "more", "prompt": "P.", "tests": []}) + "\n")
    assert opened(source, tmp_path).problem_ids[-1] == "more"
    assert len(list((tmp_path / "stores").iterdir())) == 2
    with pytest.raises(DataError, match="field 'name' is missing"):
        stored("codecontests", str(source), Reading(), Stores(tmp_path / "stores"))
    assert len(list((tmp_path / "stores").iterdir())) == 2


def test_what_the_reader_left_out_is_known_the_second_time_too(source, tmp_path, monkeypatch):
    with source.open("a") as lines:
        lines.write('{"problem_id": "broken"}\n')
        lines.write(json.dumps({"problem_id": "null", "prompt": "P.", "tests": [], "time_limit_s": None}) + "\n")
    first = opened(source, tmp_path, max_bad_frac=0.1).reading
    renamed = tmp_path / "renamed.jsonl"
    os.rename(source, renamed)
    monkeypatch.setattr(tasksets, "load_problems", None)
    again = opened(renamed, tmp_path, max_bad_frac=0.1).reading
    assert again.bad_rows == [row.replace(str(source), str(renamed)) for row in first.bad_rows]
    assert again.bad_rows[0].startswith(f"{renamed}:41: field 'prompt' is missing") and again.num_rows == 42
    assert again.notes.unknown == first.notes.unknown == {"null_time_limit_s": 1}
    with pytest.raises(DataError, match=r"1 of 42 rows are no problems, more than 1\.00%; the first: .*renamed\.jsonl:41"):
        opened(renamed, tmp_path, max_bad_frac=0.01)


def test_a_solution_that_stands_there_twice_is_one(tmp_path):
    twice = Problem("p", "P.", (), solutions=tuple(Solution(code, right) for code, right in (("a", True), ("a", False)) * 2))
    once = distinct(twice)
    assert [(s.code, s.is_correct, s.place) for s in once.solutions] == [
        ("a", True, "solutions[0]"),
        ("a", False, "solutions[1]"),
    ]
    write_problems(tmp_path / "train.jsonl", [twice])
    store = opened(tmp_path / "train.jsonl", tmp_path)
    assert (len(store.candidates), store.num_solutions) == (2, 4)


def test_progress_is_told_row_by_row_where_their_number_is_known(tmp_path):
    told = []
    records = [{"problem_id": f"p{i}", "prompt": "P.", "tests": []} for i in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "b.json").write_text(json.dumps(records))
    for name in ("a.jsonl", "b.json"):
        stored("jsonl", str(tmp_path / name), Reading(), Stores(tmp_path / "stores", lambda *done: told.append(done)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    table = pa.table({"problem_id": ["x", "y"], "prompt": ["P."] * 2, "tests": pa.array([[], []], pa.list_(pa.string()))})
    pq.write_table(table, tmp_path / "c.parquet")
    stored("jsonl", str(tmp_path / "c.parquet"), Reading(), Stores(tmp_path / "stores", lambda *done: told.append(done)))
    assert told[3:] == [(1, 2), (2, 2)]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl does not exist"):
        opened(tmp_path / "none.jsonl", tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from wmtp.examples import store
from wmtp.problems.files import Reading

store.BATCH_CHARACTERS, writes = 10, 0
plain = store._Writer._flush

def flush(self):
    global writes
    plain(self)
    writes += 1
    if writes == 20:
        os.kill(os.getpid(), signal.SIGKILL)

store._Writer._flush = flush
store.stored("jsonl", sys.argv[1], Reading(), store.Stores(Path(sys.argv[2])))
"""


def test_a_kill_in_the_middle_leaves_nothing_under_a_final_name(source, tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(source), str(tmp_path / "stores")])
    assert killed.returncode == -signal.SIGKILL
    assert all(path.name.startswith(".") for path in (tmp_path / "stores").iterdir())
    assert opened(source, tmp_path).problem_ids == [f"p{i}" for i in range(40)]
