"""The files of a comparison, read back."""

import csv
import json
import re

import pytest

from tests.unit.reporting.test_comparison import member, of_documents
from wmtp.reporting.comparison import STEPS, compare
from wmtp.reporting.comparison_page import draw, write


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    return [member(folder, "first"), member(folder, "second <b>", skill=0.5, overrides=[f"{STEPS}=600"])]


def test_all_files_are_there_and_say_what_was_compared(members, tmp_path):
    comparison = compare(members, {STEPS: [300, 600]}, 50)
    page = write(comparison, tmp_path / "out")
    text = page.read_text()
    assert {path.name for path in page.parent.iterdir()} == {
        *("index.html", "comparison.json", "comparison.csv", "comparison.md", "scores.svg", "curves.svg")
    }
    assert json.loads((page.parent / "comparison.json").read_text()) == comparison
    with (page.parent / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["experiment"], row["arm"], row[STEPS]) for row in rows] == [
        (name, arm, steps) for name, steps in (("first", "300"), ("second <b>", "600")) for arm in ("baseline", "rho1")
    ]
    assert "second &lt;b&gt;" in text and "<b>" not in text and text.count("<svg ") == 4
    assert "http" not in text
    for name in re.findall(r'<a href="([^"]+)"', text):
        assert (page.parent / name).exists(), name
    scores, curves = re.findall(r'aria-label="([^"]*)"', text)
    for row in comparison["rows"]:
        said = f"{row['arm']} {row['pass@1']['mean']:.3f} [{row['pass@1']['low']:.3f}, {row['pass@1']['high']:.3f}]"
        assert f"steps={(300, 600)[row['point']]}: {said}" in scores
        assert f"{said}, nll {row['nll']:.3f}" in curves
    assert text.count("<figure>") == 2 and text.count('class="sortable"') == 2
    assert [f'<p class="caveat">{said}</p>' in text for said in comparison["caveats"]] == [True, True]


def test_without_a_number_to_draw_against_there_are_no_curves(members):
    assert set(draw(compare(members, {"a": ["x", "y"]}, 20))) == {"scores"}


def test_of_documents_the_page_shows_the_nll_and_nothing_of_solving(tmp_path):
    members = [of_documents(tmp_path, "a"), of_documents(tmp_path, "b", f"{STEPS}=600", better=0.1)]
    page = write(compare(members, {STEPS: [300, 600]}, 50), tmp_path / "out")
    texts = [path.read_text() for path in sorted(page.parent.iterdir())]
    assert len(texts) == 6 and not [text for text in texts if "pass@1" in text or "solution" in text]
    assert "Held-out NLL, 95 % intervals over 40 documents" in (page.parent / "scores.svg").read_text()
    assert "bands 95 % over documents" in (page.parent / "curves.svg").read_text()
