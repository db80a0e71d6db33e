"""Range checks that name the key, the value and what is allowed."""

from __future__ import annotations

from typing import Any

from wmtp.errors import ConfigError


def require(holds: bool, key: str, value: Any, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value!r} is not allowed: {allowed}")


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    require(value in allowed, key, value, "use one of " + ", ".join(allowed))
