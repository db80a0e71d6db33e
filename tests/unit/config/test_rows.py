"""Files that have fewer rows than the configuration asks for: known before anything starts."""

import re
from contextlib import nullcontext

import pytest

from tests.unit.config.own_files import write_rows
from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.config import rows as counted
from wmtp.config.given import require_given
from wmtp.errors import ConfigError, DataError

FILES = {"train": 200, "validation": 40, "curated": 30}


@pytest.fixture
def root(tmp_path):
    for name, number in FILES.items():
        write_rows(tmp_path / f"{name}.jsonl", number)
    return tmp_path


def check(root, profile, **changed):
    given = {"data.train_path": "train.jsonl", "data.validation_path": "validation.jsonl", **changed}
    require_given(root, compose(PROJECT, profile, overrides=[f"{key}={value}" for key, value in given.items()]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data.num_reference_problems": 201}, "data.num_reference_problems=201 .*: data.train_path=train.jsonl has 200 rows"),
        ({"data.num_reference_problems": 200}, "data.num_problems=None .* has 200 rows, 200 of which are set aside"),
        ({"data.num_problems": 101}, "data.num_problems=101 .* has 200 rows, 100 of which are set aside"),
        (
            {"data.num_validation_problems": 41},
            "data.num_validation_problems=41 .* data.validation_path=validation.jsonl has 40",
        ),
        ({"data.num_test_problems": 41}, "data.num_test_problems=41 .* data.validation_path=validation.jsonl has 40 rows"),
        (
            {"data.test_path": "curated.jsonl", "data.num_test_problems": 31},
            "data.num_test_problems=31 .* data.test_path=curated.jsonl has 30 rows",
        ),
        (
            {"train_policy.train.global_batch_size": 808},
            r"^train_policy\.train\.global_batch_size=808 .* at most 800, the examples that the 100 rows of data\.train_path=",
        ),
        ({"train_critic.train.global_batch_size": 808}, r"^train_critic\.train\.global_batch_size=808 .* at most 800"),
        ({"data.train_path": "empty.jsonl"}, "data.num_reference_problems=100 .* data.train_path=empty.jsonl has 0 rows"),
    ],
)
def test_what_no_row_is_left_for_is_refused(root, changed, said):
    (root / "empty.jsonl").touch()
    check(root, "jsonl")
    with pytest.raises(ConfigError, match=said) as caught:
        check(root, "jsonl", **changed)
    assert "\n" not in str(caught.value)


def test_what_the_rows_are_just_enough_for_is_taken(root):
    check(root, "jsonl", **{"data.num_problems": 100, "train_policy.train.global_batch_size": 800})
    check(root, "jsonl", **{"train_policy.train.global_batch_size": 800})
    check(root, "jsonl", **{"data.num_test_problems": 30, "data.test_path": "curated.jsonl"})


def test_a_batch_of_a_critic_that_no_arm_needs_is_nobodys(root):
    check(root, "jsonl", **{"arms": "[baseline]", "train_critic.train.global_batch_size": 808})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data.num_validation_problems": 41}, "data.num_validation_problems=41 .*validation.jsonl has 40 rows"),
        (
            {"data.validation_path": "null", "data.num_validation_problems": 200},
            "data.num_problems=None .* 200 of which are set",
        ),
        ({"data.reference_path": "null"}, "data.num_reference_problems=400 .* data.train_path=train.jsonl has 200 rows"),
    ],
)
def test_documents_are_rows_too(root, changed, said):
    of_text = {"data.reference_path": "curated.jsonl", "data.num_validation_problems": 40}
    check(root, "text", **of_text)
    with pytest.raises(ConfigError, match=said):
        check(root, "text", **of_text | changed)


def test_large_files_are_not_counted_and_their_first_rows_are_read(root, monkeypatch):
    monkeypatch.setattr(counted, "READ_BYTES", 10)
    check(root, "jsonl", **{"data.num_reference_problems": 1000})
    lines = (root / "train.jsonl").read_text().splitlines(keepends=True)
    for place, is_seen in ((counted.FIRST_ROWS - 1, True), (counted.FIRST_ROWS, False)):
        (root / "broken.jsonl").write_text("".join([*lines[:place], "{\n", *lines[place + 1 :]]))
        with pytest.raises(DataError, match=r"broken\.jsonl:100: ") if is_seen else nullcontext():
            check(root, "jsonl", **{"data.validation_path": "broken.jsonl"})
        check(root, "jsonl", **{"data.train_path": "broken.jsonl"})  # where one in a thousand may be
    (root / "broken.jsonl").write_text("".join(["{}\n"] * counted.FIRST_ROWS + lines))
    with pytest.raises(DataError, match=r"broken\.jsonl:1: field 'problem_id' is missing"):
        check(root, "jsonl", **{"data.train_path": "broken.jsonl"})


ROWS = {
    "a row that is no JSON": ('{"problem_id": "x", ', r"^{path}:41: "),
    "a field that is missing": ('{"problem_id": "x", "prompt": "Do."}', r"^{path}:41: field 'tests' is missing"),
    "an id that was there": (
        '{"problem_id": "p3", "prompt": "Do.", "tests": [{"code": ""}]}',
        r"^{path}:41: duplicate id 'p3', first seen",
    ),
}


@pytest.mark.parametrize("key", ["data.train_path", "data.validation_path", "data.test_path", "data.benchmarks"])
@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_cannot_be_read_is_told_before_anything_starts(root, key, row):
    text, said = ROWS[row]
    write_rows(root / "own.jsonl", 240)
    lines = (root / "own.jsonl").read_text().splitlines()
    (root / "own.jsonl").write_text("\n".join([*lines[:40], text, *lines[41:]]))
    value = "[jsonl:own.jsonl]" if key == "data.benchmarks" else "own.jsonl"
    with pytest.raises(DataError, match=said.format(path=re.escape(str(root / "own.jsonl")))) as caught:
        check(root, "jsonl", **{key: value, "data.max_bad_frac": 0})
    assert "\n" not in str(caught.value)
    if key == "data.train_path":
        check(root, "jsonl", **{key: value, "data.max_bad_frac": 0.01})
        with pytest.raises(DataError, match=r"1 of 240 rows are no problems, more than 0.10%; the first: "):
            check(root, "jsonl", **{key: value})


def test_tests_are_needed_where_programs_are_judged(root):
    (root / "own.jsonl").write_text("".join(f'{{"problem_id": "p{i}", "prompt": "Do.", "tests": []}}\n' for i in range(240)))
    check(root, "jsonl", **{"data.train_path": "own.jsonl"})
    with pytest.raises(DataError, match=r"own\.jsonl:1: p0 has no tests, and validation and test cannot do without"):
        check(root, "jsonl", **{"data.validation_path": "own.jsonl"})


def test_a_document_that_is_none_is_told_before_anything_starts(root):
    (root / "own.jsonl").write_text('{"text": "one"}\n{"text": 2}\n' * 300)
    with pytest.raises(DataError, match=r"own\.jsonl:2: field 'text' must be"):
        check(root, "text", **{"data.reference_path": "own.jsonl", "data.num_validation_problems": 40})


def test_a_file_that_cannot_be_read_is_told_at_once(root):
    (root / "train.jsonl.gz").write_bytes(b"\x1f\x8b" + b"no such thing")
    with pytest.raises(DataError, match=r"train\.jsonl\.gz"):
        check(root, "jsonl", **{"data.train_path": "train.jsonl.gz"})
