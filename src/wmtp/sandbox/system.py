"""What of this machine a Python interpreter needs: all that a sandbox has of the machine's files."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXECUTABLE = Path(sys.base_prefix).resolve() / "bin" / f"python3.{sys.version_info.minor}"
NOT_OFFERED = ("_tkinter",)
"""Modules of the standard library's that need a screen, and half of a desktop's libraries."""
ASKED_LATE = "libgcc_s.so.1"
"""The C library loads it when the first thread is ended."""

_LOADED = """
import ctypes, sys
class Link(ctypes.Structure): pass
Link._fields_ = [("", ctypes.c_void_p), ("name", ctypes.c_char_p), (" ", ctypes.c_void_p), ("next", ctypes.POINTER(Link))]
for path in sys.argv[1:]:
    try: ctypes.CDLL(path)
    except OSError: pass
link, own = ctypes.POINTER(Link)(), ctypes.CDLL(None)
own.dlinfo.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
own.dlinfo(own._handle, 2, ctypes.byref(link))
while link:
    print(link.contents.name.decode())
    link = link.contents.next
"""
"""Loads the libraries that it is given, and prints the paths by which the loader found all that it has loaded (dlinfo(3))."""


@dataclass(frozen=True)
class System:
    """`files`: files and folders that keep their places, read-only. `hidden`: folders in them that look empty.

    `links`: symbolic links, and what they point to.
    """

    files: tuple[str, ...]
    hidden: tuple[str, ...]
    links: tuple[tuple[str, str], ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """Those to make for the files and links, outermost first."""
        made = [*self.files, *(link for link, _ in self.links)]
        return tuple(sorted({str(parent) for path in made for parent in Path(path).parents} - {"/"}))


_alone = threading.Lock()


def python_system() -> System:
    """The interpreter without its site-packages, the shared libraries that it loads, and the time zones."""
    with _alone:  # workers start side by side, and sysconfig is half read to a second thread
        return _found()


@functools.cache
def _found() -> System:
    scheme = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
    library = {Path(sysconfig.get_path(name, "posix_prefix", scheme)).resolve() for name in ("stdlib", "platstdlib")}
    modules = [path for folder in library for path in sorted((folder / "lib-dynload").glob("*.so"))]
    offered = [path for path in modules if not path.name.startswith(NOT_OFFERED)]
    zones = [path for path in sysconfig.get_config_var("TZPATH").split(os.pathsep) if Path(path).is_dir()]
    outermost = {str(path) for path in library if not any(other in path.parents for other in library)}
    files = {str(EXECUTABLE), *outermost, *libraries_of(offered), *zones[:1]}
    packages = [folder / name for folder in library for name in ("site-packages", "dist-packages")]
    return System(tuple(sorted(files)), tuple(str(path) for path in packages if path.is_dir()), _links(files))


def libraries_of(modules: Sequence[Path]) -> tuple[str, ...]:
    """The shared libraries that the interpreter has loaded with these modules, by the paths that the loader looks for.

    Args:
        modules: shared objects; they are loaded by a process of its own.
    """
    command = [str(EXECUTABLE), "-I", "-S", "-B", "-c", _LOADED, ASKED_LATE, *map(str, modules)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    paths = [Path(name).parent.resolve() / Path(name).name for name in loaded if name.startswith("/")]
    return tuple(sorted({str(path) for path in paths} - {str(Path(module).resolve()) for module in modules}))


def _links(files: set[str]) -> tuple[tuple[str, str], ...]:
    """Folders of the root's that are links into /usr, and the names that programs call the interpreter by."""
    root = tuple((path, os.readlink(path)) for path in ("/bin", "/lib", "/lib32", "/lib64") if Path(path).is_symlink())
    names = (f"/usr/bin/{name}" for name in ("python3", EXECUTABLE.name))
    return (*root, *((name, str(EXECUTABLE)) for name in names if name not in files))
