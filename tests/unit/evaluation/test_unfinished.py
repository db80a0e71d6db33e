"""The folder of a run by command: nothing of anybody else's is replaced, used or written to at the same time."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wmtp.errors import ConfigError
from wmtp.evaluation.results import RESULT_FILES, Sample, TaskResult, write_results
from wmtp.evaluation.unfinished import Unfinished

SAMPLE = Sample("t0", 0, "x", "passed", 1, 1)
WHAT = {"temperature": 0.8, "k": [1, 2], "model.safetensors": "sha256:aa", "revision": None}


def results(folder, number=0):
    metrics = {"benchmark": "mbpp", "verdicts": {"passed": 1}, "number": number}
    write_results(folder, metrics, [TaskResult("t0", 0, 1, 1, None)], [SAMPLE])
    return folder


def begin(out, what=WHAT):
    """A run that is ended after its first sample."""
    with Unfinished(out) as place, place.journal(what) as journal:
        journal.append([SAMPLE])


def test_results_take_the_place_of_results_and_nothing_is_left(tmp_path):
    for number in range(2):
        with Unfinished(tmp_path / "a/out") as place:
            results(place.results, number)
            place.publish()
        assert sorted(path.name for path in (tmp_path / "a").rglob("*")) == sorted(["out", *RESULT_FILES])
        assert json.loads((tmp_path / "a/out/metrics.json").read_text())["number"] == number


def test_what_comes_into_the_folder_meanwhile_stays(tmp_path):
    with Unfinished(tmp_path / "out") as place:
        results(place.results)
        (tmp_path / "out").mkdir()
        (tmp_path / "out/notes.txt").write_text("mine")
        place.publish()
    assert (tmp_path / "out/notes.txt").read_text() == "mine" and (tmp_path / "out/metrics.json").exists()


def test_a_linked_folder_is_the_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Unfinished(tmp_path / "link") as place, pytest.raises(ConfigError, match="another evaluation"):
        Unfinished(tmp_path / "real")
    with Unfinished(tmp_path / "link") as place:
        results(place.results)
        place.publish()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real/metrics.json").exists()


FOREIGN = {
    "notes.txt": b"mine",
    ".hidden": b"",
    "metrics.json": b'{"accuracy": 1}',
    "per_task.csv": b"task,acc\n",
    "samples.jsonl.gz": gzip.compress(b'{"text": "x"}\n'),
}


@pytest.mark.parametrize("name", [*FOREIGN, "mbpp", "metrics.json/x", "deep.json", "cut.gz"])
def test_a_folder_with_anything_of_somebody_else_is_refused_and_untouched(tmp_path, name):
    out = results(tmp_path / "out")
    path = out / name
    if name == "mbpp":
        results(path)
    elif name == "metrics.json/x":
        path.parent.unlink()
        path.mkdir(parents=True)
    elif name == "deep.json":
        path = out / "metrics.json"
        path.write_bytes(b"[" * 100_000)
    elif name == "cut.gz":
        path = out / "samples.jsonl.gz"
        path.write_bytes(path.read_bytes()[:-12])
    else:
        path.write_bytes(FOREIGN[name])
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(ConfigError, match=rf"out holds {path.relative_to(out).parts[0]}, which no evaluation wrote"):
        Unfinished(out)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_what_can_be_no_folder_for_results_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for out, said in (
        (tmp_path / "file", "file is a file: name a folder"),
        (tmp_path / "file/out", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(ConfigError, match=said):
            Unfinished(out)
    with pytest.raises(ConfigError, match="/ is no folder of its own"):
        Unfinished("/")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_leftovers_of_a_kill_while_results_were_written_are_removed(tmp_path):
    out = results(tmp_path / "out")
    (out / "metrics.json").rename(out / ".metrics.json.tmp-0123456789ab")
    with Unfinished(out) as place:
        results(place.results, 1)
        place.publish()
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULT_FILES)


def test_the_same_goes_on_and_anything_else_is_refused_and_named(tmp_path):
    out = tmp_path / "out"
    begin(out)
    with Unfinished(out) as place:
        place.require_same({"temperature": 0.8})
        with place.journal(dict(WHAT)) as journal:
            assert [*journal.samples.values()] == [SAMPLE]
    for other, said in (
        ({"temperature": 0.2}, r"\(temperature was 0\.8, is 0\.2\)"),
        ({"model.safetensors": "sha256:bb"}, r"\(another model\.safetensors\)"),
        ({"revision": "abc"}, r"\(revision was unknown, is 'abc'\)"),
        ({"more.json": "sha256:cc"}, r"\(more\.json was unknown, is there\)"),
        ({"k": [1]}, r"\(k was \[1, 2\], is \[1\]\)"),
        ({f"n{i}": i for i in range(6)}, "and 2 more"),
    ):
        with Unfinished(out) as place, pytest.raises(ConfigError, match=said):
            place.journal(WHAT | other)
    with Unfinished(out) as place, pytest.raises(ConfigError, match=r"\(temperature was 0\.8, is 1\.0\): go on with the same"):
        place.require_same({"temperature": 1.0})
    without = {name: value for name, value in WHAT.items() if name != "k"}
    with Unfinished(out) as place, pytest.raises(ConfigError, match=r"k was \[1, 2\], is unknown"):
        place.journal(without)
    begin(out)


def test_samples_of_which_nothing_is_known_are_not_used(tmp_path):
    begin(tmp_path / "out")
    (tmp_path / ".out.tmp-run/identity.json").write_text("{")
    with Unfinished(tmp_path / "out") as place, pytest.raises(ConfigError, match="temperature was unknown"):
        place.journal(WHAT)


def test_a_run_that_made_nothing_leaves_nothing_and_binds_nobody(tmp_path):
    with pytest.raises(RuntimeError), Unfinished(tmp_path / "out") as place, place.journal(WHAT):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with Unfinished(tmp_path / "out") as place, place.journal({"temperature": 0.2}) as journal:
        assert journal.samples == {}


HOLDER = """
import sys, time
from pathlib import Path
from wmtp.evaluation.results import Sample
from wmtp.evaluation.unfinished import Unfinished
with Unfinished(Path(sys.argv[1])) as place, place.journal({"a": 1}) as journal:
    journal.append([Sample("t0", 0, "x", "passed", 1, 1)])
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_refused_while_the_first_lives_and_goes_on_once_it_is_killed(tmp_path):
    out = tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(ConfigError, match=rf"another evaluation \(process {holder.pid}\) is writing to \S*out"):
            Unfinished(out)
        assert len(list((tmp_path / ".out.tmp-run").glob("samples-*"))) == 1
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with Unfinished(out) as place, place.journal({"a": 1}) as journal:
        assert len(journal.samples) == 1


@pytest.mark.parametrize("out", ["/proc/x", "/proc/x/y"])
def test_where_no_folder_can_be_made_is_refused_at_once(out):
    with pytest.raises(ConfigError, match=f"^--out {out}: No such file or directory: /proc/"):
        Unfinished(Path(out))
