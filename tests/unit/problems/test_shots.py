"""Which solved examples a prompt gets, and what is refused."""

import json
import random

import pytest

from wmtp.errors import ConfigError, DataError
from wmtp.problems.formats import PromptFormat
from wmtp.problems.records import take
from wmtp.problems.shots import NO_SHOTS, choose_shots
from wmtp.types import Problem


def read(record, where, left_out):
    return Problem(take(record, where, "id", str), take(record, where, "text", str), ())


def form(*shot_ids, num_shots=2):
    ask = {"question": lambda problem: problem.prompt, "answer": lambda shot: shot.record["answer"]}
    return PromptFormat("quiz", "nobody", num_shots=num_shots, shot_ids=shot_ids, **ask)


@pytest.fixture
def source(tmp_path):
    records = [{"id": f"r{i}", "text": f"{i} ", "answer": f"={i}\n"} for i in range(6)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


TASKS = [Problem(f"t{i}", f"task {i}", ()) for i in range(3)]


def ids(shots, problem=TASKS[0]):
    return [shot.problem.problem_id for shot in shots.of(problem)]


def test_fixed_ids_in_their_own_order_wherever_they_stand_in_the_file(source):
    shots = choose_shots(form(("r4", "r1", "r0")), TASKS, read, source=source)
    assert [ids(shots, task) for task in TASKS] == [["r4", "r1"]] * 3
    assert shots.as_dict() == {"source": source, "ids": ["r4", "r1"]}
    assert form(("r4", "r1")).prompt(TASKS[0], shots.of(TASKS[0])) == "4 =4\n1 =1\ntask 0"
    assert ids(choose_shots(form(("r4", "r1", "r0")), TASKS, read, number=3, source=source)) == ["r4", "r1", "r0"]


def test_the_first_list_that_the_file_holds(source):
    assert ids(choose_shots(form(("x", "r1"), ("r2", "r3")), TASKS, read, source=source)) == ["r2", "r3"]
    assert ids(choose_shots(form(), TASKS, read, source=source)) == ["r0", "r1"]
    with pytest.raises(DataError, match=r"does not hold the solved examples of the prompt format quiz: x, y"):
        choose_shots(form(("x", "y")), TASKS, read, source=source)
    with pytest.raises(ConfigError, match=r"has 2 fixed examples, not 3: draw with --shot-seed"):
        choose_shots(form(("r1", "r2")), TASKS, read, number=3, source=source)


def test_drawn_ones_are_each_tasks_own_by_its_place_as_the_harness_draws(source):
    shots = choose_shots(form(("r1", "r2")), TASKS, read, source=source, seed=1234)
    draw = random.Random(1234)
    expected = [draw.sample([f"r{i}" for i in range(6)], 2) for _ in TASKS]
    assert [ids(shots, task) for task in TASKS] == expected
    assert shots.as_dict()["ids"] == dict(zip(("t0", "t1", "t2"), expected, strict=True))


def test_none_are_asked_for(source):
    assert choose_shots(form(), TASKS, read, number=0) is NO_SHOTS
    plain = PromptFormat("plain", "nobody", lambda problem: problem.prompt)
    assert choose_shots(plain, TASKS, read).of(TASKS[0]) == ()
    for options in ({"number": 1}, {"source": source}):
        with pytest.raises(ConfigError, match="the prompt format plain has no solved examples"):
            choose_shots(plain, TASKS, read, **options)
    for options in ({"source": source}, {"seed": 1}):
        with pytest.raises(ConfigError, match="of no use with --num-shots 0"):
            choose_shots(form(), TASKS, read, number=0, **options)


def test_what_is_missing_is_said_before_anything_runs(source):
    with pytest.raises(ConfigError, match=r"quiz needs 2 solved examples: name the file that holds them with --shots, or"):
        choose_shots(form(), TASKS, read)
    with pytest.raises(DataError, match="holds 6 problems, and 7 solved examples are asked for"):
        choose_shots(form(), TASKS, read, number=7, source=source)
    with pytest.raises(DataError, match="the solved example r1 is one of the questions"):
        choose_shots(form(), [*TASKS, Problem("r1", "", ())], read, source=source)
