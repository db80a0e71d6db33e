"""Whole files and journals: what is there after a full disk, a kill at the worst moment, and a reader that looks in between."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading

import pytest

from wmtp.files import (
    Journal,
    parse_json,
    read_journal,
    sync,
    usual_mode,
    whole_file,
    write_bytes,
    write_json,
    write_lines,
    write_text,
)

LIMITED = """
import resource, sys
from pathlib import Path
from wmtp import files
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
"""


def python(code, path, *, code_expected=0):
    """Run `code` in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code_expected, done.stderr
    return done.stdout


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --------------------------------------------------------------------------------------- whole files


def test_what_is_written_is_what_is_read(tmp_path):
    write_text(tmp_path / "text", "a\r\nb\u00e9\n")
    write_bytes(tmp_path / "bytes", b"\0\r\n")
    write_json(tmp_path / "json", {"b": 1, "a": [1.5]})
    write_lines(tmp_path / "lines", [{"b": 2, "a": [1]}, {}])
    assert (tmp_path / "lines").read_bytes() == b'{"b": 2, "a": [1]}\n{}\n'
    assert (tmp_path / "text").read_bytes() == b"a\r\nb\xc3\xa9\n"
    assert (tmp_path / "bytes").read_bytes() == b"\0\r\n"
    assert (tmp_path / "json").read_text() == '{\n "a": [\n  1.5\n ],\n "b": 1\n}\n'
    assert names(tmp_path) == ["bytes", "json", "lines", "text"]


def test_a_reader_sees_the_old_file_until_the_block_has_ended(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with whole_file(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
        assert next(name for name in names(tmp_path) if name != "file").startswith(".file.tmp-")
    assert path.read_text() == "new" and names(tmp_path) == ["file"]


def test_a_hard_link_to_the_old_file_keeps_the_old_content(tmp_path):
    write_text(tmp_path / "file", "old")
    os.link(tmp_path / "file", tmp_path / "cached")
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "cached").read_text() == "old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(error), whole_file(path, "wb") as file:
        file.write(b"half")
        raise error
    with pytest.raises(error), whole_file(tmp_path / "other") as file:
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    code = LIMITED + textwrap.dedent("""
        for content in ("x" * 4097, "x" * 100_000):  # the first fails at the flush, the second within the block
            try:
                files.write_text(path, content)
            except OSError as error:
                print(error.errno)
    """)
    assert python(code, path).split() == ["27", "27"]
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_a_kill_before_the_rename_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    code = """
        import os, signal, sys
        from pathlib import Path
        from wmtp import files
        os.replace = lambda old, new: os.kill(os.getpid(), signal.SIGKILL)
        files.write_text(Path(sys.argv[1]), "new")
    """
    python(code, path, code_expected=-signal.SIGKILL)
    assert path.read_text() == "old"
    (left,) = (tmp_path / name for name in names(tmp_path) if name != "file")
    assert left.name.startswith(".file.tmp-") and left.read_text() == "new"
    write_text(path, "newer")  # what a kill left stands in nobody's way
    assert path.read_text() == "newer"


def test_file_and_folder_are_flushed_before_and_after_the_rename(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor):
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", lambda old, new: (steps.append("rename"), replace(old, new)))
    write_text(tmp_path / "file", "x")
    write_text(tmp_path / "file", "x", durable=False)
    assert steps == ["file", "rename", "folder", "rename"]


def test_a_file_that_cannot_be_flushed_is_an_error(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        write_text(tmp_path / "file", "x")
    assert names(tmp_path) == []
    sync(tmp_path)  # a folder that the file system cannot flush is not


def test_many_writers_of_one_path_do_not_meet(tmp_path):
    path = tmp_path / "file"
    contents = [str(number) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in contents and names(tmp_path) == ["file"]


# --------------------------------------------------------------------------------------- journals


def test_a_journal_holds_what_was_appended_and_goes_on(tmp_path):
    path = tmp_path / "folder" / "journal.jsonl"
    assert read_journal(path) == []
    with Journal(path) as journal:
        assert journal.records == []
        journal.append({"b": 1, "a": "\u00e9\ud800"})
        journal.append({"n": 2}, {"n": 3})
        journal.append()
        assert read_journal(path)[1:] == [{"n": 2}, {"n": 3}]
    with Journal(path) as journal:
        assert journal.records == [{"a": "\u00e9\ud800", "b": 1}, {"n": 2}, {"n": 3}]
        journal.append({"n": 4})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [*journal.records, {"n": 4}]


@pytest.mark.parametrize(
    "rest", ["{", '{"n": 2', '{"n": 2}', "\0\0\0", '\0\0\n{"n": 9}\n', "nonsense\n", "\n", "[1]\n", '"\u00e9'.encode("latin-1")]
)
def test_what_a_crash_cut_off_is_not_read_and_goes_when_the_journal_is_opened(tmp_path, rest):
    path = tmp_path / "journal"
    whole = b'{"n": 1}\n'
    path.write_bytes(whole + (rest if isinstance(rest, bytes) else rest.encode()))
    assert read_journal(path) == [{"n": 1}]
    with Journal(path) as journal:
        assert journal.records == [{"n": 1}] and path.read_bytes() == whole
        journal.append({"n": 3})
    assert read_journal(path) == [{"n": 1}, {"n": 3}]


def test_every_cut_leaves_the_records_before_it(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.append(*({"n": number} for number in range(5)))
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        assert len(read_journal(path)) == content[:size].count(b"\n")


def test_a_record_that_the_disk_has_no_room_for_is_not_there_at_all(tmp_path):
    path = tmp_path / "journal"
    code = LIMITED + textwrap.dedent("""
        with files.Journal(path) as journal:
            journal.append({"text": "x" * 3000})
            try:
                journal.append({"text": "y" * 3000})
            except OSError as error:
                print(error.errno)
            journal.append({"text": "z"})
    """)
    assert python(code, path).split() == ["27"]
    assert [record["text"][0] for record in read_journal(path)] == ["x", "z"]


def test_the_usual_rights_are_those_of_a_new_file_and_asking_leaves_none(tmp_path):
    mode = usual_mode(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "new").touch()
    assert mode == stat.S_IMODE((tmp_path / "new").stat().st_mode)


def test_whatever_is_no_json_is_a_value_error():
    assert parse_json('{"a": [1]}') == {"a": [1]}
    for text, said in (
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        (b"\xff", "utf-8"),
        ("{", "Expecting"),
    ):
        with pytest.raises(ValueError, match=said):
            parse_json(text)


def test_records_outlive_a_writer_that_is_killed(tmp_path):
    path = tmp_path / "journal"
    code = """
        import os, signal, sys
        from pathlib import Path
        from wmtp.files import Journal
        Journal(Path(sys.argv[1])).append({"n": 1})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    python(code, path, code_expected=-signal.SIGKILL)
    assert read_journal(path) == [{"n": 1}]
