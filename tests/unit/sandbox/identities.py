"""Whom tests can run a command as: this user, and as root two others, none of whom may do anything special."""

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.unit.sandbox import subordinate

OTHERS = {"nobody": 65534, "uid 12345": 12345}
WITH_SUBORDINATE_IDS = "uid 12345 with subordinate ids"
IDENTITIES = ["this user", *(OTHERS if os.geteuid() == 0 else ())]
NEEDED = (Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), Path(__file__).resolve().parents[3])
"""The interpreter, its environment and this repository."""


@functools.cache
def become(who):
    """What to put before a command.

    Where others cannot reach this interpreter, the folders in its way are replaced, for the command alone, by ones that hold
    nothing else; where that is refused too, the other user is one of a user namespace's.
    """
    if who == "this user":
        return []
    if who == WITH_SUBORDINATE_IDS:
        return ["unshare", "--mount", sys.executable, str(Path(subordinate.__file__)), *become("uid 12345")]
    uid = OTHERS[who]
    real = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "env"]  # which finds the command as that user
    opened = ["unshare", "--mount", "sh", "-c", f'{opening_up()}\nexec "$@"', "sh", *real]
    for prefix in (real, opened):
        if subprocess.run([*prefix, sys.executable, "-c", "import wmtp"], capture_output=True, check=False).returncode == 0:
            return prefix
    return ["unshare", "--user", f"--map-user={uid}", f"--map-group={uid}"]


def opening_up():
    """A script that lets everybody pass to what is needed."""
    lines = ["set -e", "mount -t tmpfs tmpfs /mnt"]
    lines += [f"mkdir /mnt/{n}; mount --rbind {shlex.quote(str(path))} /mnt/{n}" for n, path in enumerate(NEEDED)]
    closed = [parent for path in NEEDED for parent in reversed(path.parents) if not parent.stat().st_mode & 1]
    outermost = [folder for folder in closed if not any(parent in closed for parent in folder.parents)]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(folder))}" for folder in sorted({*outermost})]
    for n, path in enumerate(NEEDED):
        if any(folder in path.parents for folder in outermost):
            lines.append(f"mkdir -p {shlex.quote(str(path))}; mount --rbind /mnt/{n} {shlex.quote(str(path))}")
    return "\n".join(lines)
