"""One look per arm in every plot and on the page: colour-blind-safe (Okabe and Ito 2008), with a marker as second channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_KNOWN = {
    "baseline": ("#808080", "o"),
    "ntp": ("#56b4e9", "s"),
    "filtered": ("#009e73", "D"),
    "random": ("#e69f00", "v"),
    "shuffled": ("#cc79a7", "^"),
    "rho1": ("#2f7fd0", "P"),
    "verifiable": ("#d55e00", "X"),
}
_OTHERS = (("#8c6bb1", "<"), ("#a6761d", ">"), ("#17a2a2", "p"), ("#b2456e", "h"), ("#6b8e23", "*"))


@dataclass(frozen=True)
class ArmStyle:
    color: str
    marker: str


@dataclass(frozen=True)
class Theme:
    """Colours of everything that is not an arm."""

    name: str
    background: str
    text: str
    grid: str


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#d9dde2")
DARK = Theme("dark", "#181c21", "#e4e7eb", "#3a4149")


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """A style per arm; known arms keep theirs in every report, others share what is left in alphabetical order."""
    arms = list(arms)
    others = sorted(arm for arm in arms if arm not in _KNOWN)
    looks = {arm: _OTHERS[index % len(_OTHERS)] for index, arm in enumerate(others)}
    return {arm: ArmStyle(*(_KNOWN[arm] if arm in _KNOWN else looks[arm])) for arm in arms}
