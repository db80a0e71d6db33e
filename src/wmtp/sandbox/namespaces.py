"""How a sandbox's first process is started: the command lines of bubblewrap and of util-linux's unshare, and its users."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wmtp.sandbox.packages import PLACE, Package
from wmtp.sandbox.system import EXECUTABLE, python_system

GUEST_FOLDER = Path(__file__).resolve().parent / "guest"
SERVER, ROOT_BUILDER = "sandbox_server.py", "sandbox_root.py"
NOBODY = 65534
TMP_BYTES = 64 * 2**20
EMPTY_FOLDERS = ("/tmp", "/program")
"""What the spawner mounts on."""
_INSIDE = "/wmtp"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))


def layout(packages: Sequence[Package] = (), machine: Sequence[str] = ()) -> dict[str, Any]:
    """What there is in a sandbox: `files` (source, place), the rest as in `System`, all of it read-only.

    `machine`: whole folders that it has of the machine, at their places.
    """
    system = python_system()
    libraries = {path for each in packages for path in each.libraries}
    system = replace(
        system,
        files=(*machine, *_outside(machine, system.files), *_outside(machine, sorted(libraries))),
        hidden=tuple(_outside(machine, system.hidden)),
        links=tuple(link for link in system.links if _outside(machine, link[:1])),
    )
    offered = [(path, f"{PLACE}/{Path(path).name}") for each in packages for path in each.files]
    return {
        "folders": ["/dev", *system.folders, _INSIDE, PLACE],
        "files": [*((path, path) for path in system.files), (str(GUEST_FOLDER), _INSIDE), *offered],
        "hidden": list(system.hidden),
        "links": [*system.links, *((f"/dev/{name}", f"/proc/self/{target}") for name, target in _DEVICE_LINKS)],
        "devices": [f"/dev/{name}" for name in _DEVICES],
        "empty": ["/proc", "/dev/shm", *EMPTY_FOLDERS],
    }


def _outside(folders: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Those that are in none of the folders."""
    return [path for path in paths if not any(Path(folder) in (Path(path), *Path(path).parents) for folder in folders)]


def command(mode: str, user_namespace: int | None, packages: Sequence[Package] = (), machine: Sequence[str] = ()) -> list[str]:
    """What starts a server in its sandbox. `user_namespace`: a descriptor of the one to enter, see `two_users`.

    Without isolation programs find the folders that the packages are in, with whatever else is there.
    """
    python = [str(EXECUTABLE), "-P", "-s", "-S", "-B"]
    if mode == "none":
        return [*python, str(GUEST_FOLDER / SERVER), "open", *sorted({str(Path(f).parent) for p in packages for f in p.files})]
    server = [*python, f"{_INSIDE}/{SERVER}", "isolated", PLACE]
    if mode == "unshare":
        flags = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]
        enter = (
            ["unshare", "--user", "--map-root-user"]
            if user_namespace is None
            else ["nsenter", f"--user=/proc/self/fd/{user_namespace}", "unshare"]
        )
        return [*enter, *flags, *python, str(GUEST_FOLDER / ROOT_BUILDER), json.dumps(layout(packages, machine)), *server]
    user = ["--unshare-user", "--uid", "0", "--gid", "0"] if user_namespace is None else ["--userns", str(user_namespace)]
    keep = ("SYS_ADMIN", "SYS_PTRACE", "SETPCAP", "KILL", *(() if user_namespace is None else ("SETUID", "SETGID")))
    return [
        "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", *user,
        "--as-pid-1", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", *[f for name in keep for f in ("--cap-add", f"CAP_{name}")],
        *_bubblewrap_root(layout(packages, machine)), "--chdir", "/tmp", *server,
    ]  # fmt: skip


def _bubblewrap_root(laid_out: dict[str, Any]) -> list[str]:
    arguments = [f for folder in laid_out["folders"] for f in ("--perms", "0755", "--dir", folder)]
    arguments += [f for source, path in laid_out["files"] for f in ("--ro-bind", source, path)]
    for path in laid_out["hidden"]:
        arguments += ["--perms", "0755", "--size", "4096", "--tmpfs", path, "--remount-ro", path]
    for path in laid_out["devices"]:
        arguments += ["--dev-bind", path, path]
    arguments += [f for folder in laid_out["empty"] for f in ("--perms", "0755", "--dir", folder)]
    arguments += [f for path, target in laid_out["links"] for f in ("--symlink", target, path)]
    return [*arguments, "--proc", "/proc", "--remount-ro", "/"]


def two_users() -> int | None:
    """A user namespace in which programs are another user than who starts them; a descriptor of it, None where there is none.

    Limits on the number of processes do not bind root, and who has a user of its own cannot be signalled, looked at or slowed
    down. As root the other is `nobody`; an ordinary user's is the first of the user's subordinate ids (subuid(5)).
    """
    others = (NOBODY, NOBODY) if os.geteuid() == 0 else (_subordinate("/etc/subuid"), _subordinate("/etc/subgid"))
    if None in others or not all(path.stat().st_mode & stat.S_IROTH for path in (EXECUTABLE, Path(os.__file__))):
        return None
    process = subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        for name, own, other in zip(("uid", "gid"), (os.geteuid(), os.getegid()), others, strict=True):
            _map(process.pid, name, f"0 {own} 1 1 {other} 1".split())
        return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY)
    except (OSError, subprocess.CalledProcessError):
        return None  # itself in a namespace without a second user, or without the tools
    finally:
        process.communicate()


def _map(pid: int, name: str, numbers: list[str]) -> None:
    """Ids inside and outside of a user namespace: two ranges of (inside, outside, count)."""
    if os.geteuid() == 0:
        Path(f"/proc/{pid}/{name}_map").write_text(f"{' '.join(numbers[:3])}\n{' '.join(numbers[3:])}\n")
    else:
        subprocess.run([f"new{name}map", str(pid), *numbers], check=True, capture_output=True)


def _subordinate(path: str) -> int | None:
    """This user's first subordinate id."""
    names = {str(os.getuid())}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(os.getuid()).pw_name)
    with contextlib.suppress(OSError):
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            name, _, ids = line.partition(":")
            first = ids.partition(":")[0]
            if name in names and first.isdecimal():
                return int(first)
    return None
