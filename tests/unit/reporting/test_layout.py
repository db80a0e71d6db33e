"""A page's figures on a phone: letters that can be read, nothing cut off, nothing wider than the screen."""

import itertools
import re

import matplotlib as mpl
import pytest

from tests.unit.reporting.artifacts import config_of_documents, make_config, write_artifacts, write_documents
from tests.unit.reporting.test_comparison import STEPS, member
from wmtp.reporting import comparison_page
from wmtp.reporting.collect import collect
from wmtp.reporting.comparison import compare
from wmtp.reporting.figures import FIGURES, draw_figures
from wmtp.reporting.inputs import load_inputs
from wmtp.reporting.layout import NARROW, WIDE, group_labels, new_figure, settings
from wmtp.reporting.page import render_page

mpl.use("Agg")
PHONE = 390
ARMS = ["baseline", "ntp", "filtered", "rho1", "verifiable", "random", "shuffled"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root, config = tmp_path_factory.mktemp("report"), make_config(ARMS, [0, 1, 2])
    write_artifacts(root, config, num_tasks=30)
    return collect(load_inputs(config, root), config)


@pytest.fixture(scope="module")
def of_documents(tmp_path_factory):
    root, config = tmp_path_factory.mktemp("documents"), config_of_documents([0, 1, 2])
    write_documents(root, config)
    return collect(load_inputs(config, root), config)


@pytest.fixture(scope="module")
def of_long_names(report):
    arms = {f"an_arm_with_a_long_name_{i}": report["arms"]["rho1"] for i in range(12)}
    return report | {"arms": report["arms"] | arms}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder, key = tmp_path_factory.mktemp("experiments"), "arms.rho1.weighting.keep_frac"
    members = [member(folder, name, overrides=[f"{STEPS}={steps}"]) for name, steps in (("first", 300), ("second", 600))]
    return [compare(members, differing, 20) for differing in ({STEPS: [300, 600]}, {STEPS: [1, 2], key: [0.4, 0.6]})]


@pytest.fixture(scope="module")
def pages(report, of_documents, comparison, tmp_path_factory):
    found = {}
    for name, one in (("report", report), ("of documents", of_documents)):
        found[name] = render_page(one, *(draw_figures(one, layout, "svg") for layout in (WIDE, NARROW)))
    found["comparison"] = comparison_page.write(comparison[0], tmp_path_factory.mktemp("page")).read_text()
    return found


def drawn(data):
    """Every figure of a report, or of comparisons, laid out on a phone."""
    with mpl.rc_context(settings(NARROW)):
        if isinstance(data, dict):
            made = [draw(data, NARROW) for draw in FIGURES.values()]
        else:
            made = [comparison_page._scores(one, NARROW) for one in data]
            made += [comparison_page._curves(one, NARROW) for one in data if one["axis"] is not None]
        for figure in (one for one in made if one is not None):
            figure.canvas.draw()
            yield figure
            mpl.pyplot.close(figure)


@pytest.mark.parametrize("name", ["report", "of_documents", "of_long_names", "comparison"])
def test_no_text_of_a_narrow_figure_is_cut_off_and_no_name_lies_on_another(request, name):
    number = 0
    for figure in drawn(request.getfixturevalue(name)):
        number += 1
        box = figure.get_tightbbox()
        assert box.x0 >= 0 and box.x1 <= figure.get_figwidth(), figure.axes[0].get_title()
        assert box.y0 >= 0 and box.y1 <= figure.get_figheight(), figure.axes[0].get_title()
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            labels = [one for one in axis.get_ticklabels() if one.get_rotation() == 0 and one.get_text()]
            shown = [one for one, at in zip(labels, axis.get_ticklocs(), strict=False) if low <= at <= high]
            for one, other in itertools.combinations(shown, 2):
                assert not one.get_window_extent().overlaps(other.get_window_extent()), (one.get_text(), other.get_text())
    assert number >= {"report": 8, "of_documents": 3, "of_long_names": 8, "comparison": 3}[name]


def test_panels_are_below_each_other_on_a_phone_and_beside_each_other_elsewhere(report):
    for layout, is_below in ((NARROW, True), (WIDE, False)):
        figure = FIGURES["weights"](report, layout)
        figure.canvas.draw()
        one, other = (axes.get_position() for axes in figure.axes)
        assert bool(one.y0 > other.y1) is is_below and bool(one.x1 < other.x0) is not is_below
        assert figure.get_figwidth() == layout.width
        mpl.pyplot.close(figure)


def test_names_of_groups_are_slanted_where_they_have_no_room():
    def angle(layout, names):
        figure, (axes,) = new_figure(layout, 3)
        group_labels(layout, axes, names)
        mpl.pyplot.close(figure)
        return axes.get_xticklabels()[0].get_rotation()

    long = [f"a long name {i}" for i in range(6)]
    assert angle(NARROW, ["head 0", "head 1"]) == angle(WIDE, long) == 0 < angle(NARROW, long)


def svgs(page):
    """(layout, SVG) of a page's figures, in order."""
    return re.findall(r'<svg class="(\w+)" (.*?</svg>)', page, re.DOTALL)


def room(page):
    """Pixels that a phone's page has beside its margins, as its style sheet says."""
    (margin,) = re.findall(r"main, footer { padding-left: ([\d.]+)rem; padding-right: \1rem; }", page)
    return PHONE - 2 * 16 * float(margin)


@pytest.mark.parametrize("name", ["report", "of documents", "comparison"])
def test_letters_of_every_figure_have_eleven_pixels_on_a_phone(pages, name):
    found = svgs(pages[name])
    assert [layout for layout, _ in found] == ["wide", "narrow"] * (len(found) // 2) and len(found) >= 4
    assert pages[name].count("<figure>") == len(found) // 2
    for layout, svg in found:
        (width,) = re.findall(r'viewBox="0 0 ([\d.]+) [\d.]+"', svg)
        assert float(width) == pytest.approx(72 * (NARROW if layout == "narrow" else WIDE).width)
        if layout == "narrow":
            sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg) + re.findall(r"font: ([\d.]+)px", svg)]
            assert len(sizes) >= svg.count("<text") > 5 and min(sizes) * room(pages[name]) / float(width) >= 11


