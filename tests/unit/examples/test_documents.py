"""No document is in two uses or twice in one, none holds a benchmark's problem, and the choice hangs on content alone."""

import json
import random

import pytest

from tests.documents import write_documents
from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.errors import DataError
from wmtp.examples.documents import USES, load_corpus
from wmtp.ledger import Ledger

STATEMENT = "Given an array of n integers find the longest run of equal neighbours and print its first place and its length"


def config(**changes):
    plain = {"source": "text", "train_path": "train.jsonl", "noise": NoiseConfig(frac=0.0), "pairwise": False}
    sizes = {"num_problems": None, "num_reference_problems": 5, "num_validation_problems": 4, "mutants_per_solution": 0}
    return DataConfig(**{**plain, **sizes, **changes})


def corpus(root, **changes):
    ledger = Ledger()
    found = load_corpus(config(**changes), root, ledger)
    ledger.check()
    return found, ledger.counts()


def texts(found, use):
    return [document.text for _, document in found.documents(use)]


def test_the_training_file_serves_all_uses_and_none_shares_a_document(tmp_path):
    written = write_documents(tmp_path / "train.jsonl", 30)
    found, counts = corpus(tmp_path)
    parts = {use: texts(found, use) for use in USES}
    assert {use: len(part) for use, part in parts.items()} == {"train": 21, "reference": 5, "validation": 4}
    assert sorted(each for part in parts.values() for each in part) == sorted(written)
    assert [found.number(use) for use in USES] == [21, 5, 4]
    for use, kept in (("train", 21), ("reference", 5), ("validation", 4)):
        assert counts[f"split/{use}/documents/read"] == 30 and counts[f"split/{use}/documents/kept"] == kept
    places = [document.place for _, document in found.documents("train")]
    assert all(place.startswith("train.jsonl:") for place in places)
    assert [written[number] for number, _ in found.documents("train")] == parts["train"]


def test_files_of_their_own_serve_their_uses_and_what_they_hold_is_not_trained_on(tmp_path):
    train = write_documents(tmp_path / "train.jsonl", 20)
    held, clean = write_documents(tmp_path / "held.jsonl", 6, seed=1), write_documents(tmp_path / "clean.jsonl", 3, seed=2)
    with (tmp_path / "train.jsonl").open("a") as file:
        for each in (held[0], clean[1], train[7], "  \n"):
            file.write(json.dumps({"text": each}) + "\n")
    with (tmp_path / "clean.jsonl").open("a") as file:
        file.write(json.dumps({"text": held[2]}) + "\n")
    found, counts = corpus(tmp_path, validation_path="held.jsonl", reference_path="clean.jsonl")
    assert texts(found, "train") == train and sorted(texts(found, "reference")) == sorted(clean)
    assert len(texts(found, "validation")) == 4 and set(texts(found, "validation")) < set(held)
    wanted = {"empty": 1, "in_validation": 1, "in_reference": 1, "duplicate": 1, "bad_row": 0}
    assert {f"source/train/documents/dropped/{reason}": number for reason, number in wanted.items()}.items() <= counts.items()
    assert counts["source/reference/documents/dropped/in_validation"] == 1


def test_order_appended_rows_and_shards_change_no_choice(tmp_path):
    write_documents(tmp_path / "train.jsonl", 40)
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    before, _ = corpus(tmp_path)
    random.Random(3).shuffle(lines)
    (tmp_path / "shards").mkdir()
    for part in range(2):
        (tmp_path / f"shards/train-{part:05}-of-00002.jsonl").write_text("\n".join(lines[part::2]) + "\n")
    after, _ = corpus(tmp_path, train_path="shards")
    assert {use: sorted(texts(before, use)) for use in USES} == {use: sorted(texts(after, use)) for use in USES}
    other, _ = corpus(tmp_path, seed=1)
    assert sorted(texts(other, "validation")) == sorted(texts(before, "validation"))
    assert sorted(texts(other, "reference")) != sorted(texts(before, "reference"))


