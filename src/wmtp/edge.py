"""How a command ends, as its caller sees it: an exit code, and one line where something went wrong.

Exit codes: 0 done, 1 failed, 2 the user's input, 75 told to make room (it may be tried again), 141 nobody reads any more.
"""

from __future__ import annotations

import errno
import getpass
import os
import sys
from collections.abc import Callable

from wmtp.errors import ConfigError, PreemptedError, WmtpError

_PLACES = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENODEV,
)
"""What a file system answers that gives no right, or has something else where a file or folder should be."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNREAD = 141  # as a shell counts a program that SIGPIPE has ended


def run_command(command: Callable[[], int], *, interrupted: str) -> int:
    """The exit code of a command, with its error in one line on standard error.

    What a user cannot mend keeps its traceback. Text that the terminal's encoding lacks is written as escapes.

    Args:
        interrupted: what to say after Ctrl-C.
    """
    _have_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _have_a_user_name()
    try:
        code = command()
        sys.stdout.flush()
        return code
    except PreemptedError as notice:
        print(notice, file=sys.stderr, flush=True)
        return notice.exit_code
    except WmtpError as error:
        return _failed(str(error), error.exit_code)
    except BrokenPipeError:  # `wmtp report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNREAD
    except OSError as error:
        if error.errno not in (*_PLACES, *_NO_ROOM):
            raise
        is_named_wrong = error.errno in _PLACES
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        line = ": ".join(filter(None, (where, error.strerror)))
        return _failed(line, ConfigError.exit_code if is_named_wrong else WmtpError.exit_code)
    except KeyboardInterrupt:
        return _failed(interrupted, 1)


def _have_streams() -> None:
    """Whoever started this may have closed them (`>&-`), and Python has None then."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def _have_a_user_name() -> None:
    """In a container a user may be a number alone; DVC asks for a name, and would end with a traceback."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"


def _failed(line: str, code: int) -> int:
    in_one = line.replace("\r", "\\r").replace("\n", "\\n")  # of a file's name, or of a library's explanation
    print(f"error: {in_one}", file=sys.stderr, flush=True)
    return code
