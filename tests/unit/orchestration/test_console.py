"""What the launcher shows: every line where it writes to a file, a bar for progress on a terminal, no library's noise."""

import io
import os
import pty
import re
import subprocess
import sys

from wmtp.orchestration.console import Console

LINES = [
    "starts\n",
    "[Gloo] Rank 0 is connected to 1 peer ranks.\n",
    "[W1126 socket.cpp:200] The hostname cannot be retrieved\n",
    "[rank0]:[W1126 ProcessGroup.cpp:1] unused\n",
    "[WARNING] a line of the stage's own\n",
    "train@a step 1/4  loss 0.5\n",
    "train@a step 4/4  loss 0.25\n",
    "ends\n",
]
PROGRAM = f"""
from wmtp.orchestration.console import Console
console = Console()
for line in {LINES!r}:
    console.show(line)
console.close()
"""


def test_in_a_file_every_line_is_itself_but_for_what_nobody_can_act_on(capsys):
    console = Console()
    for line in LINES:
        console.show(line)
    console.close()
    assert capsys.readouterr().out == "".join([LINES[0], *LINES[4:]])


def on_a_terminal(program):
    """What `program` writes to a terminal of its own."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=child, env={**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    )
    os.close(child)
    text = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the last writer has closed it
            break
        if not part:
            break
        text += part
    os.close(parent)
    assert process.wait() == 0
    return text.decode().replace("\r\n", "\n")


def plain(text):
    """What a terminal is told, without the codes for colours and places."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_on_a_terminal_progress_changes_in_place_below_the_lines_and_the_last_bar_stays():
    text = on_a_terminal(PROGRAM)
    seen = plain(text)
    assert "\x1b[2K" in text and "[Gloo]" not in seen and "socket.cpp" not in seen
    assert "train@a step" not in seen, "a progress line is a bar here"
    assert seen.index("starts") < seen.index("[WARNING] a line of the stage's own") < seen.index("train@a")
    assert seen.rindex("4/4") > seen.rindex("ends") and "loss 0.25" in seen[seen.rindex("ends") :]
    assert "\x1b[?25l" not in text, "who is killed could not bring the cursor back"


def test_a_bar_that_is_taken_away_leaves_nothing():
    program = (
        "from wmtp.orchestration.console import Console\nconsole = Console()\nconsole.bar('a', 'first', 1, 2, 'rest')\n"
        "console.bar('b', 'second')\nconsole.remove('a')\nconsole.remove('b')\nconsole.close()\nprint('after')\n"
    )
    seen = plain(on_a_terminal(program))
    assert seen.endswith("after\n") and "first" not in seen[seen.rindex("second") :]


def test_where_there_is_no_terminal_there_are_no_bars():
    out = io.StringIO()
    console = Console(out)
    console.bar("a", "first", 1, 2)
    console.say("a line [bold]as it is")
    console.remove("a")
    console.close()
    assert out.getvalue() == "a line [bold]as it is\n" and not console.is_terminal
