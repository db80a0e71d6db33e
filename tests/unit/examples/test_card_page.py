"""The card's page: numbers, noise in colour, and data that is no markup."""

from tests.unit.examples.folders import write_folder
from wmtp.examples.card import read_card
from wmtp.examples.card_page import render_card, write_card


def test_the_page_shows_noise_in_its_colour_and_texts_as_texts(tmp_path):
    page = render_card(read_card(write_folder(tmp_path)))
    assert '<span class="noise"># &lt;b&gt;hi&lt;/b&gt;' in page and "<b>hi</b>" not in page
    assert '<span class="prompt"># Add.' in page


def test_the_page_has_the_cards_numbers(tmp_path):
    card = read_card(write_folder(tmp_path))
    page = render_card(card)
    for table in card.tables:
        for histogram in table.histograms:
            assert f"<h4>{histogram.title}</h4>" in page
    for name, size, digest in (*card.files, *card.sources):
        assert f'<tr><th>{name}</th><td>{size:,}</td><td class="left hash">{digest}</td></tr>' in page
    assert "<td>0.1250</td>" in page and '<td class="left">too long</td><td>2</td>' in page
    assert "HumanEval/3 (h.jsonl, row 4)" in page
    most = max(card.tables[0].histograms[1].counts)
    assert page.count('style="width: 100.0%"') >= 1 and f"<span>{most}</span>" in page


def test_the_card_of_the_same_folder_is_the_same_bytes_again_and_again(tmp_path):
    folder, out = write_folder(tmp_path / "data"), tmp_path / "card"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_card(folder, out)
    first = [(out / name).read_bytes() for name in ("README.md", "index.html")]
    write_card(folder, out)
    assert [(out / name).read_bytes() for name in ("README.md", "index.html")] == first
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before, "the card lies beside the data"
