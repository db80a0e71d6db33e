"""One line out of what torchrun prints and ranks leave. The texts have torchrun's form (torch 2.13), made here."""

import signal

import pytest

from wmtp.errors import ConfigError, LaunchError, PreemptedError
from wmtp.files import write_json
from wmtp.orchestration.causes import Remains, explain, first_death, read_errors

TIMEOUT = "[/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 8000ms for recv operation to complete"
CLOSED = "[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:41000"


def report(root, *others, ended=()):
    """torchrun's report of `(rank, exit code)`; rank r has pid 700 + r; `ended`: ranks that torchrun ended itself."""

    def entry(number, rank, code):
        name = f"  ({signal.Signals(-code).name})" if code < 0 else " "
        where = f"[{number}]:\n  time      : 2026-01-01_00:00:00\n  host      : localhost\n"
        what = f"  rank      : {rank} (local_rank: {rank})\n  exitcode  : {code} (pid: {700 + rank}){name}\n"
        return f"{where}{what}  error_file: <N/A>\n"

    said = "".join(
        f"W0101 api.py:1028] Sending process {700 + rank} closing signal SIGTERM\n"
        f"W0101 api.py:1047] Unable to shutdown process {700 + rank} via 15, forcefully exiting via 9\n"
        for rank in ended
    )
    first = (
        f"E0101 api.py:1002] failed (exitcode: {root[1]}) local_rank: {root[0]} (pid: {700 + root[0]}) of binary: python3.11\n"
    )
    failures = "".join(entry(1 + i, *other) for i, other in enumerate(others)) or "  <NO_OTHER_FAILURES>\n"
    head = f"{said}{first}ChildFailedError: \n====\nwmtp.stages FAILED\n----\n"
    return f"{head}Failures:\n{failures}----\nRoot Cause (first observed failure):\n{entry(0, *root)}====\n"


def error(rank, message, time=1.0, kind="RuntimeError", exit_code=1):
    return {"rank": rank, "type": kind, "message": message, "exit_code": exit_code, "time": time}


def said(stderr="", *errors, code=1, num_ranks=2, log="", states=None):
    failure = explain("train", Remains(list(errors), stderr, log, code, num_ranks, states or {}), "the log")
    assert type(failure) is LaunchError
    text = str(failure)
    assert text.startswith("train: ") and text.endswith(" (the log)") and "\n" not in text
    return text.removeprefix("train: ").removesuffix(" (the log)")


@pytest.mark.parametrize(
    ("text", "death"),
    [
        (report((1, -9)), (1, -9)),
        (report((0, 1), (1, -9)), (1, -9)),
        (report((1, -9), (0, 1)), (1, -9)),
        (report((1, -9), (0, -11)), (1, -9)),
        (report((0, -11), (1, -9)), (1, -9)),
        (report((0, -11), (1, -15)), (0, -11)),
        (report((0, 1), (1, -15)), (0, 1)),
        (report((0, 1), (1, -6)), (0, 1)),
        (report((1, -6)), (1, -6)),
        (report((12, 3)), (12, 3)),
        (report((0, 1), (1, -9), ended=[1]), (0, 1)),
        (report((0, 1), (2, -9), (1, -9), ended=[1]), (2, -9)),
    ],
)
def test_a_killed_rank_is_the_cause_of_the_others_errors_but_not_one_that_torchrun_killed(text, death):
    found = first_death(text)
    assert (found.rank, found.code) == death


def test_without_a_report_there_is_no_death():
    assert first_death("Traceback: no report") is None


def test_a_rank_that_hung_is_named_and_not_the_one_that_waited_for_it():
    """Rank 1 was stopped: rank 0 gives up, and torchrun kills rank 1 half a minute later."""
    stderr = report((0, 1), (1, -9), ended=[1])
    text = said(stderr, error(0, TIMEOUT), states={1: "stopped"})
    assert text == (
        f"rank 0 waited for the other ranks until a collective timed out, rank 1 made no progress (it was stopped) [{TIMEOUT}]"
    )
    assert "rank 2 made no progress, rank 3 made no progress [" in said(
        stderr, error(0, TIMEOUT), error(1, TIMEOUT), num_ranks=4
    )


def test_a_watchdogs_abort_is_a_timeout_and_no_kill():
    """NCCL's watchdog aborts the process, which leaves no error of its own."""
    line = (
        "[rank0]:[E1126 01:00:00 ProcessGroupNCCL.cpp:689] [Rank 0] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=7, OpType=ALLREDUCE, NumelIn=4, NumelOut=4, Timeout(ms)=600000) ran for 600021 milliseconds"
    )
    text = said(report((0, -6), (1, -15), ended=[1]), log=f"step 1\n{line}\n", code=1)
    assert text == f"rank 0 waited for the other ranks until a collective timed out, rank 1 made no progress [{line}]"


