"""An arm looks the same in most reports, and no two arms of one report look alike."""

import itertools
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workspaces import PROJECT
from wmtp.reporting.style import BACKGROUND, GRID, TEXT, ArmStyle, arm_styles

ARMS = sorted(path.stem for path in (PROJECT / "configs/arms").glob("*.yaml"))
GREY = ArmStyle("#808080", "o", "", "-")


def alone(arm):
    return arm_styles([arm])[arm]


def test_the_baseline_is_grey_whatever_its_name_and_nothing_else_is():
    for baseline in ARMS:
        styles = arm_styles(ARMS[:8] if baseline in ARMS[:8] else [*ARMS[:7], baseline], baseline)
        assert [arm for arm, style in styles.items() if style == GREY] == [baseline]
    assert GREY not in arm_styles(ARMS).values()


@settings(max_examples=200, deadline=None)
@given(arms=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12, unique=True), order=st.randoms())
def test_up_to_eleven_arms_and_a_baseline_have_a_colour_a_marker_and_a_hatch_of_their_own(arms, order):
    styles = arm_styles(arms, arms[0])
    assert list(styles) == arms
    for channel in ("color", "marker", "hatch"):
        assert len({getattr(style, channel) for style in styles.values()}) == len(arms)
    shuffled = list(arms)
    order.shuffle(shuffled)
    assert arm_styles(shuffled, arms[0]) == styles, "whatever the order"


def test_up_to_33_arms_are_told_apart_without_colour_in_lines_and_in_bars_and_points_with_it():
    arms = [f"arm{i}" for i in range(34)]
    styles = arm_styles(arms, "arm33").values()
    for told in (
        [(style.marker, style.dash) for style in styles],
        [style.hatch for style in styles],
        [(style.color, style.marker) for style in styles],
    ):
        assert len(set(told)) == 34


def test_more_arms_than_looks_have_the_look_of_their_names():
    arms = [f"arm{i}" for i in range(60)]
    styles = arm_styles(arms)
    assert len(set(styles.values())) == 33
    late = sorted(arms)[-5:]
    assert all(styles[arm] == alone(arm) for arm in late), "all looks are taken by then"


def test_every_arm_of_the_project_is_told_apart():
    styles = arm_styles(ARMS, "baseline").values()
    assert len(ARMS) > 12 and len({style.hatch for style in styles}) == len(ARMS)


def test_a_name_decides_unless_an_earlier_one_wants_the_same():
    for one, other in itertools.permutations(ARMS, 2):
        styles = arm_styles([one, other])
        if alone(one) != alone(other) or one < other:
            assert styles[one] == alone(one)
        else:
            assert styles[one] != alone(one)
    assert len({alone(arm) for arm in ARMS}) > 5


def test_a_style_is_the_same_in_every_process():
    code = "from wmtp.reporting.style import arm_styles; print(arm_styles(['baseline', 'rho1', 'verifiable'], 'baseline'))"
    said = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{arm_styles(['baseline', 'rho1', 'verifiable'], 'baseline')}\n".encode()}


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """WCAG 2.1's contrast ratio."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def themes():
    """The page's text, background and grid: light, dark."""
    style = (PROJECT / "src/wmtp/reporting/templates/report.css").read_text()
    return list(zip(*(re.findall(rf"{name}: (#\w+)", style) for name in ("--text", "--bg", "--line")), strict=True))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_arms_can_be_seen_in_both_themes(theme):
    text, background, grid = themes()[theme]
    assert contrast(text, background) >= 7
    styles = arm_styles([f"arm{i}" for i in range(30)], "arm0").values()
    assert min(contrast(style.color, background) for style in styles) >= 2
    assert contrast(grid, background) < 2, "the grid stays behind"


def test_pictures_are_as_the_page_is_where_it_is_light():
    light, _ = themes()
    assert light == (TEXT, BACKGROUND, GRID)
