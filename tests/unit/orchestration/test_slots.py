"""Slots and devices among real processes, which hold what they took until their standard input closes, or they are killed."""

import os
import subprocess
import sys

import pytest

from wmtp.config import LaunchConfig
from wmtp.orchestration import slots

PROGRAM = """
import sys
from wmtp.config import LaunchConfig
from wmtp.orchestration import slots
with slots.taken(LaunchConfig(**{how!r}), sys.argv[1]) as environment:
    print("has", environment.get("CUDA_VISIBLE_DEVICES", "a slot"), flush=True)
    sys.stdin.read()
"""
EIGHT = {"devices": [str(number) for number in range(8)], "nproc_per_node": 4, "device": "cuda"}


@pytest.fixture
def start(tmp_path):
    """Starts stages that share a folder of slots."""
    started = []

    def stage(who="", **how):
        environment = {**os.environ, slots.FOLDER: str(tmp_path / "slots")}
        command = [sys.executable, "-c", PROGRAM.format(how=how), who]
        started.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield stage
    for process in started:
        process.kill()
        process.communicate()


def line(process):
    return process.stdout.readline().strip()


def test_two_stages_of_four_ranks_share_eight_devices_and_a_third_waits_for_a_whole_half(start):
    first, second = start(**EIGHT), start(**EIGHT)
    seen = [line(process).removeprefix("has ").split(",") for process in (first, second)]
    assert sorted(map(len, seen)) == [4, 4] and {*seen[0]} | {*seen[1]} == {*EIGHT["devices"]}
    third = start(**EIGHT)
    assert line(third) == "waiting for 4 of 8 devices"
    second.kill()
    assert line(third) == f"has {','.join(sorted(seen[1]))}"


def test_a_stage_that_needs_them_all_holds_none_while_it_waits(start):
    one = start(**{**EIGHT, "nproc_per_node": 1})
    assert line(one) == "has 0"
    whole = start(**{**EIGHT, "nproc_per_node": 8})
    assert line(whole) == "waiting for 8 of 8 devices"
    other = start(**{**EIGHT, "nproc_per_node": 7})
    assert line(other) == "has 1,2,3,4,5,6,7"


def test_without_devices_there_are_so_many_slots(start):
    assert [line(start(slots=2)) for _ in range(2)] == ["has a slot"] * 2
    waiting = start(slots=2)
    assert line(waiting) == "waiting for one of 2 slots"


def test_who_waits_is_told_who_has_it(start):
    first = start("train@a of /here", slots=1)
    assert line(first) == "has a slot"
    second = start("train@b of /here", slots=1)
    assert line(second) == "waiting for one of 1 slots, held by train@a of /here"
    first.kill()
    assert line(second) == "has a slot"
    assert line(start("train@c of /here", slots=1)).endswith(", held by train@b of /here")


def test_what_a_block_held_is_free_after_it(tmp_path, monkeypatch):
    monkeypatch.setenv(slots.FOLDER, str(tmp_path))
    launch = LaunchConfig(devices=["GPU-1/0"], nproc_per_node=1)
    for _ in range(2):
        with slots.taken(launch) as environment:
            assert environment == {"CUDA_VISIBLE_DEVICES": "GPU-1/0"}
