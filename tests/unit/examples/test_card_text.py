"""The card's Markdown: every part is there, tables are tables, and no text ends its block early."""

from tests.unit.examples.folders import write_folder
from wmtp.examples.card import Histogram, read_card
from wmtp.examples.card_text import card_text, fenced, figure, histogram_text, history_lines, row_text


def test_what_was_dropped_the_hashes_and_the_label_error_are_in_tables_of_even_width(tmp_path):
    text = card_text(read_card(write_folder(tmp_path)))
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({len(line) for line in lines}) == 1 for lines in tables)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for lines in tables for line in lines]
    assert ["table/train solutions", "too long", "2"] in cells
    assert ["f.jsonl", "10", "00ff"] in cells
    assert ["contaminated", "overlap", "1"] in cells
    assert ["python3", "2", "1", "1", "1"] in cells and ["not said", "2", "0", "0", "0"] in cells
    assert ["d (f.jsonl, row 9)", "overlap", "0.75", "HumanEval/3 (h.jsonl, row 4)"] in cells
    assert ["share of these that were wrong", "0.1250", "-", "-", "-"] in cells


def test_a_row_tells_its_history_and_marks_its_noise(tmp_path):
    clean, noisy, elsewhere = read_card(write_folder(tmp_path)).examples
    assert history_lines(clean) == [
        "from f.jsonl, row 4, solutions[2], python3",
        "given as right",
        "noise: none",
        "ran: passed after 2 tests passed",
        f"label: right; difficulty 3; {clean.num_tokens} tokens",
    ]
    assert history_lines(elsewhere)[0] == "from f.jsonl, row 5, solutions[0]"
    assert history_lines(noisy)[1] == "made wrong by an edit (operator)"
    assert history_lines(elsewhere)[2] == "noise: mismatched, the text is c's"
    assert "<noise># <b>hi</b>" in row_text(noisy) and "<noise>" not in row_text(clean)


def test_a_block_is_not_ended_by_what_is_in_it():
    text = "a\n```\n````\nb"
    lines = fenced(text).splitlines()
    assert lines[0] == lines[-1] == "`````" and lines[1:-1] == text.splitlines()


def test_bars_are_as_long_as_their_share_and_never_vanish():
    text = histogram_text(Histogram("t", ("a", "bb", "c"), (400, 1, 0)))
    assert text == "t\n a 400 " + "#" * 40 + "\nbb   1 #\n c   0"


def test_figures():
    assert [figure(value) for value in (None, 1234567, 3.0, 0.125)] == ["-", "1,234,567", "3", "0.1250"]
