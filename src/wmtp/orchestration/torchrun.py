"""torchrun, for which SIGTERM is notice to its ranks, as often as it comes (`python -m wmtp.orchestration.torchrun OPTIONS`).

Its own handler waits for the ranks, which may be writing their checkpoint, but a second one ends it, and they die with it. And
two there are: a scheduler sends one to every process of a job, and so does whoever ends the stage then.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import psutil

OTHER_SIGNALS = "SIGINT,SIGHUP,SIGQUIT"
"""Those that stay torchrun's own to handle."""


def main() -> None:
    signal.signal(signal.SIGTERM, _hear)
    from torch.distributed.run import main as run

    run()


def _hear(number: int, frame: Any) -> None:
    if not psutil.Process().children():  # nobody to tell
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    signal.signal(number, signal.SIG_IGN)  # it is passed on again and again as it is
    threading.Thread(target=_pass_on, daemon=True, name="pass-notice-on").start()


def _pass_on() -> None:
    """Imports happen here: most launches need none of it, and a signal may come in the middle of torch's own."""
    from wmtp.orchestration.assignment import ENVIRONMENT, Assignment
    from wmtp.orchestration.processes import TOKEN
    from wmtp.orchestration.watch import ask_to_leave

    ask_to_leave(Assignment.from_json(os.environ[ENVIRONMENT]).folder, os.environ[TOKEN])


if __name__ == "__main__":
    main()
