"""Choices on metadata: caps, pairs, bins, ratio, order."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from wmtp.config.schema import DataConfig
from wmtp.errors import ConfigError, DataError
from wmtp.examples.sources import load_splits
from wmtp.problems.choose import Row, choose_problems, choose_solutions, curriculum_order, keep_correct_ratio
from wmtp.problems.decontaminate import normalised
from wmtp.types import AssertTest, Problem, Solution


def rows(*labels):
    """Labels of each problem's solutions, "rrw" for two right ones and a wrong one."""
    return [Row(i, j, label == "r", 0, 10) for i, group in enumerate(labels) for j, label in enumerate(group)]


def test_at_most_so_many_solutions_of_a_problem_and_all_where_there_are_fewer():
    kept = choose_solutions(rows("rrrrw", "r", "ww"), max_per_problem=2, pairwise=False, seed="0")
    assert Counter(row.problem for row in kept) == {0: 2, 1: 1, 2: 2}
    assert kept == choose_solutions(rows("rrrrw", "r", "ww"), max_per_problem=2, pairwise=False, seed="0")
    picks = {tuple(choose_solutions(rows("rrrrrrrr"), max_per_problem=2, pairwise=False, seed=str(s))) for s in range(20)}
    assert len(picks) > 5


def test_pairs_have_as_many_right_as_wrong():
    kept = choose_solutions(rows("rrrww", "rr", "w", "rw"), max_per_problem=4, pairwise=True, seed="0")
    assert Counter((row.problem, row.is_correct) for row in kept) == {(0, True): 2, (0, False): 2, (3, True): 1, (3, False): 1}


def test_a_problems_choice_does_not_depend_on_other_problems():
    alone = choose_solutions(rows("rrrrr"), max_per_problem=2, pairwise=False, seed="0")
    among = choose_solutions(rows("rrrrr", "rrr"), max_per_problem=2, pairwise=False, seed="0")
    assert [r for r in among if r.problem == 0] == alone


@pytest.mark.parametrize(("ratio", "right", "wrong"), [(None, 30, 10), (0.5, 10, 10), (0.9, 30, 3), (0.0, 0, 10), (1.0, 30, 0)])
def test_the_class_in_excess_is_thinned(ratio, right, wrong):
    labels = [True, True, True, False] * 10
    kept = keep_correct_ratio(labels, ratio, "0")
    assert Counter(labels[i] for i in kept) == Counter({True: right, False: wrong}) and kept == sorted(set(kept))


def test_bins_follow_their_weights_as_far_as_the_data_reaches():
    difficulties = [800] * 50 + [1500] * 100 + [2500] * 10
    config = DataConfig(difficulty_bins=[1200, 2000], difficulty_weights=[1, 2, 1])
    kept = Counter(difficulties[i] for i in choose_problems(difficulties, config, None, "0"))
    assert kept == {800: 10, 1500: 20, 2500: 10}
    assert Counter(difficulties[i] for i in choose_problems(difficulties, config, 20, "0")) == {800: 5, 1500: 10, 2500: 5}
    assert len(choose_problems(difficulties, DataConfig(), None, "0")) == 160
    assert len(choose_problems(difficulties, DataConfig(), 7, "0")) == 7


def test_curriculum_goes_from_easy_to_hard_and_short_to_long():
    assert curriculum_order([2, 1, 1, 2], [5, 9, 3, 5]) == [2, 1, 0, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"difficulty_bins": [2, 1], "difficulty_weights": [1, 1, 1]}, "rising edges"),
        ({"difficulty_bins": [2], "difficulty_weights": [1]}, "2 shares for 1 edges"),
        ({"difficulty_weights": [0]}, "not all 0"),
        ({"max_per_problem": 1}, "at least 2 where data.pairwise"),
        ({"mutants_per_solution": 2}, "0 or 1 where data.pairwise"),
        ({"operations": "some"}, "core, all"),
        ({"source": "mbpp"}, "data.train_path"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**changes)


def test_statements_match_whatever_their_layout_and_asserts():
    assert normalised("Write a function,\n to ADD!\nassert add(1) == 2") == normalised(
        "write a function to add\nassert plus(1)"
    )
    assert normalised("add 2 numbers") != normalised("add 3 numbers")


def problem(name, statement, right=2, wrong=2):
    solutions = [Solution(f"r{i} = 1", True) for i in range(right)] + [Solution(f"w{i} = 1", False) for i in range(wrong)]
    return Problem(name, statement, (AssertTest("assert True"),), solutions=tuple(solutions))


def written(path, problems):
    path.write_text("".join(json.dumps(asdict(p)) + "\n" for p in problems))
    return path.name


@pytest.fixture
def files(tmp_path):
    train = [problem(f"t{i}", f"Do thing {i}.") for i in range(10)]
    train += [problem("c", "do  HELD out 1!"), problem("d", "Do thing 3."), problem("n", "Nothing right.", right=0)]
    held_out = [problem(f"v{i}", f"Do held out {i}.") for i in range(6)]
    return {
        "source": "jsonl",
        "train_path": written(tmp_path / "train.jsonl", train),
        "validation_path": written(tmp_path / "validation.jsonl", held_out),
        "num_problems": None,
        "num_reference_problems": 3,
        "num_validation_problems": 4,
        "num_test_problems": 6,
        "mutants_per_solution": 0,
    }


def test_files_are_split_without_overlap_decontaminated_and_counted(files, tmp_path):
    counts = {}
    splits = load_splits(DataConfig(**files), tmp_path, counts)
    ids = {name: {p.problem_id for p in problems} for name, problems in vars(splits).items()}
    assert len(ids["reference"]) == 3 and not ids["reference"] & ids["train"]
    assert ids["train"] | ids["reference"] == {f"t{i}" for i in range(10)}
    assert len(ids["validation"]) == 4 and ids["validation"] < ids["test"]
    assert counts == {
        "validation_file_problems": 6,
        "train_contaminated": 1,
        "train_duplicate_problems": 1,
        "train_without_right_solution": 1,
        "train_problems_not_sampled": 0,
    }
    assert all([s.is_correct for s in p.solutions] == [True, False] for p in splits.train)
    assert load_splits(DataConfig(**files), Path(tmp_path), {}) == splits
    fewer = load_splits(DataConfig(**files | {"num_problems": 2, "mutants_per_solution": 1}), tmp_path, {})
    assert len(fewer.train) == 2 and all([s.is_correct for s in p.solutions] == [True] for p in fewer.train)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_test_problems": 7}, r"data\.num_test_problems=7, but .* has 6 problems"),
        ({"num_reference_problems": 10}, r"data\.num_reference_problems=10, but .* has 10 usable problems"),
        ({"num_problems": 8}, r"data\.num_problems=8, but .* leaves 7"),
        ({"train_path": "other.jsonl"}, r"other\.jsonl does not exist"),
    ],
)
def test_asking_for_more_than_the_files_hold_is_refused(files, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_splits(DataConfig(**files | changes), tmp_path, {})
