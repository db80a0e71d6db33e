"""What the files that one chooses from say of themselves: the first comment line of each, by its name."""

from __future__ import annotations

from pathlib import Path

from wmtp.errors import ConfigError


def headlines(root: Path, kind: str) -> dict[str, str]:
    """Of every file in configs/`kind`.

    Args:
        root: the workspace; kind: `arms`, `profiles` or `launch`.
    Returns:
        "" for a file that does not begin with a comment.
    Raises:
        ConfigError: there is no such file.
    """
    found = {}
    for path in sorted((root / "configs" / kind).glob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        found[path.stem] = first.removeprefix("#").strip() if first.startswith("#") else ""
    if not found:
        raise ConfigError(f"configs/{kind} holds no .yaml file")
    return found
