"""What a killed stage goes on from is there until DVC has recorded its result, in a real DVC repository."""

import os

import pytest

from tests.unit.orchestration.conftest import PARAMS, dvc
from wmtp.orchestration.pipeline import read_spec, recorded
from wmtp.orchestration.resume import KEPT_FOLDERS, finish, folder_of, forget_recorded, prepare


def worked(root, name):
    """A run of the stage that has left something to go on from and has come to its end."""
    folder = prepare(root, read_spec(root, name))
    folder.mkdir(exist_ok=True)
    (folder / "step-1").write_text("half of the work")
    finish(folder)
    return folder


def test_it_stays_while_dvc_has_not_recorded_the_result(made):
    (made / "params.yaml").write_text(PARAMS.replace("lr: 1", "lr: 5"))
    folder = worked(made, "train@a")  # and then a kill: dvc.lock still tells of lr: 1
    forget_recorded(made)
    assert prepare(made, read_spec(made, "train@a")) == folder
    assert [path.name for path in folder.iterdir()] == ["step-1"], "the next run goes on from it"
    finish(folder)
    dvc(made, "repro", "train@a")
    forget_recorded(made)
    assert not folder.exists()


def test_what_is_under_way_is_not_removed_although_dvc_records_such_a_result(made):
    """As of a forced run, or one whose outputs were lost: dvc.lock has had the same inputs for long."""
    folder = prepare(made, read_spec(made, "train@a"))
    folder.mkdir()
    (folder / "step-1").write_text("half of the work")
    forget_recorded(made)
    assert prepare(made, read_spec(made, "train@a")) == folder and (folder / "step-1").exists()


def test_a_forced_run_does_not_go_on_from_a_finished_one(made):
    folder = worked(made, "train@a")
    assert prepare(made, read_spec(made, "train@a")) == folder and not folder.exists()


def test_any_stages_start_clears_what_the_others_have_left_behind(made):
    left = [worked(made, f"train@{run}") for run in "ab"]
    prepare(made, read_spec(made, "report"))
    assert not any(folder.exists() for folder in left)


def test_a_stage_that_leaves_nothing_is_not_given_a_folder(made):
    folder = prepare(made, read_spec(made, "report"))
    finish(folder)
    assert not folder.exists() and list(folder.parent.iterdir()) == []


def test_the_newest_of_other_parameters_stay(made):
    for number in range(KEPT_FOLDERS + 2):
        (made / "params.yaml").write_text(PARAMS.replace("lr: 1", f"lr: {10 + number}"))
        folder = prepare(made, read_spec(made, "train@a"))
        folder.mkdir()
        os.utime(folder, (number, number))
    left = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)
    assert [int(path.stat().st_mtime) for path in left] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["make", "train@a", "report"])
def test_what_dvc_records_is_a_specs_own_fingerprint(made, name):
    spec = read_spec(made, name)
    assert recorded(made)[name] == spec.fingerprint
    assert folder_of(made, spec).name == f"{name}-{spec.fingerprint[:16]}"
