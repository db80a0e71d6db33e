"""Ranks of which one is told to make room: all leave after the same step, and go on from it with the same bits."""

import shutil
import signal

import pytest

from tests.distributed.trainings import RUN, contents, make_config, make_workspace, run_stages

STAGE = f"train_policy@{RUN}"
LONGER = {"steps": 10, "eval_interval": 10}
EVERY_FOURTH = {"log_interval": 4, "checkpoint_interval": 4}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = make_workspace(tmp_path_factory.mktemp("prepared"))
    run_stages(root, make_config(root), "tune_reference@s0", "score_reference@s0", tmp_path=root.parent)
    return root


@pytest.fixture(scope="module")
def expected(prepared, tmp_path_factory):
    """What a run that nobody disturbs writes."""
    return trained(prepared, tmp_path_factory.mktemp("expected") / "whole")


def trained(prepared, place, *, signals=None, ranks=2):
    config = make_config(prepared, train=LONGER, runtime=EVERY_FOURTH)
    if not place.exists():
        shutil.copytree(prepared, place, ignore=shutil.ignore_patterns("resume"))
    run_stages(place, config, STAGE, signals=signals, ranks=ranks, tmp_path=place)
    return contents(place, STAGE)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_has_notice_and_all_go_on_with_the_same_bits_from_between_two_flushes(
    prepared, expected, tmp_path, capfd, number, rank
):
    place = tmp_path / "cut"
    with pytest.raises(AssertionError, match="PreemptedError: preempted at step 6"):
        trained(prepared, place, signals={rank: (4, number)})
    resume = place / "resume" / STAGE
    assert sorted(path.name for path in resume.glob("*")) == ["step-00000004", "step-00000006"]
    found = trained(prepared, place)
    assert "resumed from step 6" in capfd.readouterr().out
    assert [key for key in expected if found.get(key) != expected[key]] == []


def test_what_was_measured_since_the_last_flush_is_counted_on_fewer_ranks_too(prepared, expected, tmp_path):
    place = tmp_path / "cut"
    with pytest.raises(AssertionError, match="preempted at step 6"):
        trained(prepared, place, signals={0: (4, signal.SIGUSR1), 1: (4, signal.SIGUSR1)})
    found, history = trained(prepared, place, ranks=1), f"artifacts/training/{RUN}/history.jsonl"
    shares = [next(row["data/correct_frac"] for row in one[history] if row["step"] == 8) for one in (expected, found)]
    assert shares[0] == pytest.approx(shares[1], rel=1e-12)  # what neither dropout nor padding decides


def test_notice_during_the_last_step_lets_the_run_end(prepared, expected, tmp_path):
    found = trained(prepared, tmp_path / "cut", signals={1: (10, signal.SIGUSR1)})
    assert [key for key in expected if found.get(key) != expected[key]] == []
