"""Kept verdicts: nothing runs twice, anything that matters makes it run again, a kill loses what was running."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from wmtp.sandbox.pool import run_tests
from wmtp.sandbox.store import VerdictStore, key_of
from wmtp.types import AssertTest, IOTest, Limits, Program, Verdict

RIGHT = Program("print(int(input()) ** 2)", (IOTest("3\n", "9\n"), IOTest("2\n", "4\n")), name="square")
WRONG = replace(RIGHT, source="print(int(input()) * 2)")


class Sandbox:
    """The real one, and how many programs it was given."""

    def __init__(self):
        self.programs = []

    def __call__(self, programs, on_verdict):
        self.programs += programs
        return run_tests(programs, limits=Limits(), num_workers=2, on_verdict=on_verdict)


def outcomes(verdicts):
    return [(verdict.status, verdict.num_tests, verdict.num_passed) for verdict in verdicts]


def test_what_has_run_is_known_to_this_store_and_to_the_next(tmp_path):
    first, second = Sandbox(), Sandbox()
    store = VerdictStore(tmp_path)
    assert store.unknown([RIGHT, WRONG, RIGHT]) == 2
    expected = outcomes(run_tests([RIGHT, WRONG, RIGHT], limits=Limits(), num_workers=1))
    assert outcomes(store.run([RIGHT, WRONG, RIGHT], first)) == expected
    assert first.programs == [RIGHT, WRONG], "the same program twice in one call runs once"
    again = VerdictStore(tmp_path)
    assert len(again) == 2 and again.unknown([RIGHT]) == 0
    assert outcomes(again.run([WRONG, replace(RIGHT, name="another name")], second)) == [expected[1], expected[0]]
    assert not second.programs


@pytest.mark.parametrize(
    "change",
    [
        {"source": RIGHT.source + " "},
        {"tests": RIGHT.tests[:1]},
        {"tests": RIGHT.tests[::-1]},
        {"tests": (AssertTest("pass"),)},
        {"limits": Limits(time_limit_s=1.0)},
        {"limits": Limits(memory_limit_bytes=2**28)},
        {"checker": "exact"},
        {"helpers": "def f(): pass"},
        {"defines": ("f",)},
    ],
)
def test_whatever_decides_a_verdict_is_part_of_its_key(change):
    assert key_of(replace(RIGHT, **change)) != key_of(RIGHT)
    assert key_of(replace(RIGHT, limits=Limits())) == key_of(RIGHT)


def test_another_sandbox_knows_nothing_of_it(tmp_path):
    VerdictStore(tmp_path, "bubblewrap").run([RIGHT], Sandbox())
    assert VerdictStore(tmp_path, "bubblewrap").unknown([RIGHT]) == 0
    assert VerdictStore(tmp_path, "none").unknown([RIGHT]) == 1


def test_verdicts_that_are_no_programs_fault_are_not_kept(tmp_path):
    def broken(programs, on_verdict):
        verdicts = [Verdict("sandbox_error", 2, 0, detail="no fork") for _ in programs]
        for i, verdict in enumerate(verdicts):
            on_verdict(i, verdict)
        return verdicts

    assert outcomes(VerdictStore(tmp_path).run([RIGHT], broken)) == [("sandbox_error", 2, 0)]
    assert VerdictStore(tmp_path).unknown([RIGHT]) == 1


def test_writers_share_a_folder_and_a_kill_keeps_what_was_done(tmp_path):
    """Two processes write at once; one is killed in the middle of a record."""
    code = """
    import os, signal, sys
    from pathlib import Path
    from wmtp.sandbox.store import VerdictStore
    from wmtp.types import IOTest, Program, Verdict

    programs = [Program(f"print({sys.argv[2]} * {i})", (IOTest("", ""),)) for i in range(50)]

    def run(new, keep):
        verdicts = [Verdict("wrong_answer", 1, 0) for _ in new]
        for i, verdict in enumerate(verdicts):
            keep(i, verdict)
            if sys.argv[3] == "killed" and i == 29:
                (path,) = [path for path in Path(sys.argv[1]).rglob("*.jsonl") if path.stat().st_size and mine(path)]
                with open(path, "a") as file:
                    file.write('{"key": "half a rec')
                os.kill(os.getpid(), signal.SIGKILL)
        return verdicts

    def mine(path):
        from wmtp.sandbox.store import key_of
        return key_of(programs[0]) in path.read_text()

    VerdictStore(Path(sys.argv[1])).run(programs, run)
    """
    writers = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path), number, end])
        for number, end in (("1", "alive"), ("2", "killed"))
    ]
    assert [writer.wait() for writer in writers] == [0, -9]
    assert len(VerdictStore(tmp_path)) == 50 + 30