@pytest.mark.parametrize("name", ["report", "of documents", "comparison"])
def test_a_screen_shows_one_layout_and_nothing_is_wider_than_a_phone(pages, name):
    style, body = re.search(r"<style>(.*?)</style>(.*)", pages[name], re.DOTALL).groups()
    limits = [16 * float(size) for size in re.findall(r"min-width: ([\d.]+)rem", style)]
    assert all(limit < room(pages[name]) for limit in limits) and not re.findall(r"(?<!-)width: [\d.]+(?:px|rem)", body)
    assert ".narrow, figure svg.narrow { display: none; }" in style.partition("@media screen and (max-width")[0]
    ((limit, rules),) = re.findall(r"@media screen and \(max-width: (\d+)rem\) {\n(.*?)\n}", style, re.DOTALL)
    assert 16 * int(limit) >= PHONE and ".wide, figure svg.wide { display: none; }" in rules
    assert re.search(r"figure svg\.narrow { display: block;", rules)
    assert "narrow" not in style.partition("@media print")[2], "on paper as in a window"
    tables = re.findall(r'(<div class="scroll">)?<table', body)
    assert tables and all(tables), "wide tables scroll, with a shade at the edge"


@pytest.mark.parametrize("name", ["report", "of documents", "comparison"])
def test_figures_of_one_page_do_not_share_ids_and_have_the_pages_colours(pages, name):
    everything = "".join(svg for _, svg in svgs(pages[name]))
    ids = re.findall(r' id="([^"]*)"', everything)
    assert len(set(ids)) == len(ids) > 0
    for layout, svg in svgs(pages[name]):
        used = set(re.findall(r'url\(#(\w+)\)|href="#(\w+)"', svg))
        assert {a or b for a, b in used} <= set(re.findall(r' id="([^"]*)"', svg)), layout
    for color in ("#1b1f24", "#ffffff", "#d9dde2"):
        assert color not in everything
    for of_page in ("--text", "--bg", "--line"):
        assert f"var({of_page})" in everything and re.search(rf"{of_page}: #", pages[name])
    assert "http" not in pages[name], "everything is in the page"


def test_the_scores_table_begins_with_what_matters_most(pages, report):
    first = {name: re.findall(r"<th[^>]*>([^<]*)</th>", page.partition('id="scores"')[2])[:4] for name, page in pages.items()}
    assert first["report"][:3] == ["arm", "pass@1", "minus baseline"]
    assert first["of documents"][:3] == ["arm", "nll head 0", "nats saved against baseline"]
    assert first["comparison"] == ["experiment", "arm", "pass@1", "minus its baseline"]
    row = re.search(r"</thead>.*?<tr>(.*?)</tr>", pages["comparison"], re.DOTALL).group(1)
    assert '<td class="wide">' in row and '<span class="narrow">' in row, "a phone has the arm below its experiment"
