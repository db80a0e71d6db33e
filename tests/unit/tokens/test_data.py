"""Opening, joining and padding of token tables, and going through one in order."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.tables import META, make_tables
from wmtp.errors import DataError
from wmtp.tokens.data import TokenData, TokenMeta, ahead, sequential_batches
from wmtp.tokens.tables import read_table, write_table
from wmtp.types import IGNORE_INDEX


@pytest.fixture
def folders(tmp_path):
    return make_tables(tmp_path)


@pytest.fixture
def data(folders):
    return TokenData.open(folders[0], "train", columns={"reference_nll": folders[1]})


def test_batches_hold_the_rows_tokens_labels_and_scores(data):
    batch = data.collate([3, 0], [0, 1])
    for i, row in enumerate([3, 0]):
        tokens = data.tokens[data.offsets[row] : data.offsets[row + 1]]
        n, prompt = len(tokens), data.prompt_lens[row]
        assert batch.input_ids[i, :n].tolist() == tokens.tolist() and (batch.input_ids[i, n:] == 0).all()
        assert (batch.labels_BT[i, :prompt] == IGNORE_INDEX).all() and (batch.labels_BT[i, n:] == IGNORE_INDEX).all()
        assert batch.labels_BT[i, prompt:n].tolist() == tokens[prompt:].tolist()
        scores = data.columns["reference_nll"][data.offsets[row] : data.offsets[row + 1]]
        np.testing.assert_array_equal(batch.columns["reference_nll"][i, :n], scores)


def test_padding_is_the_folders_own_token(folders):
    (folders[0] / "meta.json").write_text(json.dumps({**META, "pad_token_id": 7}))
    batch = TokenData.open(folders[0], "train").collate([3, 0, 5, 9], range(4))
    outside = np.arange(batch.input_ids.shape[1]) >= batch.lengths_B.numpy()[:, None]
    assert outside.any() and (batch.input_ids.numpy()[outside] == 7).all()


def test_sequential_batches_cover_every_row_and_every_rank_gets_as_many(data):
    for world_size in (1, 2, 3):
        parts = [list(sequential_batches(data, batch_tokens=60, rank=r, world_size=world_size)) for r in range(world_size)]
        assert len({len(part) for part in parts}) == 1
        seen = sorted(row for part in parts for batch in part for row in batch.rows_B.tolist() if row >= 0)
        assert seen == list(range(48))
        assert all(batch.input_ids.numel() <= 60 for part in parts for batch in part)


def test_the_next_one_is_begun_before_each_is_handed_out():
    seen = []
    for result in ahead(range(4), lambda item: seen.append(item) or -item):
        seen.append(f"got {result}")
    assert seen == [0, 1, "got 0", 2, "got -1", 3, "got -2", "got -3"]
    assert list(ahead([], str)) == [] and list(ahead([7], str)) == ["7"]


def test_a_batch_that_is_where_it_should_be_is_not_copied(data):
    batch = data.collate([3, 0], [0, 1])
    there = batch.to(torch.device("cpu"))
    assert there.input_ids is batch.input_ids and list(there.columns) == list(batch.columns)
    elsewhere = batch.to(torch.device("meta"))
    tensors = [value for value in (*vars(elsewhere).values(), *elsewhere.columns.values()) if isinstance(value, torch.Tensor)]
    assert len(tensors) == 7 + len(batch.columns) and all(tensor.is_meta for tensor in tensors)


def test_solutions_are_all_or_the_correct_or_the_wrong_ones(folders, data):
    correct, wrong = (TokenData.open(folders[0], "train", solutions=kind) for kind in ("correct", "wrong"))
    assert correct.is_correct[correct.selected].all() and not wrong.is_correct[wrong.selected].any()
    assert sorted([*correct.selected, *wrong.selected]) == data.selected.tolist() == list(range(48))
    seen = sorted(row for batch in sequential_batches(wrong, batch_tokens=60) for row in batch.rows_B.tolist())
    assert seen == wrong.selected.tolist()
    only_wrong = data.arrow.set_column(3, "is_correct", pa.array([False] * 48))
    write_table(folders[0] / "train.arrow", only_wrong)
    with pytest.raises(DataError, match=r"train\.arrow has no correct examples"):
        TokenData.open(folders[0], "train", solutions="correct")
    write_table(folders[0] / "train.arrow", only_wrong.slice(0, 0))
    with pytest.raises(DataError, match=r"train\.arrow has no examples"):
        TokenData.open(folders[0], "train")


def test_columns_of_other_data_or_without_a_file_are_refused(folders):
    folder, reference, _ = folders
    other = read_table(reference / "train.arrow").replace_schema_metadata({b"wmtp_fingerprint": b"other"})
    write_table(reference / "train.arrow", pa.table(other))
    with pytest.raises(DataError, match="another version"):
        TokenData.open(folder, "train", columns={"reference_nll": reference})
    with pytest.raises(DataError, match="does not exist"):
        TokenData.open(folder, "train", columns={"value": folder / "missing"})
    with pytest.raises(DataError, match="does not exist"):
        TokenData.open(folder, "other")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_place(folders, data, bad):
    folder, reference, _ = folders
    values = data.columns["reference_nll"].copy()
    values[data.offsets[5] + 2] = bad
    lists = pa.LargeListArray.from_arrays(pa.array(data.offsets), pa.array(values))
    table = pa.table({"reference_nll": lists}).replace_schema_metadata({b"wmtp_fingerprint": data.fingerprint})
    write_table(reference / "train.arrow", table)
    with pytest.raises(DataError, match=rf"reference_nll is {bad} at token 2 of row 5 \(1 of {len(values)} scores"):
        TokenData.open(folder, "train", columns={"reference_nll": reference})


def test_only_the_training_mix_is_ordered(folders):
    make_tables(folders[0].parent, name="reference")
    (folders[0] / "meta.json").write_text(json.dumps({**META, "is_ordered": True}))
    assert TokenData.open(folders[0], "train").is_ordered and not TokenData.open(folders[0], "reference").is_ordered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        (json.dumps({**META, "pad_token_id": "0"}), "pad_token_id is '0', not of type int"),
        (json.dumps({key: value for key, value in META.items() if key != "is_ordered"}), "is_ordered is None"),
    ],
)
def test_a_broken_meta_is_one_clear_line(folders, text, message):
    assert TokenMeta(**META) == TokenMeta.read(folders[0])
    (folders[0] / "meta.json").unlink()
    if text is not None:
        (folders[0] / "meta.json").write_text(text)
    with pytest.raises(DataError, match=rf"meta\.json:? {message}"):
        TokenMeta.read(folders[0])
