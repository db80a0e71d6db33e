"""A problem's own checker, where more than one output is right: a Python program, run in the sandbox as any other is.

Its arguments are three files, the test's input, the expected output and what was printed; what it prints is the score, of which
one or more is right (open-r1/codeforces, `generated_checker`). It runs after the program under test has ended, in a process
of its own: what is expected was never where that program could read it.
"""

from __future__ import annotations

import json

from wmtp.types import IOTest

CHECKER_LIMITS = {"time_limit_s": 10.0, "memory_limit_bytes": 2**30, "wall_limit_s": 260.0}
_SCRIPT = """\
import json as _json
import sys as _sys
_names = ["input.txt", "expected.txt", "printed.txt"]
for _name, _text in zip(_names, _json.load(_sys.stdin)):
    with open(f"/tmp/{{_name}}", "w", newline="") as _file:
        _file.write(_text)
_sys.argv = ["checker.py", *(f"/tmp/{{_name}}" for _name in _names)]
exec(compile({checker!r}, "checker.py", "exec"))
"""


def script_of(checker: str) -> str:
    """The program that is run: it reads the files' texts from its standard input."""
    return _SCRIPT.format(checker=checker)


def files_of(test: IOTest, printed: str) -> str:
    """That input."""
    return json.dumps([test.stdin, test.stdout, printed])


def says_yes(output: str) -> bool:
    """Whether a checker's last word is the full score."""
    words = output.split()
    try:
        return bool(words) and float(words[-1]) >= 1
    except ValueError:
        return False
