"""meta.json names the files that were read, with what is in them."""

import hashlib

import yaml

from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.examples.meta import source_files, write_meta, write_readme
from wmtp.tokens.tables import read_meta
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
    write_meta(tmp_path / "out", data, tmp_path, tokenizer, {"a/b/read": 1}, {"train/rows": 2.0}, packages={"numpy": "2"})
    meta = read_meta(tmp_path / "out")
    assert ["train.jsonl", 11, hashlib.sha256(b"train.jsonl").hexdigest()] in meta["sources"] and len(meta["sources"]) == 3
    assert meta["max_length"] == 192 and meta["counts"] == {"a/b/read": 1} and meta["sandbox_packages"] == {"numpy": "2"}


def test_the_readme_names_the_tables_as_datasets_reads_it(tmp_path):
    write_readme(tmp_path, ["train", "validation"])
    configs = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])["configs"]
    assert configs == [
        {"config_name": "train", "data_files": "train.arrow", "default": True},
        {"config_name": "validation", "data_files": "validation.arrow"},
    ]
