"""Range checks that name the key, the value and what is allowed."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from typing import Any

from wmtp.errors import ConfigError


def require(holds: bool, key: str, value: Any, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value!r} is not allowed: {allowed}")


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    require(value in allowed, key, value, "use one of " + ", ".join(allowed))


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Of an arm, a profile, or what stands beside them: names become stages, files and keys."""


MAX_SEED = 2**32 - 1
"""What every generator of numbers takes."""


def require_seed(key: str, value: int) -> None:
    require(0 <= value <= MAX_SEED, key, value, f"0 to {MAX_SEED}")


MAX_COUNT = 10**9
MAX_BYTES = 2**40
"""More can only be a mistyping, and would overflow somewhere on the way."""


def require_bounded(key: str, value: int) -> None:
    """Of whole numbers of any kind, which a key's last word tells; seeds have a range of their own."""
    word = key.rpartition(".")[2].rpartition("_")[2]
    most = {"bytes": MAX_BYTES, "seed": MAX_SEED, "upstream": MAX_SEED}.get(word, MAX_COUNT)
    require(value <= most, key, value, f"at most {most}")


def nearest(name: object, known: Iterable[str]) -> str:
    """`: did you mean X?` or the list of what is known."""
    known = sorted(known)
    if not known:
        return ": there are none"
    close = closest(name, known)
    return f": did you mean {close}?" if close else f": known are {', '.join(known)}"


def closest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The one of what is known that `name` may be a mistyping of; `cutoff`: how alike they are at least, of 1."""
    return next(iter(difflib.get_close_matches(str(name), sorted(known), n=1, cutoff=cutoff)), None)


def installing(extra: str) -> str:
    """The command that installs what one of the package's extras is made of, in a clone and out of it."""
    from importlib.metadata import requires

    marked = f'; extra == "{extra}"'
    wanted = [one.removesuffix(marked) for one in requires("wmtp") or () if one.endswith(marked)]
    return shlex.join(["pip", "install", *wanted])


def require_several(given: Any, name: str, kind: type) -> None:
    """Raises TypeError: no list (or array) of these; a text would be taken for its letters."""
    is_several = not isinstance(given, str) and hasattr(given, "__len__") and hasattr(given, "__iter__")
    if not is_several or not all(isinstance(one, kind) for one in given):
        raise TypeError(f"{name} must be a list of {kind.__name__}, not {type(given).__name__}: {given!r:.60}")
