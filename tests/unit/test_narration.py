"""What `wmtp run` says: a run's records, as flow, tasks and Prefect make them, to the lines on a stream that is no terminal."""

import io
import logging
import re

import pytest

from flows.narration import Narrator
from tasks.telling import BEGINS, ENDS, KIND, LINE, STAGES, TOLD
from wmtp.orchestration.console import Console
from wmtp.progress import progress_line


class Told:
    """A narrator with a clock that only moves when it is told to."""

    def __init__(self, **how):
        self.stream, self.now = io.StringIO(), 1_000_000.0
        self.narrator = Narrator(Console(self.stream), **{"is_verbose": False, **how}, now=lambda: self.now)

    def record(self, text, kind=None, stage=None, level=logging.INFO, name="prefect.task_runs", **more):
        record = logging.LogRecord(name, level, __file__, 1, text, None, None)
        vars(record).update({KIND: kind} if kind else {}, **more)
        if stage:
            record.task_run_name = stage
        self.narrator.handle(record)

    @property
    def lines(self):
        """Without their clock."""
        found = self.stream.getvalue().splitlines()
        assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in found)
        return [line[9:] for line in found]

    def stage(self, name, *lines, seconds=40, state="done", reason="has not run yet"):
        """One from its beginning to its end, as `tasks.stage` tells it."""
        self.record(f"{name}: {reason}", BEGINS, name)
        for line in (f"Running stage '{name}':", *lines, "Updating lock file 'dvc.lock'"):
            self.record(line, LINE, name)
            self.now += seconds / (len(lines) + 2)
        self.record(state, ENDS, name)
        self.record(f"Finished in state Completed('ran: {reason}')", stage=name)


STAGES_OF_TOY = ["sample", "tune_reference@s0", "score_reference@s0", "train_critic@s0", "score_values@s0"] + [
    f"{stage}@{arm}-s0" for arm in ("baseline", "rho1", "verifiable") for stage in ("train_policy", "evaluate")
]


def steps(name, total=300, loss=0.5):
    """A progress line every two seconds, as the stages print them."""
    record = {"stage": name, "total": total, "loss": loss, "tokens_per_s": 1000.0, "eta_s": 3.0}
    return [progress_line({**record, "step": step}) for step in range(1, total + 1)]


def measures(name):
    return [f"{name} done: val/nll_head0 6.258, train/loss 6.163", *(f"  measure/{n}  {n}" for n in range(30))]


def toy():
    """All records of a run of the toy profile: 12 stages with what each says."""
    told = Told()
    told.record("Starting temporary server on http://127.0.0.1:8493", name="prefect")
    told.record("Beginning flow run 'toy: all arms' for flow 'wmtp'", name="prefect.flow_runs")
    told.record("profile toy, 12 stages for baseline-s0, rho1-s0", TOLD, **{STAGES: 12})
    for name in STAGES_OF_TOY:
        waits = "waiting for one of 1 slots, held by x"
        told.stage(name, *([] if name == "sample" else [waits]), *steps(name, 10), *measures(name), seconds=25)
    told.stage("report", "report reads 3 runs", "report wrote 7 files and 8 plots", *measures("report"))
    told.record("experiment swift-otter", TOLD)
    told.record("Finished in state Completed('stages: 12 ran, 0 restored, 0 up to date')", name="prefect.flow_runs")
    return told


def test_a_run_of_the_toy_profile_fits_on_a_screen_or_two():
    told = toy()
    assert len(told.lines) <= 50
    assert not [line for line in told.lines if "measure/" in line or "Task run" in line or "Finished in" in line]
    for name in (*STAGES_OF_TOY, "report"):
        assert [line.split(" (")[0] for line in told.lines if line.startswith(f"{name}: ")][:1] == [f"{name}: begins"]
        (end,) = [line for line in told.lines if line.startswith(f"{name}: done, ")]
        assert end.endswith(" s (val/nll_head0 6.258, train/loss 6.163)"), end