def test_a_document_that_holds_a_benchmarks_problem_is_removed_and_named(tmp_path):
    written = write_documents(tmp_path / "train.jsonl", 12)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps({"text": f"{written[0]} Exercise. {STATEMENT.upper()}. {written[1]}"}) + "\n")
    problem = {"problem_id": "p1", "prompt": STATEMENT, "tests": [{"stdin": "", "stdout": "1"}]}
    (tmp_path / "benchmark.jsonl").write_text(json.dumps(problem) + "\n")
    found, counts = corpus(tmp_path, benchmarks=["jsonl:benchmark.jsonl"])
    assert counts["source/train/documents/dropped/contaminated"] == 1
    (removed,) = found.removed
    assert (removed.row, removed.how, removed.because) == (13, "overlap", "p1")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_validation_problems": 31}, r"data.num_validation_problems=31, but .*train.jsonl has 30 documents for it"),
        ({"num_reference_problems": 27}, r"data.num_reference_problems=27, but .*train.jsonl has 26 documents for it"),
        ({"num_problems": 22}, r"data.num_problems=22, but .*train.jsonl leaves 21: use null for all"),
        ({"text_field": "body"}, r"field 'body' is missing; the record has text, url"),
    ],
)
def test_what_a_file_does_not_have_is_said_in_one_line(tmp_path, changes, says):
    write_documents(tmp_path / "train.jsonl", 30)
    with pytest.raises(DataError, match=says):
        corpus(tmp_path, max_bad_frac=0.0, **changes)


def test_broken_rows_are_counted_up_to_their_share(tmp_path, capsys):
    write_documents(tmp_path / "train.jsonl", 30)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write("{not json\n")
    found, counts = corpus(tmp_path, max_bad_frac=0.05)
    assert counts["source/train/documents/dropped/bad_row"] == 1 and found.number("train") == 21
    assert "train.jsonl:31: not valid JSON" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"1 of 31 rows are no problems"):
        corpus(tmp_path, max_bad_frac=0.001)


def copies(text, number):
    """The text with a few of its words changed, each time others."""
    made = []
    for i in range(number):
        words = text.split()
        for _ in range(2):
            words[random.Random(f"{i} {text}").randrange(len(words))] = f"changed{i}"
        made.append(" ".join(words))
    return made


def write(path, texts):
    path.write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))


def test_near_duplicates_go_and_which_one_stays_does_not_hang_on_their_order(tmp_path):
    originals = write_documents(tmp_path / "train.jsonl", 30, least=60, most=90)
    everything = [*originals, *(copy for text in originals[:10] for copy in copies(text, 3))]
    kept = []
    for order in (everything, everything[::-1]):
        write(tmp_path / "train.jsonl", order)
        found, counts = corpus(tmp_path, max_similarity=0.7)
        assert counts["source/train/documents/dropped/near_duplicate"] == 30
        kept.append(sorted(each for use in USES for each in texts(found, use)))
        assert len(found.removed) == 30 and {each.reason for each in found.removed} == {"near_duplicate"}
        for each in found.removed:
            gone, stays = (order[row - 1] for row in (each.row, each.because_row))
            assert (each.file, each.because_file) == ("train.jsonl", "train.jsonl")
            assert len(set(gone.split()) & set(stays.split())) > 10 and stays in kept[-1] and gone not in kept[-1]
    assert kept[0] == kept[1] and len(kept[0]) == 30
    assert "source/train/documents/dropped/near_duplicate" not in corpus(tmp_path)[1]


def test_what_is_like_a_held_out_document_is_not_trained_on_and_held_out_ones_stay(tmp_path):
    held = write_documents(tmp_path / "held.jsonl", 6, seed=1, least=60, most=90)
    write(tmp_path / "held.jsonl", [*held, *copies(held[0], 1)])
    originals = write_documents(tmp_path / "train.jsonl", 12, least=60, most=90)
    write(tmp_path / "train.jsonl", [*originals, *(copies(text, 2)[1] for text in held)])
    found, counts = corpus(tmp_path, max_similarity=0.7, validation_path="held.jsonl")
    assert counts["source/train/documents/dropped/near_duplicate"] == 6
    assert counts["source/validation/documents/kept"] == 7
    assert {each.because_file for each in found.removed} == {"held.jsonl"}
    assert set(texts(found, "train")) | set(texts(found, "reference")) == set(originals)
