"""What a folder of token tables says of itself: meta.json, and what Hugging Face's datasets reads it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wmtp.config.data import DataConfig, benchmark_path
from wmtp.examples.card import hashes
from wmtp.examples.survey import resolve
from wmtp.files import write_json, write_text
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.tokenizer import folder_sha256


def write_meta(
    out: Path,
    data: DataConfig,
    root: Path,
    tokenizer: TextTokenizer,
    counts: Mapping[str, int],
    statistics: Mapping[str, float],
    *,
    largest_token_id: int,
    packages: Mapping[str, str],
) -> None:
    """`out/meta.json`.

    Args:
        root: the workspace; counts: of the ledger; largest_token_id: in any row; packages: that programs could import, with
            their versions.
    """
    meta = {
        "vocab_size": tokenizer.vocab_size,
        "largest_token_id": largest_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "max_length": data.max_length,
        "is_ordered": data.curriculum,
        "tokenizer_sha256": folder_sha256(out / "tokenizer"),
        "counts": dict(counts),
        "statistics": dict(statistics),
        "sources": hashes(root, source_files(data, root)),
        "sandbox_packages": dict(packages),
    }
    write_json(out / "meta.json", meta)


def write_for_datasets(out: Path, tables: Sequence[str]) -> None:
    """That `datasets.load_dataset(out, TABLE)` and `load_from_disk(out)` find the tables, where they are, of which the first is
    the default: `out/README.md`; dataset_dict.json, and in a folder for every table what `save_to_disk` would say of it.

    Source: datasets/load.py and arrow_dataset.py, load_from_disk.
    """
    state: dict[str, Any] = {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    for name, (_, _, digest) in zip(tables, hashes(out, [out / f"{name}.arrow" for name in tables]), strict=True):
        (out / name).mkdir(exist_ok=True)
        own = {"_data_files": [{"filename": f"../{name}.arrow"}], "_fingerprint": digest[:16], "_split": name}
        write_json(out / name / "state.json", state | own)
        write_json(out / name / "dataset_info.json", {})
    write_json(out / "dataset_dict.json", {"splits": list(tables)})
    lines = ["---", "configs:"]
    for name in tables:
        lines += [f"- config_name: {name}", f"  data_files: {name}.arrow", *(["  default: true"] if name == tables[0] else [])]
    text = "Token tables of wmtp. meta.json says what they hold; `wmtp data` and artifacts/card show them."
    write_text(out / "README.md", "\n".join([*lines, "---", "", text, ""]))


def source_files(data: DataConfig, root: Path) -> list[Path]:
    """What is read of the disk: the files, and all that the folders hold."""
    paths = (data.train_path, data.validation_path, data.reference_path, data.test_path)
    named = [*map(benchmark_path, data.benchmarks), *(path for path in paths if path is not None)]
    places = [] if data.is_generated else [Path(resolve(path, root)) for path in named]
    return sorted({file for place in places for file in (place, *place.rglob("*")) if file.is_file()})
