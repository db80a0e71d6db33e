"""What a folder of token tables says of itself: meta.json, and README.md for Hugging Face's datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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
    packages: Mapping[str, str],
) -> None:
    """`out/meta.json`.

    Args:
        root: the workspace; counts: of the ledger; packages: that programs could import, with their versions.
    """
    meta = {
        "vocab_size": tokenizer.vocab_size,
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


def write_readme(out: Path, tables: Sequence[str]) -> None:
    """`out/README.md`, by which `datasets.load_dataset(FOLDER, TABLE)` finds the tables; the first is the default."""
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
