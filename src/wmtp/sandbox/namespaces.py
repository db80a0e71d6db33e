"""How a sandbox's first process is started: the command lines of bubblewrap and of util-linux's unshare, and its users."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GUEST_FOLDER = Path(__file__).resolve().parent / "guest"
SERVER = "sandbox_server.py"
NOBODY = 65534
TMP_BYTES = 64 * 2**20
_INSIDE = "/wmtp"


def _system_folders() -> list[str]:
    """What a Python interpreter needs, read-only, and nothing of anybody's home beyond it."""
    python = {str(Path(sys.base_prefix).resolve()), str(Path(sys.base_exec_prefix).resolve())}
    return ["/usr", *sorted(p for p in python if not p.startswith("/usr/"))]


def command(mode: str, user_namespace: int | None) -> list[str]:
    python = [str(Path(sys.base_prefix).resolve() / "bin" / f"python3.{sys.version_info.minor}"), "-P", "-s", "-S", "-B"]
    if mode == "none":
        return [*python, str(GUEST_FOLDER / SERVER), "open"]
    if mode == "unshare":
        flags = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
        enter = (
            ["unshare", "--user", "--map-root-user"]
            if user_namespace is None
            else ["nsenter", f"--user=/proc/self/fd/{user_namespace}", "unshare"]
        )
        return [*enter, *flags, "sh", "-c", _ROOT_SCRIPT, "sh", str(GUEST_FOLDER), " ".join(_system_folders()), *python]
    links = [
        f for name in ("bin", "lib", "lib64") if Path(f"/{name}").exists() for f in ("--symlink", f"usr/{name}", f"/{name}")
    ]
    parents = sorted({str(parent) for folder in _system_folders() for parent in Path(folder).parents} - {"/"})
    binds = [f for parent in parents for f in ("--perms", "0755", "--dir", parent)]
    binds += [f for folder in _system_folders() for f in ("--ro-bind", folder, folder)]
    binds += ["--ro-bind", str(GUEST_FOLDER), _INSIDE]
    user = ["--unshare-user", "--uid", "0", "--gid", "0"] if user_namespace is None else ["--userns", str(user_namespace)]
    keep = ("SYS_ADMIN", "SETPCAP", "KILL", *(() if user_namespace is None else ("SETUID", "SETGID")))
    return [
        "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", *user,
        "--as-pid-1", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", *[f for name in keep for f in ("--cap-add", f"CAP_{name}")],
        *binds, *links, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
        "--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--dir", "/program", "--remount-ro", "/", "--chdir", "/tmp",
        *python, f"{_INSIDE}/{SERVER}", "isolated",
    ]  # fmt: skip


_ROOT_SCRIPT = f"""
set -e
guest=$1; folders=$2; shift 2
root=/mnt; mount -t tmpfs -o mode=755,size={TMP_BYTES} tmpfs "$root"
for f in $folders; do mkdir -p "$root$f"; mount --rbind "$f" "$root$f"; mount -o remount,ro,bind "$root$f"; done
for f in bin lib lib64; do [ -e /$f ] && ln -s usr/$f "$root/$f"; done
mkdir -p "$root/proc" "$root/dev/shm" "$root/tmp" "$root/program" "$root{_INSIDE}"
mount -t proc proc "$root/proc"; mount -t tmpfs -o mode=1777,size={TMP_BYTES} tmpfs "$root/tmp"
for f in null zero random urandom; do touch "$root/dev/$f"; mount --bind "/dev/$f" "$root/dev/$f"; done
ln -s /proc/self/fd/0 "$root/dev/stdin"; ln -s /proc/self/fd/1 "$root/dev/stdout"; ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$guest" "$root{_INSIDE}"; mount -o remount,ro,bind "$root{_INSIDE}"
mount -o remount,ro,bind "$root"
exec chroot "$root" "$@" {_INSIDE}/{SERVER} isolated
"""


def two_users() -> int | None:
    """As root: a user namespace whose programs run as `nobody`, not as this machine's root; a descriptor of it.

    Limits on the number of processes do not bind root, and files of the kernel's ask for root, not for capabilities.
    """
    if os.geteuid() != 0:
        return None
    process = subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{name}").write_text(f"0 0 1\n1 {NOBODY} 1\n")
        return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY)
    except OSError:
        return None  # itself in a namespace without a second user
    finally:
        process.communicate()
