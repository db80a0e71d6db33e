"""The page around the report's numbers: what is shown where, in which words, and that nothing in it is markup by accident."""

import re

import pytest

from tests.unit.reporting.artifacts import make_config, write_artifacts
from wmtp.reporting.collect import collect
from wmtp.reporting.figures import FIGURES
from wmtp.reporting.inputs import load_inputs
from wmtp.reporting.page import FIGURE_NOTES, by_split, count, duration, render_page, size


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root, config = tmp_path_factory.mktemp("page"), make_config(["baseline", "filtered", "verifiable"], [0])
    write_artifacts(root, config, num_tasks=12)
    return collect(load_inputs(config, root), config)


def pictures(layout, names=FIGURES):
    return {name: f'<svg width="1" viewBox="0 0 1 1"><text>{layout} {name}</text></svg>'.encode() for name in names}


def test_every_figure_has_a_note_and_is_shown_once_in_each_layout(report):
    assert FIGURE_NOTES.keys() == FIGURES.keys()
    page = render_page(report, pictures("wide"), pictures("narrow"))
    shown = re.findall(
        r'<div role="img" aria-label="[^"]+"><svg class="wide" viewBox="0 0 1 1"><text>wide (\w+)</text></svg>\n'
        r'<svg class="narrow" viewBox="0 0 1 1"><text>narrow (\w+)</text></svg></div>\n<figcaption>',
        page,
    )
    assert sorted(shown) == sorted((name, name) for name in FIGURES)


def test_a_figure_that_was_not_drawn_leaves_no_frame(report):
    page = render_page(report, pictures("wide", ["pass_at_1"]), pictures("narrow", ["pass_at_1"]))
    assert page.count("<figure>") == page.count('role="img"') == 1


def test_the_arms_scores_are_in_the_table_with_their_colours(report):
    page = render_page(report, {}, {})
    for entry in report["arms"].values():
        one = entry["pass_at_k"]["1"]
        assert f"<td>{one['mean']:.3f} [{one['low']:.3f},\u00a0{one['high']:.3f}]</td>" in page
    assert page.count('<i style="background: #808080"></i>baseline') >= 2
    assert "<th>minus baseline</th>" in page and "<th>minus baseline</th>" not in render_page(
        report | {"baseline": None, "findings": report["findings"] | {"arms": []}}, {}, {}
    )


def test_every_sentence_of_the_findings_is_on_the_page(report):
    page = render_page(report, {}, {}).replace("&#39;", "'")
    findings = report["findings"]
    texts = [text for group in ("pairs", "curves", "weights", "critic", "caveats") for text in findings[group]]
    assert len(texts) > 4 and [text for text in [*texts, findings["limits"]] if text not in page] == []


def test_tokens_of_models_are_text_and_coloured_by_their_weight(report):
    tokens = ["prompt", "<script>alert(1)</script>", "&amp;", "b"]
    example = {
        "tokens": tokens, "weights": {"verifiable": [None, 0.0, 1.0, 3.0]}, "is_noise": [False, True, False, False],
        "prompt_len": 1, "is_correct": False, "noise_kind": "comments",
    }  # fmt: skip
    page = render_page(report | {"examples": [example]}, {}, {})
    assert page.count("<script>") == 1 and "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "&amp;amp;" in page
    shown = dict(re.findall(r'<span class="(w\d[^"]*)"[^>]*>([^<]*)<sub>', page[page.index("&lt;script") - 200 :]))
    assert shown["w0 noise"] == "&lt;script&gt;alert(1)&lt;/script&gt;" and shown["w6"] == "b"
    assert "<h4>wrong solution</h4>" in page, "nothing says what is noise"
    marked = render_page(report | {"examples": [example]}, pictures("wide"), pictures("narrow"))
    assert "<h4>wrong solution, comments noise</h4>" in marked
    of_documents = report | {"examples": [example], "score": report["score"] | {"noun": "document"}}
    assert "<h4>document</h4>" in render_page(of_documents, {}, {})


def test_statistics_are_a_table_by_split():
    given = {"train/examples": 3, "train/noisy_frac": 0.5, "validation/examples": 2}
    assert by_split(given) == {"train": {"examples": 3, "noisy_frac": 0.5}, "validation": {"examples": 2}}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599, "59 min 59 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(None, "-"), (612 * 2**20, "612 MiB"), (2**30 - 1, "1024 MiB"), (2**30, "1.00 GiB"), (2**32, "4.00 GiB")],
)
def test_sizes(num_bytes, text):
    assert size(num_bytes) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ("abc", "abc"), (12345, "12,345"), (0.5, "0.500"), (3.0, "3"), (12345.6, "12,346"), (0, "0")],
)
def test_counts(value, text):
    assert count(value) == text


def test_a_weight_stands_beside_its_token_and_before_a_line_break(report):
    example = {
        "tokens": ["a", "b\n"], "weights": {"verifiable": [0.25, 1.5]}, "is_noise": [False, False],
        "prompt_len": 0, "is_correct": True, "noise_kind": "",
    }  # fmt: skip
    page = render_page(report | {"examples": [example]}, {}, {})
    assert ">a<sub>0.2</sub></span>" in page and "><sub>1.5</sub>b\n</span>" in page


def test_tables_lead_to_their_data_and_sort(report):
    page = render_page(report, {}, {})
    assert re.findall(r'<a href="(\w+\.csv)">', page) == ["arms.csv", "summary.csv", "curves.csv"]
    assert page.count("<table") == page.count('<table class="sortable"') > 4
