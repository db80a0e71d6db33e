"""What of a training file can be used: benchmarks of several files, near duplicates, and the names of both sides."""

from dataclasses import replace

import numpy as np
import pytest

from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.examples.store import Stores
from wmtp.examples.survey import candidates_of, survey
from wmtp.ledger import Ledger
from wmtp.problems.files import write_problems
from wmtp.types import AssertTest, Problem, Solution

LONG = "Given a row of lamps that are lit or dark find the fewest switches that make them all shine at once please"
OTHER = "A king orders tournaments among knights so that everyone meets everyone and no day has more than three fights"


def problem(name, statement):
    return Problem(name, statement, (AssertTest("assert True"),), solutions=(Solution("a = 1", True), Solution("b = 1", False)))


@pytest.fixture
def config(tmp_path):
    train = [
        problem("own", "Count sheep until the shepherd falls asleep and say how many there were then"),
        problem("prepended", f"Dear reader, this is a hard one. {OTHER}"),
        problem("one_word", LONG.replace("fewest", "least")),
        problem("held", "Say whether a year is a leap year"),
        problem("alike", "Count sheep until the shepherd falls asleep and say how many there are then"),
    ]
    write_problems(tmp_path / "train.jsonl", train)
    write_problems(tmp_path / "one.jsonl", [problem("k0", "Nothing of the kind."), problem("knights", OTHER)])
    write_problems(tmp_path / "two.jsonl", [problem("lamps", LONG)])
    return DataConfig(
        source="jsonl", train_path="train.jsonl", validation_path="v", benchmarks=["jsonl:one.jsonl", "jsonl:two.jsonl"]
    )


def surveyed(config, root):
    ledger = Ledger()
    held_out = [replace(problem("leap", "say WHETHER a year is a leap year!"), file="v", row=0)]
    found = survey(str(root / "train.jsonl"), config, root, held_out, ledger, Stores(root / "stores"))
    ledger.check()
    return found, ledger


def test_problems_of_every_benchmark_file_and_of_validation_are_left_out_and_both_are_named(config, tmp_path):
    found, ledger = surveyed(config, tmp_path)
    assert np.flatnonzero(found.usable).tolist() == [0, 4]
    assert [(each.problem_id, each.row, each.because, each.how) for each in found.removed] == [
        ("prepended", 2, "knights", "overlap"),
        ("one_word", 3, "lamps", "similar"),
        ("held", 4, "leap", "same"),
    ]
    assert found.removed[0].because_file == str(tmp_path / "one.jsonl") and found.removed[0].because_row == 2
    assert {each.reason for each in found.removed} == {"contaminated"}
    counts = ledger.counts()
    assert counts["source/benchmarks/problems/kept"] == 3 and counts["source/train/problems/dropped/contaminated"] == 3
    assert counts["source/train/solutions/dropped/contaminated"] == 6


def test_near_duplicates_are_left_out_where_that_is_asked_for(config, tmp_path):
    found, ledger = surveyed(replace(config, max_similarity=0.8), tmp_path)
    assert ledger.counts()["source/train/problems/dropped/near_duplicate"] == 1
    (alike,) = [each for each in found.removed if each.reason == "near_duplicate"]
    assert {(alike.problem_id, alike.row), (alike.because, alike.because_row)} == {("own", 1), ("alike", 5)}
    assert np.flatnonzero(found.usable).tolist() == [alike.because_row - 1]


def test_without_a_benchmark_only_validation_is_looked_at(config, tmp_path):
    found, ledger = surveyed(replace(config, benchmarks=[]), tmp_path)
    assert np.flatnonzero(found.usable).tolist() == [0, 1, 2, 4] and "source/benchmarks/problems/read" not in ledger.counts()


def test_a_benchmark_that_is_not_there_is_named(config, tmp_path):
    with pytest.raises(DataError, match=r"three\.jsonl does not exist"):
        surveyed(replace(config, benchmarks=["jsonl:three.jsonl"]), tmp_path)


def test_which_of_two_alike_is_used_does_not_depend_on_their_order(config, tmp_path):
    lines = (tmp_path / "train.jsonl").read_text().splitlines(keepends=True)
    kept = set()
    for order in (lines, lines[::-1]):
        (tmp_path / "train.jsonl").write_text("".join(order))
        found, _ = surveyed(replace(config, max_similarity=0.8), tmp_path)
        kept.add(found.store.problem_ids[np.flatnonzero(found.usable)[0]])
    assert len(kept) == 1


def test_candidates_are_the_solutions_columns():
    found = candidates_of([problem("a", "A."), problem("b", "B."), replace(problem("c", "C."), solutions=())])
    assert found.problems.tolist() == [0, 0, 1, 1] and found.is_correct.tolist() == [True, False] * 2
    assert len(set(found.keys.tolist())) == 4 and found.num_problems == 2
    assert len(candidates_of([])) == 0
