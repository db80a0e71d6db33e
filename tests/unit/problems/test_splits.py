"""Names of files as published datasets on the hub have them."""

from pathlib import PurePath

import pytest

from wmtp.errors import DataError
from wmtp.problems.records import _READERS
from wmtp.problems.splits import FORMATS, of_split, path_format, split_named, split_of


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00039-e991a271dbfa9925.parquet", "train"),
        ("valid-00000-of-00001.parquet", "validation"),
        ("dev.jsonl", "validation"),
        ("test-00000-of-00001.jsonl.gz", "test"),
        ("mbpp.train.jsonl", "train"),
        ("train_10.json", "train"),
        ("sanitized-00000-of-00001.parquet", "sanitized"),
        ("latest.jsonl", None),
        ("contest.parquet", None),
        ("mbpp.jsonl", None),
    ],
)
def test_a_files_name_tells_its_split(name, split):
    assert split_of(PurePath("data") / name) == split


def test_words_for_a_split():
    assert [split_named(word) for word in ("valid", "val", "dev", "train", "prompt")] == [
        "validation",
        "validation",
        "validation",
        "train",
        "prompt",
    ]


def shards(*names):
    return [PurePath(name) for name in names]


def test_a_split_is_taken_in_order_and_others_are_left_alone():
    there = shards("train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "valid-00000-of-00001.parquet")
    assert of_split(there, "train", "here") == [there[1], there[0]]
    assert of_split(there, "validation", "here") == of_split(there, "valid", "here") == [there[2]]


def test_without_names_of_splits_all_files_are_meant():
    assert of_split(shards("b.jsonl", "a.jsonl"), "train", "here") == shards("a.jsonl", "b.jsonl")
    assert of_split(shards("train.jsonl"), None, "here") == shards("train.jsonl")


@pytest.mark.parametrize(
    ("names", "split", "said"),
    [
        (["train.jsonl", "test.jsonl"], None, "here holds the splits test, train: say which, here:test"),
        (["train.jsonl", "test.jsonl"], "validation", "here holds no split validation, but test, train"),
        (["train.jsonl", "more.jsonl"], "train", "here holds more.jsonl beside files of the splits train: name the files"),
    ],
)
def test_what_is_not_clear_is_refused(names, split, said):
    with pytest.raises(DataError, match=said):
        of_split(shards(*names), split, "here")


def test_formats_are_those_that_can_be_read():
    assert sorted(FORMATS) == sorted(_READERS)
    assert [path_format(name) for name in ("a.b.jsonl", "a.jsonl.gz", "a.parquet", "README.md")] == [
        ".jsonl",
        ".jsonl.gz",
        ".parquet",
        ".md",
    ]
