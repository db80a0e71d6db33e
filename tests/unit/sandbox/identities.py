"""Whom tests can run a command as: this user, and as root two others, none of whom may do anything special."""

import functools
import os
import subprocess
import sys

OTHERS = {"nobody": 65534, "uid 12345": 12345}
IDENTITIES = ["this user", *(OTHERS if os.geteuid() == 0 else ())]


@functools.cache
def become(who):
    """What to put before a command. Where another user cannot read this interpreter, it is one of a user namespace's."""
    if who == "this user":
        return []
    uid = OTHERS[who]
    real = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    done = subprocess.run([*real, sys.executable, "-c", "import wmtp"], capture_output=True, check=False)
    return real if done.returncode == 0 else ["unshare", "--user", f"--map-user={uid}", f"--map-group={uid}"]
