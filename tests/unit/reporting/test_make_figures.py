"""The pipeline's picture follows dvc.yaml."""

from pathlib import Path
from typing import Any

import pytest

from docs.make_figures import draw_dag, find_edges, place, read_stages, reduce_edges

PARAMS: dict[str, Any] = {
    "runs": {
        "baseline-s0": {"arm": "baseline", "deps": ["src/b.py", "artifacts/data"]},
        "rho1-s0": {"arm": "rho1", "deps": ["artifacts/scores/reference/s0", "src/c.py"]},
    },
    "columns": {"reference": {"s0": {"seed": 0}}, "base": {}},
}
PIPELINE: dict[str, Any] = {
    "stages": {
        "sample": {"deps": ["src/a.py"], "outs": ["artifacts/data"]},
        "score": {
            "foreach": "${columns.reference}",
            "do": {"deps": ["artifacts/data/train.arrow"], "outs": [{"artifacts/scores/reference/${key}": {"cache": True}}]},
        },
        "score_base": {"foreach": "${columns.base}", "do": {"outs": ["artifacts/scores/base/${key}"]}},
        "train": {
            "foreach": "${runs}",
            "do": {
                "deps": ["artifacts/data", "${item.deps[0]}", "${item.deps[1]}"],
                "outs": ["artifacts/policy/${key}", "artifacts/training/${key}", "artifacts/provenance/train/${key}"],
            },
        },
        "evaluate": {
            "foreach": "${runs}",
            "do": {"deps": ["artifacts/policy/${key}"], "outs": ["artifacts/evaluation/${key}"]},
        },
        "report": {
            "deps": ["artifacts/evaluation", "artifacts/training", "artifacts/data/meta.json"],
            "outs": ["artifacts/report"],
        },
    }
}


def test_edges_and_the_share_of_runs_that_need_them():
    edges = find_edges(read_stages(PIPELINE, PARAMS))
    assert edges == {
        ("sample", "score"): 1,
        ("sample", "train"): 1,
        ("score", "train"): 0.5,
        ("train", "evaluate"): 1,
        ("evaluate", "report"): 1,
        ("train", "report"): 1,
        ("sample", "report"): 1,
    }


def test_edges_that_say_nothing_new_are_left_out():
    stages = read_stages(PIPELINE, PARAMS)
    kept = reduce_edges(stages, find_edges(stages))
    assert set(kept) == {
        ("sample", "score"),
        ("sample", "train"),
        ("score", "train"),
        ("train", "evaluate"),
        ("evaluate", "report"),
    }


def test_what_only_some_runs_need_is_off_the_main_row():
    stages = read_stages(PIPELINE, PARAMS)
    assert place(stages, find_edges(stages)) == {
        "sample": (0, 0),
        "score": (1, 1),
        "train": (2, 0),
        "evaluate": (3, 0),
        "report": (4, 0),
    }


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_picture_repeats_itself(tmp_path: Path, suffix: str):
    stages = read_stages(PIPELINE, PARAMS)
    draw_dag(stages, tmp_path / "a"), draw_dag(stages, tmp_path / "b")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".svg":
        assert all(name in (tmp_path / "a.svg").read_text() for name in stages)
