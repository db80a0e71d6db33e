"""The first process of a sandbox that util-linux's unshare made: it builds the root, moves into it and becomes the server.

What bubblewrap does by its arguments, done with the kernel's calls: `mount` of util-linux can make nothing read-only in a user
namespace that the machine has mounted with `nosuid` or `nodev`, nor what is mounted below it.
"""

import ctypes
import json
import os
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MNT_DETACH = 2, 4, 4096, 16384, 2
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
READ_ONLY, WITHOUT_SETUID, WITHOUT_DEVICES = 1, 2, 4
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
ROOT = "/mnt"


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(kind: str, path: str, options: str = "", flags: int = MS_NOSUID | MS_NODEV) -> None:
    check(LIBC.mount(kind.encode(), path.encode(), kind.encode(), flags, options.encode()), f"mount {path}")


def protect(path: str, attributes: int) -> None:
    """A mount and those below it get more of these attributes; what they have is kept, as a user namespace demands."""
    values = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    result = LIBC.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, values, ctypes.sizeof(values))
    check(result, f"protect {path}")


def show(source: str, path: str, attributes: int = READ_ONLY | WITHOUT_SETUID | WITHOUT_DEVICES) -> None:
    """A file or folder of the machine's, at `path`."""
    if os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
    else:
        open(path, "a").close()
    check(LIBC.mount(source.encode(), path.encode(), None, MS_BIND | MS_REC, None), f"bind {source}")
    protect(path, attributes)


def build(layout: dict) -> None:
    """The root, in a folder of its own. `layout`: see `namespaces.layout`."""
    mount("tmpfs", ROOT, "mode=755,size=1m")
    for folder in (*layout["folders"], *layout["empty"]):
        os.makedirs(ROOT + folder, exist_ok=True)
    for source, path in layout["files"]:
        show(source, ROOT + path)
    for path in layout["hidden"]:
        mount("tmpfs", ROOT + path, "mode=755,size=4k")
        protect(ROOT + path, READ_ONLY)
    for path, target in layout["links"]:
        os.symlink(target, ROOT + path)
    for path in layout["devices"]:
        show(path, ROOT + path, READ_ONLY | WITHOUT_SETUID)
    mount("proc", f"{ROOT}/proc")
    protect(ROOT, READ_ONLY)


def enter() -> None:
    """The root becomes this process's, and nothing else is mounted any more."""
    os.chdir(ROOT)
    check(LIBC.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    check(LIBC.umount2(b".", MNT_DETACH), "umount of the machine's root")
    os.chdir("/")


if __name__ == "__main__":
    build(json.loads(sys.argv[1]))
    enter()
    os.execv(sys.argv[2], sys.argv[2:])
