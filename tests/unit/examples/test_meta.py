"""meta.json names the files that were read, with what is in them; Hugging Face's datasets reads the tables."""

import hashlib
from pathlib import Path

import datasets

from tests.unit.examples.folders import NOISY, RIGHT, write_folder
from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.examples.meta import source_files, write_for_datasets, write_meta
from wmtp.tokens.tables import read_meta, read_table
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer


def test_files_and_all_that_folders_hold_are_sources_and_paths_that_are_not_given_none(tmp_path):
    for name in ("train.jsonl", "clean/a.jsonl", "clean/b/c.jsonl", "other.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    plain = {"noise": NoiseConfig(frac=0.0), "pairwise": False, "mutants_per_solution": 0}
    data = DataConfig(source="text", train_path="train.jsonl", reference_path="clean", **plain)
    names = [str(path.relative_to(tmp_path)) for path in source_files(data, tmp_path)]
    assert names == ["clean/a.jsonl", "clean/b/c.jsonl", "train.jsonl"] and source_files(DataConfig(), tmp_path) == []
    tokenizer = train_tokenizer(["one two"], 270)
    save_tokenizer(tokenizer, tmp_path / "out/tokenizer", 64)
    found = {"largest_token_id": 12, "packages": {"numpy": "2"}}
    write_meta(tmp_path / "out", data, tmp_path, tokenizer, {"a/b/read": 1}, {"train/rows": 2.0}, **found)
    meta = read_meta(tmp_path / "out")
    assert (meta["largest_token_id"], meta["vocab_size"]) == (12, tokenizer.vocab_size)
    assert ["train.jsonl", 11, hashlib.sha256(b"train.jsonl").hexdigest()] in meta["sources"] and len(meta["sources"]) == 3
    assert meta["max_length"] == 192 and meta["counts"] == {"a/b/read": 1} and meta["sandbox_packages"] == {"numpy": "2"}


def test_datasets_reads_the_tables_either_way(tmp_path):
    """Every column of every row, by the library itself."""
    folder, names = write_folder(tmp_path / "data"), ("train", "reference", "validation")
    write_for_datasets(folder, names)
    saved = datasets.load_from_disk(str(folder))
    assert sorted(saved) == sorted(names)
    for name in names:
        expected = read_table(folder / f"{name}.arrow").to_pylist()
        loaded = datasets.load_dataset(str(folder), name, cache_dir=str(tmp_path / "cache"), split="train")
        assert saved[name].to_list() == loaded.to_list() == expected
    assert (
        datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), split="train").num_rows == saved["train"].num_rows
    )
    assert [Path(one["filename"]).resolve() for one in saved["train"].cache_files] == [folder / "train.arrow"], "no copy"


def test_what_datasets_keeps_of_other_tables_is_not_taken_for_these(tmp_path):
    folders = [write_folder(tmp_path / name, rows) for name, rows in (("a", (RIGHT, NOISY)), ("b", (NOISY, RIGHT)))]
    for folder in folders:
        write_for_datasets(folder, ["train"])
    first, other = (
        datasets.load_from_disk(str(folder / "train")).map(lambda row: {"n": row["prompt_len"]}) for folder in folders
    )
    assert first._fingerprint != other._fingerprint
