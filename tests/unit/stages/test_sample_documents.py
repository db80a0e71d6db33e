"""The whole stage on documents: every token is a document's, in rows that are nearly full; the same again, byte by byte."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.documents import write_documents
from tests.unit.stages.test_sample import run_stage
from wmtp.config import compose
from wmtp.examples.look import Look, look
from wmtp.ledger import Ledger
from wmtp.tokens.data import TokenData
from wmtp.tokens.tables import read_table
from wmtp.tokens.tokenizer import load_tokenizer

SIZES = {"num_reference_problems": 20, "num_validation_problems": 10, "max_length": 64}
SMALL = [f"data.{key}={value}" for key, value in SIZES.items()]
LEARNT = "data.tokenizer.vocab_size=300"


def made_of(request, folder, *overrides, out="data"):
    root = request.config.rootpath
    config = compose(root, "text", overrides=[f"data.train_path={folder / 'texts.jsonl'}", *SMALL, *overrides])
    return config, run_stage(root, config, folder / out)


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    texts = write_documents(folder / "texts.jsonl", 120)
    config, result = made_of(request, folder, LEARNT)
    return SimpleNamespace(config=config, result=result, folder=folder / "data", texts=texts)


def test_every_documents_tokens_are_there_once_in_parts_of_a_row_at_most(made):
    text, seen = load_tokenizer(made.folder / "tokenizer"), {}
    for use in ("train", "reference", "validation"):
        table = read_table(made.folder / f"{use}.arrow")
        parts = {}
        for row in table.to_pylist():
            assert len(row["input_ids"]) == sum(row["segment_lens"]) <= 64 and row["prompt_len"] == 0
            start = 0
            for size, number in zip(row["segment_lens"], row["segment_documents"], strict=True):
                parts.setdefault(number, []).append(row["input_ids"][start : start + size])
                start += size
        for number, pieces in parts.items():
            ids = text.encode_prompt(made.texts[number])
            whole = [[*ids, text.eos_token_id][i : i + 64] for i in range(0, len(ids) + 1, 64)]
            assert sorted(map(list, pieces)) == sorted(whole)
        assert not parts.keys() & seen.keys()
        seen |= parts
    assert len(seen) == 120


def test_the_ledger_tells_of_long_documents_and_shared_rows_and_the_metrics_of_real_tokens(made):
    counts, metrics = made.result.counts, made.result.metrics
    Ledger.from_counts(counts).check()
    assert counts["table/train/documents/kept"] == 90 and counts["table/train/pieces/made/more_of_long_documents"] > 10
    pieces = counts["table/train/pieces/kept"]
    assert pieces == 90 + counts["table/train/pieces/made/more_of_long_documents"]
    assert counts["table/train/rows/kept"] == pieces - counts["table/train/rows/dropped/share_a_row"] == metrics["train/rows"]
    assert 0.9 < metrics["train/valid_token_ratio"] <= 1 and metrics["train/documents"] == 90


def test_loaded_rows_keep_documents_apart_and_learn_every_token_but_the_first(made):
    data = TokenData.open(made.folder, "train")
    batch = data.collate(np.arange(6), np.arange(6))
    starts = batch.position_ids_BT == 0
    inside = batch.segment_ids_BT >= 0
    assert (starts & inside).sum() == sum(len(row["segment_lens"]) for row in data.arrow.slice(0, 6).to_pylist())
    assert (batch.labels_BT == batch.input_ids)[inside].all() and batch.lengths_B.max() <= 64


def test_the_same_documents_give_the_same_bytes_and_a_card_that_can_be_looked_at(made, request):
    made_of(request, made.folder.parent, LEARNT, out="again")
    again = made.folder.parent / "again"
    same = [
        path.relative_to(made.folder) for path in made.folder.rglob("*") if path.is_file() and path.parent.name != "tokenizer"
    ]
    assert len(same) == 13 and all((made.folder / name).read_bytes() == (again / name).read_bytes() for name in same)
    card, page = (made.folder.with_name("data-card") / name for name in ("README.md", "index.html"))
    card, page = card.read_text(), page.read_text()
    assert "share of the rows' room that is tokens" in card and "pieces of a row" in page and "## Labels" not in card
    place = read_table(made.folder / "train.arrow")["segment_places"][3].as_py()[0]
    shown = look(made.folder, Look(problem=place), colours=False)
    assert f"from {place}, " in shown and "train row 3" in shown
    assert "<boundary>" in look(made.folder, Look(examples=300), colours=False)


def test_conversations_are_learnt_from_where_the_assistant_speaks(request, tmp_path):
    from tests.unit.tokens.test_chat import save_chat_tokenizer

    save_chat_tokenizer(tmp_path / "tokenizer")
    rows = [
        [{"role": "user", "content": f"{i} + 1?"}, {"role": "assistant", "content": f"It is {i + 1}."}] * (1 + i % 2)
        for i in range(40)
    ]
    rows += [[{"role": "user", "content": "x " * 200}, {"role": "assistant", "content": "long"}], rows[0][:1]]
    rows += [[{"role": "user", "content": "<|end|>"}, {"role": "assistant", "content": "no"}], rows[0][1:]]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    changes = ("data.source=messages", f"data.tokenizer.path={tmp_path / 'tokenizer'}")
    _, result = made_of(request, tmp_path, *changes)
    dropped = {}
    for key, number in result.counts.items():
        if "/documents/dropped/" in key and key.startswith("table/"):
            reason = key.rpartition("/")[2]
            dropped[reason] = dropped.get(reason, 0) + number
    assert dropped == {"too_long": 1, "without_answer": 1, "special_token": 1, "begins_with_assistant": 1}
    text, data = load_tokenizer(tmp_path / "data/tokenizer"), TokenData.open(tmp_path / "data", "train")
    batch = data.collate(np.arange(len(data)), np.arange(len(data)))
    for ids, labels, segments in zip(batch.input_ids, batch.labels_BT, batch.segment_ids_BT, strict=True):
        for segment in set(segments.tolist()) - {-1}:
            learnt = text.decode(ids[(segments == segment) & (labels >= 0)].tolist())
            whole = text.decode(ids[segments == segment].tolist())
            number = int(whole.split("user\n")[1].split(" ")[0])
            assert learnt == f"It is {number + 1}.<|end|>\n" * (1 + number % 2), whole
