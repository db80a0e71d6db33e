"""Every isolation of this machine passes every probe, whoever runs it; without isolation the right probes fail."""

import json
import subprocess
import sys

import pytest

from tests.unit.sandbox.identities import IDENTITIES, WITH_SUBORDINATE_IDS, become
from wmtp.doctor import machine as doctor
from wmtp.errors import EvaluationError
from wmtp.sandbox import conformance
from wmtp.sandbox import isolation as kinds
from wmtp.sandbox.conformance import PROBES, Failure, Probe, failures

pytestmark = pytest.mark.slow

CHECK = (
    "import json, sys\nfrom wmtp.sandbox.conformance import failures\n"
    "print(json.dumps({one.probe.name: one.saw for one in failures(sys.argv[1])}))"
)
NEED_ISOLATION = {
    "files",
    "writing",
    "mounts",
    "processes",
    "signals",
    "network",
    "sockets",
    "privileges",
    "system calls",
    "limits of others",
    "memory of children",
    "memory that is shared",
    "disk",
    "leftovers",
}

COUNT_THE_USERS_OTHERS = {"number of processes", "forks of much memory"}
"""Without isolation the kernel counts all processes of a user, other tests' too, and none of root's."""


def failed(mode, who):
    done = subprocess.run([*become(who), sys.executable, "-c", CHECK, mode], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("who", [*IDENTITIES, *([WITH_SUBORDINATE_IDS] if "uid 12345" in IDENTITIES else [])])
@pytest.mark.parametrize("mode", kinds.MODES)
def test_every_isolation_conforms(mode, who):
    assert failed(mode, who) == {}


@pytest.mark.parametrize("who", IDENTITIES)
def test_without_isolation_what_isolation_is_for_fails_and_nothing_else(who):
    found = failed("none", who)
    assert set(found) - COUNT_THE_USERS_OTHERS == NEED_ISOLATION
    assert found["network"].startswith("wrong_answer instead of passed: printed 'socket.socket(")


def test_names_are_one_of_a_kind_and_lines_are_short():
    assert len({probe.name for probe in PROBES}) == len(PROBES) >= 18
    assert all(0 < len(probe.line) < 100 and "\n" not in probe.line for probe in PROBES)


def test_a_program_that_takes_its_sandbox_down_is_a_failure_not_the_end():
    probe = Probe("suicide", "?", "import os\nos.kill(os.getppid(), 9)\nimport time\ntime.sleep(1)")
    (found,) = failures("none", [probe, PROBES[0]])
    assert found.probe is probe and found.saw.startswith("sandbox_error instead of passed")


def test_the_doctor_says_one_line_when_all_holds_and_names_what_does_not(monkeypatch):
    (line,) = doctor._isolation()
    assert line.is_fine and line.detail == f"{kinds.isolation()}, {len(PROBES)} of {len(PROBES)} probes"

    broken = Failure(PROBES[9], "passed instead of wrong_answer")
    monkeypatch.setattr(conformance, "failures", lambda mode: [broken])
    lines = doctor._isolation()
    assert [line.is_fine for line in lines] == [False, False]
    assert lines[1].what == f"isolation: {PROBES[9].name}" and PROBES[9].line in lines[1].detail

    monkeypatch.setattr(kinds, "problem_with", lambda mode: "not here")
    (line,) = doctor._isolation()
    assert not line.is_fine and "Install bubblewrap" in line.detail
    with pytest.raises(EvaluationError):
        failures()
