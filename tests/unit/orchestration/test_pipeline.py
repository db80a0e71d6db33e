"""What is read out of a real dvc.yaml, and DVC's own judgement in words."""

import os
import shutil

import pytest

from tests.unit.orchestration.conftest import PARAMS, dvc
from wmtp.errors import ConfigError
from wmtp.orchestration.pipeline import find_root, judge, read_graph, read_spec


def test_the_workspace_is_found_from_below_and_its_absence_is_said(pipeline, tmp_path_factory):
    assert find_root(pipeline / "configs") == pipeline
    with pytest.raises(ConfigError, match="is not inside a wmtp workspace"):
        find_root(tmp_path_factory.mktemp("elsewhere"))


def test_a_specs_fingerprint_follows_its_inputs_and_its_parameters_and_nothing_else(made):
    before = read_spec(made, "train@a")
    assert (before.deps, before.params, before.outs) == (("artifacts/data",), ("runs.a",), ("artifacts/policy/a",))
    assert before.is_distributed and not read_spec(made, "make").is_distributed
    (made / "params.yaml").write_text(PARAMS.replace("lr: 2", "lr: 3").replace("n: 1", "n: 9"))
    assert read_spec(made, "train@a").fingerprint == before.fingerprint
    (made / "params.yaml").write_text(PARAMS.replace("lr: 1", "lr: 3"))
    after = read_spec(made, "train@a")
    assert after.fingerprint != before.fingerprint and before.changed(after) == ["params:runs.a"]
    (made / "params.yaml").write_text(PARAMS)
    (made / "artifacts/data/y").touch()
    assert before.changed(read_spec(made, "train@a")) == ["artifacts/data"]


def test_a_spec_that_cannot_be_read_is_refused_in_one_line(pipeline):
    with pytest.raises(ConfigError, match="train@a needs artifacts/data, which does not exist"):
        read_spec(pipeline, "train@a")
    with pytest.raises(ConfigError, match=r"unknown stage 'mke'.*make"):
        read_spec(pipeline, "mke")
    (pipeline / "params.yaml").write_text(PARAMS.replace("size", "sizes"))
    with pytest.raises(ConfigError, match=r"params\.yaml lacks size"):
        read_spec(pipeline, "make")
    (pipeline / "dvc.yaml").write_text("stages: {make: [")
    with pytest.raises(ConfigError, match="DVC cannot read the pipeline"):
        read_spec(pipeline, "make")


def test_the_graph_holds_what_is_needed_each_after_its_needs(pipeline):
    whole = read_graph(pipeline, ["report"])
    assert whole == {
        "make": [],
        "train@a": ["make"],
        "train@b": ["make"],
        "report": ["train@a", "train@b"],
    }
    assert (next(iter(whole)), list(whole)[-1]) == ("make", "report")
    assert list(read_graph(pipeline, ["train@b"])) == ["make", "train@b"]
    assert set(read_graph(pipeline, ["train"])) == {"make", "train@a", "train@b"}


def relative(path):
    """As DVC names it: from the current folder, which is one within the pipeline's."""
    return os.path.join("..", path)


def test_a_judgement_says_what_changed(made):
    assert judge(made, "make").is_fresh
    (made / "params.yaml").write_text(PARAMS.replace("m: 2", "m: 3"))
    assert judge(made, "make").reason == "size.m changed"
    (made / "params.yaml").write_text(PARAMS)
    (made / "source.txt").write_text("2\n")
    assert judge(made, "make").reason == f"{relative('source.txt')} changed"
    (made / "source.txt").write_text("1\n")
    shutil.rmtree(made / "artifacts/data")
    assert judge(made, "make").reason == f"{relative('artifacts/data')} is missing"


def test_a_stage_that_has_not_run_is_said_to_have_not(pipeline):
    assert judge(pipeline, "make", look_up_cache=True).reason == "has not run yet"


def test_whether_the_cache_holds_the_result_is_looked_up_when_asked_for(made):
    (made / "source.txt").write_text("2\n")
    assert not judge(made, "make", look_up_cache=True).can_restore
    dvc(made, "repro", "make")
    (made / "source.txt").write_text("1\n")
    judgement = judge(made, "make", look_up_cache=True)
    assert not judgement.is_fresh and judgement.can_restore and not judge(made, "make").can_restore
    assert (made / "artifacts/data/x").read_text() == "2\n"
