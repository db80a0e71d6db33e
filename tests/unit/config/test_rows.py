"""Files that have fewer rows than the configuration asks for: known before anything starts."""

import pytest

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.config import rows as counted
from wmtp.config.given import require_given
from wmtp.errors import ConfigError, DataError

FILES = {"train": 200, "validation": 40, "curated": 30}


@pytest.fixture
def root(tmp_path):
    for name, number in FILES.items():
        (tmp_path / f"{name}.jsonl").write_text("{}\n" * number)
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


def test_large_files_are_not_counted(root, monkeypatch):
    monkeypatch.setattr(counted, "COUNTED_BYTES", 10)
    check(root, "jsonl", **{"data.num_reference_problems": 1000})


def test_a_file_that_cannot_be_read_is_told_at_once(root):
    (root / "train.jsonl.gz").write_bytes(b"\x1f\x8b" + b"no such thing")
    with pytest.raises(DataError, match=r"train\.jsonl\.gz"):
        check(root, "jsonl", **{"data.train_path": "train.jsonl.gz"})
