"""A flow in the foreground: a process of its own (this package never imports Prefect), and nothing of it is left at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from wmtp.errors import LaunchError
from wmtp.orchestration import own_code, processes


def run_module(root: Path, module: str, arguments: Sequence[str]) -> int:
    """`python -m module` in a workspace, with its code; signals and Ctrl-Z go to it. Its exit code.

    Raises:
        LaunchError: it was killed.
    """
    token = uuid.uuid4().hex
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    marks = {"PATH": path, "DO_NOT_TRACK": "1", processes.OWNER: processes.identity(), processes.TOKEN: token}
    environment = own_code.environment(root, os.environ) | marks
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=root, env=environment, start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):  # the flow ends its stages, and then itself
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, frame: process.send_signal(number))
    processes.pause_with_terminal(lambda: process.send_signal(signal.SIGTSTP), lambda: process.send_signal(signal.SIGCONT))
    try:
        code = process.wait()
        if code < 0:
            raise LaunchError(f"the flow was killed by {signal.Signals(-code).name}; the next run goes on where it stopped")
        return code
    finally:
        processes.kill_tree(process, token)
