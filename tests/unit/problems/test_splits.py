"""Names of files as published datasets on the hub have them."""

import json
from pathlib import PurePath

import datasets
import pyarrow as pa
import pytest

from wmtp.errors import DataError
from wmtp.problems.records import _READERS, read_records
from wmtp.problems.splits import FORMATS, base_of, files_of, of_split, path_format, split_named, split_of, with_split


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


@pytest.fixture
def hub_folder(tmp_path):
    """A dataset as it is cloned from the hub, or as a download leaves it."""
    for name in ("train-00000-of-00002", "train-00001-of-00002", "valid-00000-of-00001", "test-00000-of-00001"):
        path = tmp_path / "set/data" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"from": "{name[:7]}"}}\n')
    (tmp_path / "set/.hub.json").write_text("{}")
    (tmp_path / "set/README.md").write_text("about")
    return tmp_path / "set"


def test_a_folder_with_every_split_gives_each_key_its_own(hub_folder):
    def read(value):
        return [record["from"] for _, record in read_records(value)]

    assert read(with_split(str(hub_folder), "train")) == ["train-0", "train-0"]
    assert read(with_split(str(hub_folder), "validation")) == ["valid-0"]
    assert read(f"{hub_folder}:test") == ["test-00"]
    assert read(f"{hub_folder}/data/train-*.jsonl") == ["train-0", "train-0"]
    with pytest.raises(DataError, match=r"holds the splits test, train, validation: say which"):
        read(str(hub_folder))
    with pytest.raises(DataError, match=r"train-9\*: no file has such a name"):
        read(f"{hub_folder}/data/train-9*")


def test_a_folder_of_files_that_tell_no_split_is_as_it_was(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "dataset_info.json"):
        (tmp_path / name).write_text("{}\n")
    assert with_split(str(tmp_path), "train") == str(tmp_path)
    assert [path.name for path in files_of(str(tmp_path))] == ["a.jsonl", "b.jsonl"]
    assert files_of(str(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    ("value", "base"),
    [
        ("data", "data"),
        ("data:valid", "data"),
        ("data/train-*.parquet", "data"),
        ("/abs/data/[ab].jsonl", "/abs/data"),
        ("data/*/x.jsonl", "data"),
        ("a/file.jsonl", "a/file.jsonl"),
    ],
)
def test_what_a_value_depends_on_is_told_by_its_form(value, base):
    assert base_of(value) == base


def saved(folder, texts, files=1, leftovers=()):
    """As datasets' save_to_disk leaves a dataset: Arrow streams, state.json, and caches of its own operations."""
    folder.mkdir(parents=True)
    parts = [texts[i::files] for i in range(files)]
    names = [f"data-{i:05}-of-{files:05}.arrow" for i in range(files)]
    for name, rows in (*zip(names, parts, strict=True), *((name, ["stale"]) for name in leftovers)):
        table = pa.table({"text": rows})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], "_split": None}))
    (folder / "dataset_info.json").write_text("{}")


def read(value):
    return [record["text"] for _, record in read_records(value)]


def test_a_saved_dataset_is_read_as_its_state_says_and_not_its_caches(tmp_path):
    saved(tmp_path / "d", ["a", "b", "c"], files=2, leftovers=["cache-0f1e.arrow", "cache-77_00000_of_00002.arrow"])
    assert read(str(tmp_path / "d")) == ["a", "c", "b"] and with_split(str(tmp_path / "d"), "train") == str(tmp_path / "d")


def test_saved_splits_lie_in_folders_of_their_own(tmp_path):
    for split, texts in (("train", ["a"]), ("valid", ["b"])):
        saved(tmp_path / "d" / split, texts, leftovers=["cache-1.arrow"])
    (tmp_path / "d/dataset_dict.json").write_text(json.dumps({"splits": ["train", "valid"]}))
    folder = str(tmp_path / "d")
    assert with_split(folder, "validation") == f"{folder}:validation"
    assert read(f"{folder}:train") == ["a"] and read(f"{folder}:validation") == ["b"] and read(f"{folder}/train") == ["a"]
    for value, says in ((folder, "holds the splits train, valid: say which"), (f"{folder}:test", "no split test")):
        with pytest.raises(DataError, match=says):
            read(value)


def test_a_saved_dataset_that_lacks_a_file_or_its_list_is_named(tmp_path):
    saved(tmp_path / "d", ["a", "b"], files=2)
    (tmp_path / "d/data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"d/state\.json names data-00001-of-00002\.arrow, which is not there"):
        read(str(tmp_path / "d"))
    (tmp_path / "d/state.json").write_text("[]")
    with pytest.raises(DataError, match=r"d/state\.json holds no _data_files"):
        read(str(tmp_path / "d"))


def test_what_datasets_itself_saves_is_read_whatever_caches_it_leaves(tmp_path):
    """`map` and `filter` of a saved dataset leave their results beside its files."""
    texts = [f"text {i}" for i in range(7)]
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(tmp_path / "d", num_shards=2)
    saved = datasets.load_from_disk(tmp_path / "d")
    saved.map(lambda row: {"text": f"not this: {row['text']}"})
    chosen = saved.filter(lambda row: row["text"] > "text 3")
    assert len(list((tmp_path / "d").glob("cache-*.arrow"))) == 2
    assert read(str(tmp_path / "d")) == texts
    chosen.save_to_disk(tmp_path / "chosen")
    assert read(str(tmp_path / "chosen")) == texts[4:]


def test_splits_that_datasets_itself_saves_are_found(tmp_path):
    splits = {"train": ["a", "b"], "validation": ["c"]}
    both = {name: datasets.Dataset.from_dict({"text": texts}) for name, texts in splits.items()}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "d")
    for name, texts in splits.items():
        assert read(with_split(str(tmp_path / "d"), name)) == texts
