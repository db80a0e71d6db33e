"""A problem's own checker, where more than one output is right: a program, run in the sandbox as any other is.

It runs after the program under test has ended, in a process of its own: what is expected was never where that program could
read it. A checker in Python has three files as arguments, the test's input, the expected output and what was printed; what it
prints is the score, of which one or more is right (open-r1/codeforces, `generated_checker`). One made with testlib has the
test's input, what was printed and the expected output (testlib.h, `registerTestlibCmd`); its exit code says what it found.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wmtp.types import IOTest, Limits

CHECKER_LIMITS = Limits(time_limit_s=10.0, memory_limit_bytes=2**30)
"""Of one look at one output, before the machine's factor."""
RIGHT, FAILED = 0, 3
"""Exit codes of testlib's, `OK_EXIT_CODE` and `FAIL_EXIT_CODE`; the others say why an output is not right."""
MESSAGE_CHARACTERS = 300
_SCRIPT = """\
import json as _json
import sys as _sys
_names = ["input.txt", "expected.txt", "printed.txt"]
for _name, _text in zip(_names, _json.load(_sys.stdin)):
    with open(_name, "w", newline="") as _file:
        _file.write(_text)
_sys.argv = ["checker.py", *_names]
exec(compile({checker!r}, "checker.py", "exec"))
"""
COMPILED_SCRIPT = """\
import base64, json, os, subprocess, sys, zlib
names = ["input.txt", "printed.txt", "expected.txt"]
binary, *texts = json.load(sys.stdin)
with open("checker", "wb") as file:
    file.write(zlib.decompress(base64.b64decode(binary)))
os.chmod("checker", 0o700)
for name, text in zip(names, texts):
    with open(name, "w", newline="") as file:
        file.write(text)
ran = subprocess.run(["./checker", *names], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
print(json.dumps([ran.returncode, ran.stderr[:4096].decode("utf-8", "replace")]))
"""
"""The program that runs a checker that was compiled; its standard input has that and the files' texts."""


class BrokenCheckerError(Exception):
    """A checker in C++ does not compile."""


@dataclass(frozen=True)
class Opinion:
    """What a checker says of an output. `is_broken`: it says that itself or the test is at fault."""

    is_right: bool
    is_broken: bool = False
    message: str = ""


def script_of(checker: str) -> str:
    """The program that runs a checker in Python: it reads the files' texts from its standard input."""
    return _SCRIPT.format(checker=checker)


def files_of(test: IOTest, printed: str) -> str:
    """That input."""
    return json.dumps([test.stdin, test.stdout, printed])


def files_of_compiled(binary: str, test: IOTest, printed: str) -> str:
    """The input of `COMPILED_SCRIPT`. `binary`: see `wmtp.sandbox.testlib`."""
    return json.dumps([binary, test.stdin, printed, test.stdout])


def opinion_of_script(reply: dict[str, Any]) -> Opinion:
    """Of a checker in Python, from how its process ended: right where its last word is the full score."""
    return Opinion(not reply["status"] and says_yes(reply["output"]), message=reply["detail"] if reply["status"] else "")


def opinion_of_compiled(reply: dict[str, Any]) -> Opinion:
    """Of a checker made with testlib. One that crashes, or ends at its limits, says nothing for the output that made it so."""
    if reply["status"]:
        return Opinion(is_right=False, message=f"the checker ended by {reply['status']}")
    code, said = json.loads(reply["output"])
    message = " ".join(said.split())[:MESSAGE_CHARACTERS] or (f"signal {-code}" if code < 0 else f"exit code {code}")
    return Opinion(code == RIGHT, code == FAILED, message)


def says_yes(output: str) -> bool:
    """Whether a checker's last word is the full score."""
    words = output.split()
    try:
        return bool(words) and float(words[-1]) >= 1
    except ValueError:
        return False
