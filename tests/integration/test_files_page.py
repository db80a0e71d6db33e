"""docs/files.md against what a whole run has written."""

import csv
import gzip
import json
import re

import pytest

from tests.workspaces import PROJECT

PAGE = (PROJECT / "docs/files.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))
RUN = r"([a-z0-9_]+-)?s\d+"


def general(name):
    """A name with what differs from run to run, head to head and k to k taken out."""
    return re.sub(r"^pass@\d+", "pass@K", re.sub(r"head\d+", "headH", name))


def keys(path):
    """The outermost keys of a file's records."""
    if path.suffix == ".csv":
        return set(next(csv.reader(path.open())))
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    records = [json.loads(line) for line in text.splitlines()] if ".jsonl" in path.name else json.loads(text)
    return {key for record in (records if isinstance(records, list) else [records]) for key in record}


def test_every_file_is_on_the_page(workspace):
    root = workspace.root / "artifacts"
    known = {part for name in NAMED for part in name.replace("TABLE", "train").split("/")} | {"critic.arrow"}
    found = {path.name for path in root.rglob("*") if path.is_file() and path.name != ".gitignore"}
    assert sorted(found - known) == []
    folders = {path.name for path in root.rglob("*") if path.is_dir() and not re.fullmatch(RUN, path.name)}
    stages = {path.name for path in (root / "provenance").iterdir()}
    assert sorted(folders - known - stages - {"provenance"}) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "training/*/history.jsonl",
        "training/*/summary.json",
        "training/*/examples.json",
        "tuning/*/*/history.jsonl",
        "tuning/*/*/summary.json",
        "evaluation/*/metrics.json",
        "evaluation/*/per_task.csv",
        "evaluation/*/samples.jsonl.gz",
        "critic/*/critic.json",
        "scores/value/*/metrics.json",
    ],
)
def test_every_field_is_on_the_page(workspace, pattern):
    paths = sorted((workspace.root / "artifacts").glob(pattern))
    assert paths
    fields = {general(key) for path in paths for key in keys(path)}
    assert (
        sorted(
            field for field in fields if field not in NAMED and field.removesuffix("_low").removesuffix("_high") not in NAMED
        )
        == []
    )