def test_ranks_that_all_timed_out_missed_each_other():
    assert "no rank was silent: did they take different ways?" in said(report((0, 1)), error(0, TIMEOUT), error(1, TIMEOUT))


def test_the_error_that_made_the_others_fail_comes_before_theirs():
    first, closed, late = error(1, "no such token", 2.0, "DataError"), error(0, CLOSED, 1.0), error(0, TIMEOUT, 1.0)
    assert said(report((0, 1), (1, 1)), closed, first) == "rank 1: DataError: no such token"
    assert said(report((0, 1), (1, 1)), late, first) == "rank 1: DataError: no such token"
    assert said(report((0, 1)), closed) == f"rank 0: RuntimeError: {CLOSED}"
    assert said(report((0, 1), (1, -9)), closed) == "rank 1 was killed by SIGKILL: out of memory?"
    assert said(report((1, -11), (0, 1)), closed) == "rank 1 was killed by SIGSEGV"


def notice(rank, step, time=1.0):
    return {**error(rank, f"preempted at step {step}", time, "PreemptedError", 75), "step": step}


@pytest.mark.parametrize("stderr", ["SignalException: Process 1 got signal: 15", report((1, 75), (0, 75)), report((0, 75))])
def test_ranks_that_had_notice_did_not_fail(stderr):
    failure = explain("train", Remains([notice(1, 7), notice(0, 7)], stderr, "", 1, 2, {}), "the log")
    assert isinstance(failure, PreemptedError) and (failure.step, failure.exit_code) == (7, 75)
    assert str(failure) == "train: preempted at step 7; the next run goes on from there"


@pytest.mark.parametrize("why", ["TIME LIMIT", "PREEMPTION", "JOB REQUEUE", "NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"])
@pytest.mark.parametrize("errors", [[], [error(0, CLOSED)], [error(0, TIMEOUT)], [error(0, CLOSED), notice(1, 7, time=2.0)]])
def test_ranks_of_a_job_that_slurm_took_back_did_not_fail_for_not_being_done_in_time(errors, why):
    slurm = f"slurmstepd-n1: error: *** STEP 4.0 ON n1 CANCELLED AT 2026-11-26T18:11:47 DUE TO {why} ***\n"
    for end in ("", report((1, -9)), report((0, 1), (1, -15))):
        failure = explain("train", Remains(errors, slurm + end, "", 1, 2, {}), "the log")
        assert isinstance(failure, PreemptedError) and failure.step == (7 if len(errors) == 2 else None)
    assert said(slurm, error(0, CLOSED), error(1, "loss is NaN", kind="NumericsError")) == "rank 1: NumericsError: loss is NaN"


def test_who_was_told_to_end_for_anothers_sake_had_no_notice():
    """torchrun ends the others with the signal that schedulers use."""
    late = notice(0, None, time=2.0)
    assert said(report((1, -9)), late) == "rank 1 was killed by SIGKILL: out of memory?"
    assert said(report((1, 1)), late, error(1, "no such token", kind="DataError")) == "rank 1: DataError: no such token"
    assert said(report((0, 1), ended=[1]), error(0, TIMEOUT), notice(1, None)).startswith("rank 0 waited for the other ranks")


def test_a_users_mistake_keeps_its_exit_code():
    failure = explain("sample", Remains([error(0, "bad key", kind="ConfigError", exit_code=2)], "", "", 2, 0, {}), "the log")
    assert isinstance(failure, ConfigError) and str(failure) == "sample: bad key (the log)"


def test_a_process_that_left_nothing_is_known_by_its_exit_code_or_its_last_words():
    assert said(code=-9, num_ranks=0) == "its process was killed by SIGKILL: out of memory?"
    assert said(code=3, num_ranks=0) == "its process ended with exit code 3"
    assert (
        said("Traceback\nModuleNotFoundError: no torch\n")
        == "its process failed before it could start: ModuleNotFoundError: no torch"
    )


def test_errors_are_read_the_first_one_first(tmp_path):
    for rank, time in ((0, 2.5), (1, 1.5)):
        write_json(tmp_path / f"rank-{rank}.json", error(rank, "x", time))
    assert [one["rank"] for one in read_errors(tmp_path)] == [1, 0]
