"""One look per arm in every plot and on the page: colour-blind-safe (Okabe and Ito 2008), with a marker
(of points) or a hatch (of bars) as second channel."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

_LOOKS = (
    ("#2f7fd0", "P", "//"),
    ("#d55e00", "X", r"\\"),
    ("#009e73", "D", "xx"),
    ("#e69f00", "v", "////"),
    ("#cc79a7", "^", "--"),
    ("#56b4e9", "s", "++"),
    ("#8c6bb1", "<", "||"),
    ("#a6761d", ">", "xxxx"),
    ("#17a2a2", "p", "---"),
    ("#b2456e", "h", "|-"),
    ("#6b8e23", "*", "/-"),
)
_BASELINE = ("#808080", "o", "")


@dataclass(frozen=True)
class ArmStyle:
    color: str
    marker: str
    hatch: str


@dataclass(frozen=True)
class Theme:
    """Colours of everything that is not an arm."""

    name: str
    background: str
    text: str
    grid: str


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#d9dde2")
DARK = Theme("dark", "#181c21", "#e4e7eb", "#3a4149")


def arm_styles(arms: Iterable[str], baseline: str | None = None) -> dict[str, ArmStyle]:
    """A style per arm, grey for the baseline. Its name decides an arm's, so that it is the same in most reports; of arms that
    want the same one the first by name gets it, and the next ones look on from there."""
    arms = list(arms)
    looks: dict[str, tuple[str, str, str]] = {}
    for arm in sorted(arms):
        if arm == baseline:
            looks[arm] = _BASELINE
            continue
        start = zlib.crc32(arm.encode())
        wanted = [_LOOKS[(start + step) % len(_LOOKS)] for step in range(len(_LOOKS))]
        looks[arm] = next((look for look in wanted if look not in looks.values()), wanted[0])
    return {arm: ArmStyle(*looks[arm]) for arm in arms}
