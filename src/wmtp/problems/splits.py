"""Which files of a folder are of which split, told from their names as the Hugging Face hub's datasets have them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, TypeVar

from wmtp.errors import DataError

FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst", ".parquet", ".arrow")
"""Of files with records, by the end of their names."""

SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "testing")}
"""Split -> the words that stand for it. Source: datasets/data_files.py, SPLIT_KEYWORDS."""

_STATE, _SPLITS = "state.json", "dataset_dict.json"
"""What `datasets.save_to_disk` writes beside a dataset's files, and beside the folders of several splits."""

_Path = TypeVar("_Path", bound=PurePath)
_WORDS = {word: split for split, words in SPLITS.items() for word in words}
_BETWEEN = re.compile(r"[-._ 0-9]+")


def path_format(path: PurePath | str) -> str:
    """`.jsonl` of `a.b.jsonl`, `.jsonl.gz` of `a.b.jsonl.gz`."""
    path = PurePath(path)
    return "".join(path.suffixes[-2:]) if path.suffix in (".gz", ".zst") else path.suffix


def split_named(word: str) -> str:
    """`validation` of `valid`; a word of a dataset's own stays as it is."""
    return _WORDS.get(word, word)


def split_of(path: PurePath) -> str | None:
    """The split that a file's name tells: `train` of `train-00000-of-00004.parquet`, None of `data.jsonl`.

    A split of a dataset's own name is told where shards are numbered, as the hub numbers them: `sanitized-00000-of-00001`.
    """
    name = path.name.removesuffix(path_format(path))
    words = [word for word in _BETWEEN.split(name) if word]
    found = next((_WORDS[word] for word in words if word in _WORDS), None)
    shard = re.fullmatch(r"(.+?)-\d{5}-of-\d{5}(-[0-9a-f]+)?", name)
    return found or (shard[1] if shard else None)


def of_split(paths: Sequence[_Path], split: str | None, where: str) -> list[_Path]:
    """The files of a split, in the order of their names. Files of a folder without names of splits are of any.

    Args:
        split: the word for it; None for the only one there is.
        where: how errors name the folder.
    Raises:
        DataError: there are none, several and none is asked for, or some whose names do not tell.
    """
    by_split: dict[str | None, list[_Path]] = {}
    for path in sorted(paths):
        by_split.setdefault(split_of(path), []).append(path)
    known = sorted(name for name in by_split if name is not None)
    if not known:
        return by_split.get(None, [])
    if None in by_split:
        name = by_split[None][0].name
        raise DataError(f"{where} holds {name} beside files of the splits {', '.join(known)}: name the files by a pattern (*)")
    if split is None and len(known) > 1:
        raise DataError(f"{where} holds the splits {', '.join(known)}: say which, {where}:{known[0]}")
    wanted = known[0] if split is None else split_named(split)
    if wanted not in by_split:
        raise DataError(f"{where} holds no split {split}, but {', '.join(known)}")
    return by_split[wanted]


def base_of(value: str) -> str:
    """The file or folder that a value stands in, told by its form: `data` of `data:valid` and of `data/train-*.parquet`."""
    folder = _divided(value)[0]
    parts = PurePath(folder).parts
    fixed = next((i for i, part in enumerate(parts) if _is_pattern(part)), len(parts))
    return str(PurePath(*parts[:fixed])) if fixed < len(parts) else folder


def files_of(value: str) -> list[Path]:
    """The files that a value names: a file, a folder (also one whose files lie in folders of it), `FOLDER:SPLIT`, or a pattern.

    Returns:
        In order; none where there is no such path, so that it may be something else.
    Raises:
        DataError: a folder or a pattern without any, a format that cannot be read, or what `of_split` refuses.
    """
    path, split = (Path(value), None) if Path(value).exists() else (Path(_divided(value)[0]), _divided(value)[1])
    base = Path(base_of(value))
    if _is_pattern(value) and not path.exists() and base.is_dir():
        found = sorted(one for one in base.glob(str(PurePath(value).relative_to(base))) if one.is_file())
        if not found:
            raise DataError(f"{value}: no file has such a name")
    elif path.is_dir():
        saved = _saved(path, split)
        return of_split(_in_folder(path), split, str(path)) if saved is None else saved
    else:
        found = [path] if path.is_file() and split is None else []
    for one in found:
        if path_format(one) not in FORMATS:
            raise DataError(f"{one}: unknown format {path_format(one)!r}, use one of {', '.join(FORMATS)}")
    return found


def with_split(value: str, split: str) -> str:
    """A folder whose files are of splits, with the one that is meant where none is named."""
    folder = Path(value)
    if not folder.is_dir() or (folder / _STATE).exists():
        return value
    is_divided = (folder / _SPLITS).exists() or any(split_of(path) is not None for path in _in_folder(folder))
    return f"{value}:{split}" if is_divided else value


def _saved(folder: Path, split: str | None) -> list[Path] | None:
    """The files of what `datasets.save_to_disk` wrote, as its own state.json names them, whatever caches lie beside them; None
    for another folder. Of several splits, each in a folder of its own, the one that is meant.

    Source: datasets/arrow_dataset.py and dataset_dict.py, save_to_disk and load_from_disk.
    """
    if (folder / _SPLITS).exists():
        names = _described(folder / _SPLITS, "splits")
        wanted = (
            names[:1]
            if split is None and len(names) == 1
            else [n for n in names if split and split_named(n) == split_named(split)]
        )
        if not wanted:
            asked = "say which" if split is None else f"no split {split}"
            raise DataError(f"{folder} holds the splits {', '.join(names)}: {asked}")
        return _saved(folder / wanted[0], None)
    if not (folder / _STATE).exists():
        return None
    files = [folder / str(each["filename"]) for each in _described(folder / _STATE, "_data_files")]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise DataError(f"{folder / _STATE} names {missing[0].name if missing else 'no file'}, which is not there")
    return files


def _described(path: Path, key: str) -> list[Any]:
    """A list of what datasets says of a folder."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} holds no {key}: it is not what datasets' save_to_disk writes") from None
    return list(found)


def _in_folder(folder: Path) -> list[Path]:
    """Its files with records, or those in folders of it. A .json beside tables describes them."""
    for paths in (folder.iterdir(), folder.rglob("*")):
        readable = [path for path in paths if path_format(path) in FORMATS and not path.name.startswith(".") and path.is_file()]
        tables = [path for path in readable if not path_format(path).startswith(".json") or ".jsonl" in path_format(path)]
        if readable:
            return sorted(tables or readable)
    raise DataError(f"{folder} holds no {', '.join(FORMATS)} file")


def _divided(value: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(.+):([A-Za-z][\w-]*)", value)
    return (match[1], match[2]) if match else (value, None)


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")
