"""Which files of a repository are fetched."""

import pytest

from wmtp.errors import DataError
from wmtp.stages.download import data_paths, model_paths

MODEL = [".gitattributes", "README.md", "config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"]
CONTESTS = [
    "README.md",
    "data/test-00000-of-00001-9c49eeff30aacaa8.parquet",
    "data/train-00000-of-00002-e991a271dbfa9925.parquet",
    "data/train-00001-of-00002-e0b1df1b9e5e9b5b.parquet",
    "data/valid-00000-of-00001-5e672c5751f060d3.parquet",
]
CONFIGS = ["full/train-00000-of-00001.parquet", "full/test-00000-of-00001.parquet", "sanitized/train-00000-of-00001.parquet"]


def test_a_models_weights_are_fetched_once_in_the_better_format():
    both = [*MODEL, "model.safetensors", "pytorch_model.bin", "original/consolidated.00.pth"]
    assert model_paths(both) == ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
    shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"]
    assert model_paths([*MODEL, *shards])[-3:] == shards


@pytest.mark.parametrize(
    ("paths", "names", "found"),
    [
        (CONTESTS, ["train"], CONTESTS[2:4]),
        (CONTESTS, ["validation"], CONTESTS[4:]),
        (CONTESTS, ["valid"], CONTESTS[4:]),
        (CONFIGS, ["full", "train"], CONFIGS[:1]),
        (CONFIGS, ["full", "test"], CONFIGS[1:2]),
        (CONFIGS, ["test"], CONFIGS[1:2]),
    ],
)
def test_a_split_is_found_by_the_files_names(paths, names, found):
    assert data_paths(paths, names, "org/name") == found


@pytest.mark.parametrize(
    ("paths", "names", "said"),
    [
        (CONTESTS, ["dev2"], "holds no split dev2, but test, train, validation"),
        (CONFIGS, ["train"], "is in several configurations, say which: full, sanitized"),
        (CONFIGS, ["small", "train"], "no configuration 'small' among the folders"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(paths, names, said):
    with pytest.raises(DataError, match=said):
        data_paths(paths, names, "org/name")
