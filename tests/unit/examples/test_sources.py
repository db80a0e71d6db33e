"""Splits from files: no overlap, nothing leaks, nothing vanishes uncounted."""

import json
from dataclasses import replace

import pytest

from tests.unit.examples.splits import load_splits, many, problem, written
from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.ledger import Ledger
from wmtp.problems.files import read_problems
from wmtp.types import Solution


def test_files_are_split_without_overlap_decontaminated_and_counted(files, tmp_path):
    ledger = Ledger()
    splits = load_splits(DataConfig(**files), tmp_path, ledger)
    ids = {name: {p.problem_id for p in problems} for name, problems in splits.by_name.items()}
    assert len(ids["reference"]) == 3 and not ids["reference"] & ids["train"]
    used = ids["train"] | ids["reference"]
    assert used - {"d", "t3"} == {f"t{i}" for i in range(10)} - {"t3"} and len(used & {"d", "t3"}) == 1, "two of one statement"
    assert len(ids["validation"]) == 4 and ids["validation"] < ids["test"]
    assert all(sorted(s.is_correct for s in p.solutions) == [False, True] for p in splits.train)
    assert all([s.is_correct for s in p.solutions] == [True] for p in splits.reference)
    assert load_splits(DataConfig(**files), tmp_path, Ledger()) == splits
    fewer = load_splits(DataConfig(**files | {"num_problems": 2, "mutants_per_solution": 1}), tmp_path, Ledger())
    assert len(fewer.train) == 2 and all([s.is_correct for s in p.solutions] == [True] for p in fewer.train)
    assert str(ledger).split("\n") == [
        "source/validation problems: 6 read = 6 kept",
        "source/validation solutions: 24 read = 24 kept",
        "source/train problems: 13 read = 1 contaminated + 1 duplicate_statement + 1 without_right_solution + 10 kept",
        "source/train solutions: 50 read = 4 contaminated + 4 duplicate_statement + 2 without_right_solution + 40 kept",
        "split/validation problems: 6 read = 2 not_sampled + 4 kept",
        "split/validation solutions: 24 read = 8 not_sampled + 8 over_max_per_problem + 8 kept",
        "split/test problems: 6 read = 6 kept",
        "split/train problems: 10 read = 3 set_aside_for_reference + 7 kept",
        "split/train solutions: 40 read = 12 set_aside_for_reference + 14 over_max_per_problem + 14 kept",
        "split/reference problems: 10 read = 7 left_to_train_on + 3 kept",
        "split/reference solutions: 40 read = 28 left_to_train_on + 6 wrong_not_used + 3 over_max_per_problem + 3 kept",
    ]
    ledger.check()


def test_problems_without_a_wrong_solution_do_not_vanish_where_pairs_are_asked_for(files, tmp_path):
    train = [problem(f"t{i}", f"Do thing {i}.", wrong=i % 2) for i in range(43)]
    files["train_path"] = written(tmp_path / "train.jsonl", train)
    ledger = Ledger()
    splits = load_splits(DataConfig(**files), tmp_path, ledger)
    ledger.check()
    counts = ledger.counts()
    unpaired = counts["split/train/problems/dropped/without_partner"]
    assert unpaired + len(splits.train) + len(splits.reference) == 43 and len(splits.reference) == 3
    assert unpaired == 22 - sum(int(p.problem_id[1:]) % 2 == 0 for p in splits.reference)
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
    files |= {"validation_path": written(tmp_path / "validation.jsonl", held_out), "num_validation_problems": 3}
    ledger = Ledger()
    splits = load_splits(DataConfig(**files | {"mutants_per_solution": 1}), tmp_path, ledger)
    counts = ledger.counts()
    assert [p.problem_id for p in splits.validation] == ["v1", "v3", "v5"]
    dropped = {
        reason: counts[f"split/validation/problems/dropped/{reason}"] for reason in ("without_solutions", "wrong_not_used")
    }
    assert dropped == {"without_solutions": 1, "wrong_not_used": 2}
    assert counts["split/validation/solutions/dropped/wrong_not_used"] == 0 + 1 + 2 + 0 + 1 + 2
    files |= {"mutants_per_solution": 1, "num_validation_problems": 4}
    said = r"num_validation_problems=4, but validation.jsonl leaves 3 \(1 without_solutions, 2 with wrong solutions alone: "
    with pytest.raises(DataError, match=said):
        load_splits(DataConfig(**files), tmp_path, Ledger())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_test_problems": 7}, r"data\.num_test_problems=7, but .* has 6 problems for it \(.*= 6 kept\)"),
        ({"num_reference_problems": 10}, r"data\.num_reference_problems=10, but .* has 10 usable problems .*\(.*\+ 10 kept\)"),
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
    assert "source/train problems: 14 read = 1 contaminated + 1 duplicate_statement" in str(ledger)
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


def test_a_problem_without_a_statement_is_counted_and_left_out_everywhere(files, tmp_path):
    silent = [replace(problem(f"s{i}", ""), prompt=" \n") for i in range(2)]
    train = [problem(f"t{i}", f"Do thing {i}.") for i in range(10)]
    files["train_path"] = written(tmp_path / "train.jsonl", [*train, silent[0]])
    held_out = [problem(f"v{i}", f"Do held out {i}.") for i in range(6)]
    files["validation_path"] = written(tmp_path / "validation.jsonl", [silent[1], *held_out])
    ledger = Ledger()
    splits = load_splits(DataConfig(**files), tmp_path, ledger)
    counts = ledger.counts()
    assert {counts[f"source/{name}/problems/dropped/without_statement"] for name in ("train", "validation")} == {1}
    assert not [each for problems in splits.by_name.values() for each in problems if each.problem_id.startswith("s")]


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


