"""One look per arm in every plot and on the page: colour-blind-safe (Okabe and Ito 2008), and told apart without colour too:
points and lines by marker and dash, bars by their hatch."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

_FIRST = (
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
_ROUNDS = (("-", ""), ("--", "OO"), (":", "**"))
"""Dash, and what a hatch has besides: the colours' first time, second and third."""


@dataclass(frozen=True)
class ArmStyle:
    color: str
    marker: str
    hatch: str
    dash: str


_BASELINE = ArmStyle("#808080", "o", "", "-")
_LOOKS = tuple(
    tuple(
        ArmStyle(color, marker, hatch + besides, dash)
        for (color, _, _), (_, marker, hatch) in zip(_FIRST, _FIRST[4 * turn :] + _FIRST[: 4 * turn], strict=True)
    )
    for turn, (dash, besides) in enumerate(_ROUNDS)
)
"""By round: a colour that comes again has another marker, dash and hatch."""


TEXT, BACKGROUND, GRID = "#1b1f24", "#ffffff", "#d9dde2"
"""Of everything that is not an arm, in pictures; a page has them in its own colours, light or dark (templates/report.css)."""


def arm_styles(arms: Iterable[str], baseline: str | None = None) -> dict[str, ArmStyle]:
    """A style per arm, grey for the baseline. Its name decides an arm's, so that it is the same in most reports; of arms that
    want the same one the first by name gets it, and the next ones look on from there, in the next round where all are taken.
    """
    arms = list(arms)
    looks: dict[str, ArmStyle] = {}
    for arm in sorted(arms):
        if arm == baseline:
            looks[arm] = _BASELINE
            continue
        start = zlib.crc32(arm.encode())
        wanted = [turn[(start + step) % len(turn)] for turn in _LOOKS for step in range(len(turn))]
        looks[arm] = next((look for look in wanted if look not in looks.values()), wanted[0])
    return {arm: looks[arm] for arm in arms}
