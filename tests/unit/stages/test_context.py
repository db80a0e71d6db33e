"""Where a stage reads and writes, by the paths in dvc.yaml."""

from pathlib import Path

import pytest

from wmtp.config import LaunchConfig
from wmtp.stages.context import StageContext
from wmtp.tracking import NullTracker


def context(name, rank=0):
    outputs = {"artifacts/data": Path("/w/artifacts/.data.tmp-1")}
    return StageContext(name, Path("/w"), outputs, Path("/w/resume"), "f", LaunchConfig(), NullTracker(), rank=rank)


def test_a_stages_name_holds_its_run():
    assert (context("train_policy@rho1-s0").stage, context("train_policy@rho1-s0").run) == ("train_policy", "rho1-s0")
    assert (context("sample").stage, context("sample").run) == ("sample", "")


def test_inputs_are_in_the_workspace_and_outputs_where_the_launcher_says():
    assert context("sample").input("artifacts/reference") == Path("/w/artifacts/reference")
    assert context("sample").out("artifacts/data") == Path("/w/artifacts/.data.tmp-1")
    with pytest.raises(KeyError):
        context("sample").out("artifacts/reference")


def test_rank_0_is_the_main_one():
    assert context("sample").is_main and not context("sample", rank=1).is_main