def read_again(files, root, **changes):
    """What of every split is used: (problem, text, label), in order."""
    splits = load_splits(DataConfig(**files | changes), root, Ledger()).by_name
    return {name: [(p.problem_id, s.code, s.is_correct) for p in own for s in p.solutions] for name, own in splits.items()}


OPTIONS = [
    {"pairwise": True, "max_per_problem": 4},
    {"pairwise": False, "max_per_problem": 2, "num_problems": 40},
    {"difficulty_bins": [2], "difficulty_weights": [1, 2], "unknown_difficulty_weight": 0.5, "max_per_problem": 3},
    {"mutants_per_solution": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_rows_in_another_order_or_in_other_files_change_nothing(files, tmp_path, options):
    train = many(90)
    files["train_path"] = written(tmp_path / "train.jsonl", train)
    first = read_again(files, tmp_path, **options)
    turned = [replace(each, solutions=each.solutions[::-1]) for each in train[::-1]]
    files["train_path"] = written(tmp_path / "turned.jsonl", turned)
    assert read_again(files, tmp_path, **options) == first
    (tmp_path / "shards").mkdir()
    for i in range(3):
        written(tmp_path / "shards" / f"train-{i:05}-of-00003.jsonl", turned[i::3])
    files["train_path"] = "shards"
    assert read_again(files, tmp_path, **options) == first
    held_out = [problem(f"v{i}", f"Do held out {i}.") for i in range(6)]
    files["validation_path"] = written(tmp_path / "other.jsonl", held_out[::-1])
    assert read_again(files, tmp_path, **options) == first


@pytest.mark.parametrize("options", OPTIONS)
def test_one_row_more_changes_what_it_has_to_and_nothing_else(files, tmp_path, options):
    """A problem may come in and push out another one; a solution may come in and push out one of the same problem."""
    files["train_path"] = written(tmp_path / "train.jsonl", many(90))
    first = read_again(files, tmp_path, **options)
    files["train_path"] = written(tmp_path / "longer.jsonl", many(91))
    longer = read_again(files, tmp_path, **options)
    for name in ("train", "reference"):
        before, after = ({p for p, _, _ in each[name]} for each in (first, longer))
        assert len(before - after) <= 2 and len(after - before) <= 2
        assert [row for row in longer[name] if row[0] in before] == [row for row in first[name] if row[0] in after]
    train = many(90)
    train[7] = replace(train[7], solutions=(*train[7].solutions, Solution("r9 = 1", True)))
    files["train_path"] = written(tmp_path / "one.jsonl", train)
    one = read_again(files, tmp_path, **options)
    for name in ("train", "reference"):
        assert [row for row in one[name] if row[0] != "t7"] == [row for row in first[name] if row[0] != "t7"]
    assert one["validation"] == first["validation"] and one["test"] == first["test"]


def test_a_file_of_the_users_own_is_the_test_and_is_not_trained_on(files, tmp_path):
    tested = [problem(f"own{i}", f"Do your own {i}.") for i in range(5)]
    train = list(read_problems(tmp_path / files["train_path"]))
    files["train_path"] = written(tmp_path / "train.jsonl", [*train, problem("leak", "do YOUR own 2")])
    files |= {"test_path": written(tmp_path / "own.jsonl", tested), "num_test_problems": 4, "num_validation_problems": 6}
    ledger = Ledger()
    splits = load_splits(DataConfig(**files), tmp_path, ledger)
    ledger.check()
    assert {p.problem_id for p in splits.test} < {p.problem_id for p in tested} and len(splits.test) == 4
    assert {p.problem_id for p in splits.validation} == {f"v{i}" for i in range(6)}
    assert "leak" not in {p.problem_id for p in (*splits.train, *splits.reference)}
    assert ("leak", "own2") in {(each.problem_id, each.because) for each in splits.removed}
    assert "source/test problems: 5 read = 5 kept" in str(ledger) and "split/test problems: 5 read = 1 not_sampled" in str(
        ledger
    )
    with pytest.raises(DataError, match=r"data.num_test_problems=6, but own.jsonl has 5 problems for it"):
        load_splits(DataConfig(**files | {"num_test_problems": 6}), tmp_path, Ledger())


def test_problems_whose_programs_use_files_are_left_out_of_all_splits_and_counted(tmp_path):
    def record(name, number, **more):
        texts = {"language": [3], "solution": [f"print({number})"]}
        tests = {"public_tests": {"input": [""], "output": [str(number)]}, "incorrect_solutions": None}
        return {"name": name, "description": f"Print the number {number}.", "solutions": texts, **tests, **more}

    held = [record(f"h{i}", i) for i in range(3)] + [record("hf", 8, input_file="in.txt", output_file="")]
    train = [record(f"t{i}", 10 + i) for i in range(4)] + [record("tf", 9, input_file="", output_file="out.txt")]
    for name, records in (("train", train), ("held", held)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    paths = {"source": "codecontests", "train_path": "train.jsonl", "validation_path": "held.jsonl", "pairwise": False}
    sizes = {"num_problems": None, "num_reference_problems": 1, "num_validation_problems": 3, "num_test_problems": 3}
    ledger = Ledger()
    load_splits(DataConfig(**paths, **sizes, benchmark_similarity=None, benchmark_overlap=None), tmp_path, ledger)
    counts = ledger.counts()
    for name, kept in (("train", 4), ("validation", 3)):
        assert counts[f"source/{name}/problems/dropped/without_tests"] == 1 and counts[f"source/{name}/problems/kept"] == kept
        assert counts[f"source/{name}/fields/dropped/input_or_output_in_a_file"] == 1
