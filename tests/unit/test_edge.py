"""How commands end: real processes whose files, terminals and readers are not what they should be."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from wmtp.edge import run_command
from wmtp.errors import CheckpointError, ConfigError

PROGRAM = "import sys; from wmtp.edge import run_command; sys.exit(run_command(lambda: ({}) or 0, interrupted='stopped'))"


def run(expression, **how):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(expression)],
        capture_output=True,
        text=True,
        **{"stdin": subprocess.DEVNULL, **how},
    )


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(("error", "code"), [(ConfigError("a bad key"), 2), (CheckpointError("no room"), 1)])
def test_an_error_is_a_line_and_an_exit_code(error, code, capfd):
    assert run_command(raising(error), interrupted="") == code
    assert capfd.readouterr().err == f"error: {error}\n"


def test_a_file_that_may_not_grow_any_more_is_no_bug(capfd):
    assert run_command(raising(OSError(errno.EFBIG, "File too large", "model")), interrupted="") == 1
    assert capfd.readouterr().err == "error: model: File too large\n"


def test_a_line_is_one_line_whatever_a_file_is_called(capfd):
    assert run_command(raising(ConfigError("a\nb\r.jsonl does not exist")), interrupted="") == 2
    assert capfd.readouterr().err == "error: a\\nb\\r.jsonl does not exist\n"


def test_ctrl_c_is_said_and_a_bug_keeps_its_traceback(capfd):
    assert run_command(raising(KeyboardInterrupt()), interrupted="stopped here") == 1
    assert capfd.readouterr().err == "error: stopped here\n"
    for bug in (ZeroDivisionError(), FileNotFoundError(2, "No such file", "x"), OSError("no number")):
        with pytest.raises(type(bug)):
            run_command(raising(bug), interrupted="")
    assert run_command(lambda: 7, interrupted="") == 7


def test_a_place_that_is_named_wrong_is_the_users_to_mend_and_a_full_disk_is_not(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "socket"))
    for name, said in (
        ("file/x", "Not a directory"),
        (".", "Is a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("socket", "No such device or address"),
        ("x" * 300, "File name too long"),
    ):
        done = run(f"open({str(tmp_path / name)!r}, 'r')")
        assert (done.returncode, done.stderr) == (2, f"error: {tmp_path / name}: {said}\n")
    full = run("open('/dev/full', 'w').write('x' * 100_000)")
    assert (full.returncode, full.stderr) == (1, "error: No space left on device\n")


def test_a_terminal_without_the_letters_gets_escapes():
    done = run("print('\u00e4 \u2192')", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xe4 \\u2192\n", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_were_closed_are_nobodys(closed):
    """As a daemon has it: whatever is printed goes nowhere, and the end is what it would be."""
    for expression, code in (("print(sys.stdout.isatty())", 0), ("sys.exit(print('x', file=sys.stderr) or 3)", 3)):
        command = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, PROGRAM.format(expression)]
        assert subprocess.run(command, capture_output=True).returncode == code


def test_nobody_reads_any_more():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format("[print('x' * 1000) for _ in range(1000)]")],
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
