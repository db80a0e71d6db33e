"""Whose processes a sandbox's are, as the machine sees them."""

import json
import os
import subprocess
import sys

import pytest

from tests.unit.sandbox.identities import OTHERS, WITH_SUBORDINATE_IDS, become
from tests.unit.sandbox.subordinate import FIRST, UID
from wmtp.sandbox.isolation import MODES
from wmtp.sandbox.namespaces import NOBODY

WATCHED = """
import json, os, sys, threading, psutil
from wmtp.sandbox.worker import Worker
from wmtp.types import IOTest, Limits, Program
worker = Worker(sys.argv[1])
program = Program("import time\\nprint(7)\\ntime.sleep(1)", (IOTest("", "7"),), Limits(time_limit_s=60.0))
verdicts, seen = [], []
thread = threading.Thread(target=lambda: verdicts.append(worker.run(program).status))
thread.start()
while thread.is_alive():
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            with open(f"/proc/{one.pid}/status") as file:
                status = dict(line.split(":", 1) for line in file)
            if len(status["NSpid"].split()) == 3:  # this namespace, the sandbox's, and that of the spawner and the program
                found.append(sorted({*map(int, status["Uid"].split() + status["Gid"].split())}))
        except (OSError, psutil.Error):
            pass
    seen.append(found)
worker.close()
print(json.dumps([verdicts, sorted(max(reversed(seen), key=len))]))  # the last: a program is born as the spawner is
"""


def owners(mode, who):
    """The ids, of users and groups, that the spawner and a program have, as the machine counts them."""
    command = [*become(who), sys.executable, "-c", WATCHED, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    verdicts, ids = json.loads(done.stdout)
    assert verdicts == ["passed"]
    return ids


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a user subordinate ids")
def test_where_there_are_subordinate_ids_a_program_is_another_user_than_what_started_it(mode):
    assert owners(mode, WITH_SUBORDINATE_IDS) == [[UID], [FIRST]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.skipif(os.geteuid() != 0, reason="this is about root, and about whom it starts as another user")
def test_roots_programs_are_nobodys_and_those_of_a_user_without_such_ids_its_own(mode):
    assert owners(mode, "this user") == [[0], [NOBODY]]
    uid = OTHERS["uid 12345"]
    assert owners(mode, "uid 12345") == [[uid], [uid]]
