"""The data card's numbers against the examples that the tables were made of."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.examples.folders import ELSEWHERE, NOISY, RIGHT, TRUSTED, write_folder
from wmtp.errors import DataError
from wmtp.examples.card import hashes, one_of_each, read_card, row_card
from wmtp.tokens.tables import read_table
from wmtp.tokens.tokenizer import load_tokenizer

EXAMPLES = (RIGHT, NOISY, ELSEWHERE, TRUSTED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("card"))


def test_a_table_is_counted_by_label_origin_outcome_noise_and_problem(folder):
    card = read_card(folder)
    train = card.tables[0]
    lengths = [len(row["input_ids"]) for row in read_table(folder / "train.arrow").to_pylist()]
    assert train.numbers == {
        "rows": 4,
        "problems": 3,
        "tokens": sum(lengths),
        "median tokens of a row": np.median(lengths),
        "right": 2,
        "wrong": 2,
        "wrong that were given as right": 1,
        "wrong that fail their first test": 1,
        "given labels that were run": 8,
        "share of these that were wrong": 0.125,
    }
    assert card.tables[1].numbers["given labels that were run"] is None
    assert train.outcomes == {
        ("right", "right", "passed"): 1,
        ("right", "right", "not run"): 1,
        ("wrong", "mutant", "wrong_answer"): 1,
        ("wrong", "right", "timeout"): 1,
    }
    assert train.noise == {"": 2, "comments": 1, "mismatched": 1}
    assert [table.name for table in card.tables] == ["train", "reference", "validation", "critic_validation"]
    assert [line.dropped for line in card.ledger] == [{"too_long": 2}]


def test_histograms_count_every_row_and_problem_once(folder):
    length, difficulty, rows = read_card(folder).tables[0].histograms
    assert sum(length.counts) == 4
    assert dict(zip(difficulty.labels, difficulty.counts, strict=True)) == {"3": 2, "unknown": 2}
    assert dict(zip(rows.labels, rows.counts, strict=True)) == {"1": 2, "2": 1}


def test_bars_of_many_values_are_ranges_that_hold_them(tmp_path):
    many = [replace(RIGHT, problem_id=str(i), difficulty=100 * i) for i in range(30)]
    histogram = read_card(write_folder(tmp_path, many)).tables[0].histograms[1]
    bounds = [tuple(map(int, label.split(" to "))) for label in histogram.labels]
    assert len(bounds) <= 21 and [b[0] for b in bounds[1:]] == [b[1] + 1 for b in bounds[:-1]]
    expected = [sum(low <= 100 * i <= high for i in range(30)) for low, high in bounds]
    assert list(histogram.counts) == expected and sum(expected) == 30


def test_the_bars_of_lengths_end_with_the_longest_row_however_long_one_may_be(tmp_path):
    rows = [replace(RIGHT, problem_id=str(i), code="x = 1\n" * (i + 1)) for i in range(20)]
    length = read_card(write_folder(tmp_path, rows)).tables[0].histograms[0]
    assert sum(length.counts) == 20 and length.counts[-1] > 0 and sum(count > 0 for count in length.counts) >= 7


@pytest.mark.parametrize("row", range(4))
def test_a_rows_segments_are_its_text_with_the_noise_where_it_was_put(folder, row):
    example = EXAMPLES[row]
    card = row_card(load_tokenizer(folder / "tokenizer"), read_table(folder / "train.arrow"), "train", row)
    texts = {kind: "".join(s.text for s in card.segments if s.kind == kind) for kind in ("prompt", "solution", "noise")}
    assert "".join(segment.text for segment in card.segments) == example.prompt + example.code + "<|eos|>"
    assert texts["prompt"] == example.prompt
    noise = "".join(example.code[start:stop] for start, stop in example.noise_spans)
    assert noise in texts["noise"] and len(texts["noise"]) <= len(noise) + 4  # a token may reach over the edge
    assert card.history["source_row"] == example.history.row and card.history["edit"] == example.history.edit


def test_examples_are_the_first_of_every_kind_clean_ones_first(folder):
    assert one_of_each(read_table(folder / "train.arrow")) == [0, 1, 2]
    assert [example.row for example in read_card(folder).examples] == [0, 1, 2]


def test_files_are_named_with_what_they_hold(folder, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.txt").write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert hashes(tmp_path, [tmp_path / "own" / "a.txt"]) == [("own/a.txt", 3, digest)]
    assert hashes(folder, [tmp_path / "own" / "a.txt"]) == [(str(tmp_path / "own" / "a.txt"), 3, digest)]
    card = read_card(folder)
    assert card.sources == (("f.jsonl", 10, "00ff"),)
    assert {name for name, _, _ in card.files} >= {"train.arrow", "meta.json", "tokenizer/tokenizer.json"}


def test_a_folder_that_lacks_a_table_is_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "validation.arrow").unlink()
    with pytest.raises(DataError, match=r"validation\.arrow does not exist"):
        read_card(tmp_path)
