"""What the launcher shows: every line where it writes to a file, a bar for progress on a terminal, no library's noise."""

import os
import pty
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
    process = subprocess.Popen([sys.executable, "-c", program], stdout=child, env={**os.environ, "COLUMNS": "80"})
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


def test_on_a_terminal_progress_overwrites_itself_and_the_last_bar_stays():
    text = on_a_terminal(PROGRAM)
    quarter, whole = "#" * 6 + "." * 18, "#" * 24
    bars = f"\r\x1b[Ktrain@a [{quarter}] 1/4  loss 0.5\r\x1b[Ktrain@a [{whole}] 4/4  loss 0.25\n"
    assert text == f"starts\n[WARNING] a line of the stage's own\n{bars}ends\n"