def test_verbose_is_all_of_it():
    said = []
    for verbose in (False, True):
        told = Told(is_verbose=verbose)
        told.stage("a@b", *steps("a@b", 10), *measures("a@b"))
        said.append(told.lines)
    quiet, all_of_it = said
    assert {*quiet} < {*all_of_it} and "a@b:   measure/29  29" in all_of_it
    assert len([line for line in all_of_it if " step " in line]) == 10
    assert "prefect.task_runs: Finished in state Completed('ran: has not run yet')" in all_of_it


def test_progress_is_a_line_now_and_then_and_less_often_the_longer_it_takes():
    told = Told()
    name = "train_policy@rho1-s0"
    told.stage(name, *steps(name, 1800), seconds=3600)
    shown = [line for line in told.lines if " step " in line]
    assert 20 < len(shown) < 45 and all(line.startswith(f"{name} step ") for line in shown)


def test_a_count_that_comes_again_and_again_is_told_as_progress_is():
    told = Told()
    told.stage("score@s0", *(f"score@s0 train: {n}/1,000 examples scored" for n in range(1, 1001)), seconds=100)
    told.stage("train@s0", *(f"weights for the report: {n}/512 examples looked at" for n in range(512)), seconds=100)
    assert 2 <= len([line for line in told.lines if "scored" in line]) <= 4
    assert 2 <= len([line for line in told.lines if "looked at" in line]) <= 4


@pytest.mark.parametrize(
    "line",
    [
        "resumed from step 12",
        "waiting for one of 1 slots, held by train_policy@rho1-s0 of /here",
        "train: preempted at step 3; the next run goes on from there",
        "loss spike: 9 at step 4, 7 deviations above the flushes before",
        "warning: metrics cannot be kept in /x: no space",
        "sample: left out row 7 of x.jsonl: no prompt",
        "checkpoint step-3 is damaged (sizes): going on from step-2",
        "a line that nobody has thought of",
    ],
)
def test_whatever_else_a_stage_says_is_told_as_it_is(line):
    told = Told()
    told.stage("train", line)
    assert [told for told in told.lines if told in (line, f"train: {line}")]


def test_warnings_of_ours_and_of_others_are_told_but_not_what_prefect_says_of_every_run():
    told = Told()
    told.record("was killed by SIGKILL; trying once more from the last checkpoint", LINE, "train@a", logging.WARNING)
    told.record("the server is slow", level=logging.WARNING, name="prefect.client")
    told.record("Finished in state Failed('train: a reason')", level=logging.ERROR)
    for number in ("a termination", "an interrupt"):
        told.record(f"Crash detected! Execution was aborted by {number} signal.", level=logging.ERROR, name="prefect.flow_runs")
    told.record("train: a reason", ENDS, "train", logging.INFO)
    assert told.lines == [
        "train@a: was killed by SIGKILL; trying once more from the last checkpoint",
        "prefect.client: the server is slow",
        "train: a reason",
    ]


def test_a_stages_time_is_that_of_its_work_and_the_wait_before_is_told_beside_it():
    told = Told()
    told.record("evaluate@a: has not run yet", BEGINS, "evaluate@a")
    for holder, seconds in (("x", 100), ("y", 130)):
        told.record(f"waiting for one of 1 slots, held by {holder}", LINE, "evaluate@a")
        told.now += seconds
    told.record("Running on 1 process", LINE, "evaluate@a")
    told.now += 61
    told.record("done", ENDS, "evaluate@a")
    assert told.lines[-1] == "evaluate@a: done, 61 s after 230 s of waiting"
    told.record("evaluate@b: has not run yet", BEGINS, "evaluate@b")
    told.record("waiting for one of 1 slots, held by x", LINE, "evaluate@b")
    told.now += 20
    told.record("cancelled", ENDS, "evaluate@b")
    assert told.lines[-1] == "evaluate@b: cancelled, 0 s after 20 s of waiting"
