"""Splits from files: no overlap, nothing leaks, nothing vanishes uncounted."""

import json
from dataclasses import replace

import pytest

from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.examples.sources import load_splits
from wmtp.ledger import Ledger
from wmtp.problems.files import write_problems
from wmtp.types import AssertTest, Problem, Solution


def problem(name, statement, right=2, wrong=2):
    solutions = [Solution(f"r{i} = 1", True) for i in range(right)] + [Solution(f"w{i} = 1", False) for i in range(wrong)]
    return Problem(name, statement, (AssertTest("assert True"),), solutions=tuple(solutions))


def written(path, problems):
    write_problems(path, problems)
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
    ledger = Ledger()
    splits = load_splits(DataConfig(**files), tmp_path, ledger)
    ids = {name: {p.problem_id for p in problems} for name, problems in splits.by_name.items()}
    assert len(ids["reference"]) == 3 and not ids["reference"] & ids["train"]
    assert ids["train"] | ids["reference"] == {f"t{i}" for i in range(10)}
    assert len(ids["validation"]) == 4 and ids["validation"] < ids["test"]
    assert all([s.is_correct for s in p.solutions] == [True, False] for p in splits.train)
    assert load_splits(DataConfig(**files), tmp_path, Ledger()) == splits
    fewer = load_splits(DataConfig(**files | {"num_problems": 2, "mutants_per_solution": 1}), tmp_path, Ledger())
    assert len(fewer.train) == 2 and all([s.is_correct for s in p.solutions] == [True] for p in fewer.train)
    assert str(ledger).split("\n") == [
        "source/validation problems: 6 read = 6 kept",
        "source/validation solutions: 24 read = 24 kept",
        "split/validation problems: 6 read = 2 not_sampled + 4 kept",
        "split/validation solutions: 24 read = 8 not_sampled + 8 over_max_per_problem + 8 kept",
        "split/test problems: 6 read = 6 kept",
        "source/train problems: 13 read = 1 contaminated + 1 duplicate_statement + 1 without_right_solution + 10 kept",
        "source/train solutions: 50 read = 4 contaminated + 4 duplicate_statement + 2 without_right_solution + 40 kept",
        "split/train problems: 10 read = 3 set_aside_for_reference + 7 kept",
        "split/train solutions: 40 read = 12 set_aside_for_reference + 14 over_max_per_problem + 14 kept",
        "split/reference problems: 10 read = 7 left_to_train_on + 3 kept",
        "split/reference solutions: 40 read = 28 left_to_train_on + 6 over_max_per_problem + 6 kept",
    ]
    ledger.check()


def test_problems_without_a_wrong_solution_do_not_vanish_where_pairs_are_asked_for(files, tmp_path):
    train = [problem(f"t{i}", f"Do thing {i}.", wrong=i % 2) for i in range(43)]
    files["train_path"] = written(tmp_path / "train.jsonl", train)
    ledger = Ledger()
    splits = load_splits(DataConfig(**files), tmp_path, ledger)
    ledger.check()
    counts = ledger.counts()
    unpaired = sum(counts[f"split/{split}/problems/dropped/without_partner"] for split in ("train", "reference"))
    assert unpaired == 22 and len(splits.train) + len(splits.reference) == 21
    assert counts["split/train/problems/kept"] == len(splits.train)


def test_bins_and_numbers_say_which_of_them_left_a_problem_out(files, tmp_path):
    levels = [0] * 5 + [1] * 20 + [2] * 10
    train = [replace(problem(f"t{i}", f"Do thing {i}."), difficulty=level) for i, level in enumerate(levels)]
    files |= {"train_path": written(tmp_path / "train.jsonl", train), "num_reference_problems": 1}
    files |= {"difficulty_bins": [1, 2], "difficulty_weights": [0, 1, 1]}
    for number, dropped in ((None, 0), (8, None)):
        ledger = Ledger()
        splits = load_splits(DataConfig(**files | {"num_problems": number}), tmp_path, ledger)
        counts = {k.rpartition("/")[2]: n for k, n in ledger.counts().items() if k.startswith("split/train/problems/")}
        left = [sum(p.difficulty == level for p in train) for level in range(3)]
        left[splits.reference[0].difficulty] -= 1
        reach = 2 * min(left[1:])
        assert counts["difficulty_of_weight_0"] == left[0]
        assert counts["over_difficulty_share"] == sum(left[1:]) - reach
        assert counts["not_sampled"] == (dropped if number is None else reach - number)
        assert counts["kept"] == len(splits.train) == (number or reach)


def test_what_a_problem_has_none_of_is_counted(files, tmp_path):
    held_out = [problem(f"v{i}", f"Do held out {i}.", right=i % 2, wrong=i % 3) for i in range(6)]
    files |= {"validation_path": written(tmp_path / "validation.jsonl", held_out), "num_validation_problems": 6}
    ledger = Ledger()
    splits = load_splits(DataConfig(**files | {"mutants_per_solution": 1}), tmp_path, ledger)
    counts = ledger.counts()
    assert [p.problem_id for p in splits.validation] == ["v1", "v3", "v5"]
    dropped = {
        reason: counts[f"split/validation/problems/dropped/{reason}"] for reason in ("without_solutions", "wrong_not_used")
    }
    assert dropped == {"without_solutions": 1, "wrong_not_used": 2}
    assert counts["split/validation/solutions/dropped/wrong_not_used"] == 0 + 1 + 2 + 0 + 1 + 2


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
        load_splits(DataConfig(**files | changes), tmp_path, Ledger())


