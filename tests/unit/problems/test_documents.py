"""Documents and conversations are read as they stand; a row that is none is named with file, row and field."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wmtp.errors import DataError
from wmtp.problems.documents import Document, read_documents
from wmtp.problems.files import Reading

TALK = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


def lines(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def test_a_text_column_is_read_from_lines_and_tables_with_its_place(tmp_path):
    jsonl = lines(tmp_path / "a.jsonl", [{"text": "one\r\n  two ", "url": "x"}, {"text": ""}])
    pq.write_table(pa.table({"body": ["eins", "zwei"]}), tmp_path / "b.parquet")
    assert list(read_documents(jsonl, "text", "text", Reading())) == [
        Document(f"{jsonl}:1", "one\r\n  two "),
        Document(f"{jsonl}:2", ""),
    ]
    table = tmp_path / "b.parquet"
    assert [each.text for each in read_documents(str(table), "text", "body", Reading())] == ["eins", "zwei"]
    assert [each.place for each in read_documents(str(table), "text", "body", Reading())][1] == f"{table}: row 1"


def test_messages_are_roles_and_contents_of_lines_and_tables(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"messages": TALK}])
    pq.write_table(pa.table({"messages": [TALK]}), tmp_path / "b.parquet")
    for file in (path, str(tmp_path / "b.parquet")):
        (document,) = read_documents(file, "messages", "messages", Reading())
        assert list(document.messages) == TALK and document.content == "user\n2 + 2?\n\nassistant\n4"


def test_the_same_content_has_one_digest_wherever_it_stands():
    same, other = Document("a:1", "x"), Document("a:3", "y")
    assert same.digest == Document("b:2", "x").digest != other.digest
    talk = Document("a:1", messages=tuple(TALK))
    assert talk.digest == Document("b:1", messages=tuple(dict(one) for one in TALK)).digest
    assert talk.digest != Document("a:1", messages=tuple(reversed(TALK))).digest


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        ("text", {"body": "x"}, "field 'text' is missing; the record has body"),
        ("text", {"text": None}, "field 'text' must be str, found NoneType"),
        ("text", '{"text": "a\\ud800"}', "field 'text' holds '\\\\ud800', half of a character"),
        ("messages", {"messages": []}, "field 'messages' holds no message"),
        ("messages", {"messages": ["hi"]}, r"messages\[0\] must be an object with role and content"),
        ("messages", {"messages": [{"from": "human", "value": "hi"}]}, r"messages\[0\]: field 'role' is missing"),
        (
            "messages",
            {"messages": [{"role": "human", "content": "hi"}]},
            r"messages\[0\]: role 'human' is none of system, user",
        ),
        ("messages", {"messages": [TALK[0], {**TALK[1], "tool_calls": [1]}]}, r"messages\[1\] has tool_calls beside role and"),
    ],
)
def test_a_row_that_is_none_is_named_and_counted_where_some_may_be_so(tmp_path, kind, row, says):
    good = {"text": "fine", "messages": TALK}
    path = lines(tmp_path / "a.jsonl", [good, row, good])
    with pytest.raises(DataError, match=rf"^{path}:2: .*{says}" if "[" not in says else rf"^{path}:2: {says}"):
        list(read_documents(path, kind, kind, Reading()))
    reading = Reading(max_bad_frac=0.5)
    assert len(list(read_documents(path, kind, kind, reading))) == 2 and len(reading.bad_rows) == 1
