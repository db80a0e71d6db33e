"""Run as root in a mount namespace of its own: gives uid 12345 subordinate ids there, and then is the command that follows.

    unshare --mount python subordinate.py COMMAND...

Nothing of it is left on the machine. Where newuidmap(1) is not installed, its place is taken by an interpreter with the one
capability that it has; it writes what it is asked to, for the processes of whoever calls it.
"""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

UID, FIRST, COUNT = 12345, 200_000, 65_536
PLACE = Path("/media")
"""A folder that every system has, for what is mounted."""
IDS, NAMES = ("/etc/subuid", "/etc/subgid"), "/etc/passwd"
CAPABILITIES = {"uid": 7, "gid": 6}
"""CAP_SETUID and CAP_SETGID, capabilities(7)."""
SCRIPT = """\
#!{interpreter} -IS
import sys
pid, *numbers = sys.argv[1:]
lines = [" ".join(numbers[at : at + 3]) for at in range(0, len(numbers), 3)]
with open(f"/proc/{{pid}}/{kind}_map", "w") as file:
    file.write("\\n".join(lines))
"""


def stand_in(kind: str) -> None:
    """A newuidmap or newgidmap."""
    interpreter = PLACE / f"python-{kind}"
    shutil.copyfile(Path(sys.base_prefix).resolve() / "bin" / f"python3.{sys.version_info.minor}", interpreter)
    interpreter.chmod(0o755)
    words = (0x02000001, 1 << CAPABILITIES[kind], 0, 0, 0)  # struct vfs_cap_data, revision 2, effective
    os.setxattr(interpreter, "security.capability", struct.pack("<5I", *words))
    script = PLACE / f"new{kind}map"
    script.write_text(SCRIPT.format(interpreter=interpreter, kind=kind))
    script.chmod(0o755)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def prepare() -> None:
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(PLACE))
    others = "# by name\n\nsomebody:100000:65536\n"
    files = dict.fromkeys(IDS, f"{others}candidate:{FIRST}:{COUNT}\n")
    files[NAMES] = f"{Path(NAMES).read_text()}candidate:x:{UID}:{UID}::/:/bin/sh\n"
    for path, text in files.items():
        own = PLACE / Path(path).name
        own.write_text(text)
        own.chmod(0o644)
        mount("--bind", str(own), path)
    for kind in CAPABILITIES:
        if shutil.which(f"new{kind}map") is None:
            stand_in(kind)


if __name__ == "__main__":
    prepare()
    os.environ["PATH"] = f"{PLACE}:{os.environ['PATH']}"
    os.execvp(sys.argv[1], sys.argv[1:])