def test_unknown_difficulty_fills_no_bin_unless_it_is_given_a_weight(files, tmp_path):
    levels = [None] * 20 + [1] * 20 + [2] * 20
    train = [replace(problem(f"t{i}", f"Do thing {i}."), difficulty=level) for i, level in enumerate(levels)]
    files |= {"train_path": written(tmp_path / "train.jsonl", train), "num_reference_problems": 1}
    files |= {"difficulty_bins": [2], "difficulty_weights": [1, 1]}
    ledger = Ledger()
    splits = load_splits(DataConfig(**files), tmp_path, ledger)
    held = splits.reference[0].difficulty is None
    assert {p.difficulty for p in splits.train} == {1, 2}
    assert ledger.counts()["split/train/problems/dropped/unknown_difficulty"] == 20 - held
    splits = load_splits(DataConfig(**files | {"unknown_difficulty_weight": 1.0}), tmp_path, Ledger())
    assert {p.difficulty for p in splits.train} == {None, 1, 2}


def test_bad_rows_are_counted_and_shown_up_to_a_share_and_refused_beyond(files, tmp_path, capsys):
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"problem_id": "broken"}\n')
    with pytest.raises(DataError, match=r"1 of 14 rows are no problems, more than 0\.10%; .*train\.jsonl:14: field 'prompt'"):
        load_splits(DataConfig(**files), tmp_path, Ledger())
    ledger = Ledger()
    whole = load_splits(DataConfig(**files | {"max_bad_frac": 0.1}), tmp_path, ledger)
    assert len(whole.train) == 7 and "left out" in capsys.readouterr().out
    assert str(ledger).split("\n")[5].startswith("source/train problems: 14 read = 1 contaminated + 1 duplicate_statement")
    assert ledger.counts()["source/train/problems/dropped/bad_row"] == 1
    with (tmp_path / "validation.jsonl").open("a") as file:
        file.write('{"problem_id": "broken"}\n')
    with pytest.raises(DataError, match=r"validation\.jsonl:7: field 'prompt' is missing"):
        load_splits(DataConfig(**files | {"max_bad_frac": 0.9}), tmp_path, Ledger())


def test_a_problem_without_tests_is_counted_in_training_and_refused_where_it_would_be_scored(files, tmp_path):
    untested = replace(problem("u", "Do nothing that shows."), tests=())
    train = [problem(f"t{i}", f"Do thing {i}.") for i in range(10)]
    files["train_path"] = written(tmp_path / "train.jsonl", [*train, untested])
    ledger = Ledger()
    load_splits(DataConfig(**files), tmp_path, ledger)
    assert ledger.counts()["source/train/problems/dropped/without_tests"] == 1
    held_out = [problem(f"v{i}", f"Do held out {i}.") for i in range(6)]
    files["validation_path"] = written(tmp_path / "validation.jsonl", [*held_out, untested])
    with pytest.raises(DataError, match=r"validation\.jsonl:7: u has no tests, and validation and test cannot do without"):
        load_splits(DataConfig(**files), tmp_path, Ledger())


def test_fields_that_say_nothing_are_a_line_of_the_ledger(files, tmp_path):
    text = (tmp_path / "train.jsonl").read_text().replace('"time_limit_s": 4.0', '"time_limit_s": null', 2)
    (tmp_path / "train.jsonl").write_text(text)
    ledger = Ledger()
    load_splits(DataConfig(**files), tmp_path, ledger)
    ledger.check()
    assert str(ledger.lines["source/train", "fields"]) == "source/train fields: 2 read = 2 null_time_limit_s + 0 kept"


def test_mbpp_in_one_file_gives_training_what_is_published_for_it(tmp_path):
    """974 records in one file: 601 to 974 are for training, 1 to 10 for prompts, and what lies between is held out."""
    path = tmp_path / "mbpp.jsonl"
    record = {"code": "def f(): pass", "test_list": ["assert True"]}
    numbers = {
        5: "red",
        11: "green",
        510: "blue",
        511: "grey",
        600: "white",
        601: "black",
        700: "brown",
        974: "pink",
        10: "gold",
    }
    path.write_text("".join(json.dumps({**record, "task_id": n, "text": f"{word} " * 9}) + "\n" for n, word in numbers.items()))
    config = DataConfig(
        source="mbpp",
        train_path=path.name,
        validation_path=path.name,
        num_problems=None,
        num_reference_problems=1,
        num_validation_problems=2,
        num_test_problems=2,
    )
    ledger = Ledger()
    splits = load_splits(config, tmp_path, ledger).by_name
    ids = {name: {int(p.problem_id.removeprefix("mbpp/")) for p in problems} for name, problems in splits.items()}
    assert ids["train"] | ids["reference"] == {601, 700, 974}
    assert ids["validation"] | ids["test"] == {11, 510, 511, 600}
    assert "source/train problems: 9 read = 6 of_another_split + 3 kept" in str(ledger).replace("0 contaminated + ", "")
    assert "source/validation problems: 9 read = 5 of_another_split + 4 kept" in str(ledger)


def test_another_seed_keeps_what_is_held_out_and_another_one_of_that_changes_nothing_else(files, tmp_path):
    files |= {"num_test_problems": 3, "num_validation_problems": 3, "max_per_problem": 4}

    def ids(**seeds):
        splits = load_splits(DataConfig(**files | seeds), tmp_path, Ledger())
        return {name: [p.problem_id for p in problems] for name, problems in splits.by_name.items()}

    first, other = ids(), [ids(seed=seed) for seed in range(1, 4)]
    assert all(each["test"] == first["test"] and each["validation"] == first["validation"] for each in other)
    assert any(each["reference"] != first["reference"] for each in other)
    redrawn = [ids(heldout_seed=seed) for seed in range(1, 4)]
    assert all(each["train"] == first["train"] and each["reference"] == first["reference"] for each in redrawn)
    assert any(each["test"] != first["test"] for each in redrawn)
