"""Records of every format and folder read alike, and errors that name file, line and field."""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.sandbox.identities import IDENTITIES, become
from tests.unit.tasksets.records import lines
from wmtp.errors import DataError
from wmtp.problems.records import (
    Notes,
    known_rating,
    place_of,
    read_records,
    read_rows,
    take,
    take_or_null,
    take_strings,
    unix_newlines,
    version_of,
)
from wmtp.tasksets import load_problems

RECORDS = [{"id": number, "text": f"λ {number}", "parts": ["a", str(number)]} for number in range(150)]
MBPP = {"task_id": 1, "text": "Add.", "code": "def add(a, b):\n\treturn a + b", "test_list": ["assert add(1, 2) == 3"]}


def zstd(data):
    """Packed in two frames, as parallel packers do it."""
    sink = pa.BufferOutputStream()
    for part in (data[:99], data[99:]):
        frame = pa.BufferOutputStream()
        with pa.CompressedOutputStream(frame, "zstd") as out:
            out.write(part)
        sink.write(frame.getvalue())
    return sink.getvalue().to_pybytes()


def write(path, records):
    """In the format of the path's ending."""
    if path.suffix == ".jsonl":
        lines(path, *records)
    elif path.suffix in (".gz", ".zst", ".json"):
        is_list = ".json" in path.suffixes
        text = json.dumps(records) if is_list else "".join(json.dumps(record) + "\n" for record in records)
        path.write_bytes({".gz": gzip.compress, ".zst": zstd}.get(path.suffix, bytes)(text.encode()))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path, row_group_size=40)
    else:
        table = pa.Table.from_pylist(records)
        new = pa.ipc.new_stream if "stream" in path.stem else pa.ipc.new_file
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=100)


NAMES = ["r.jsonl", "r.jsonl.gz", "r.jsonl.zst", "r.json", "r.json.gz", "r.json.zst", "r.parquet", "file.arrow", "stream.arrow"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_records_and_says_where_each_is(tmp_path, name):
    write(tmp_path / name, RECORDS)
    found = list(read_records(str(tmp_path / name)))
    assert [record for _, record in found] == RECORDS
    first, last = (":1", ":150") if name.startswith("r.jsonl") else (": row 0", ": row 149")
    assert [found[0][0], found[149][0]] == [f"{tmp_path / name}{first}", f"{tmp_path / name}{last}"]


def test_a_folder_is_its_files_by_name_and_nothing_else_in_it(tmp_path):
    write(tmp_path / "b.jsonl", RECORDS[:2])
    write(tmp_path / "a.parquet", RECORDS[2:4])
    write(tmp_path / "c.jsonl.gz", RECORDS[4:6])
    write(tmp_path / "d.jsonl.zst", RECORDS[6:8])
    write(tmp_path / "e.json.gz", RECORDS[8:9])
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / "dataset_info.json").write_text("{}")  # what stands beside a hub's tables describes them
    assert [record for _, record in read_records(str(tmp_path))] == RECORDS[2:4] + RECORDS[:2] + RECORDS[4:8]


def test_a_version_is_what_the_files_hold_however_they_are_packed(tmp_path):
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        write(tmp_path / name, RECORDS)
    expected = hashlib.md5((tmp_path / "a.jsonl").read_bytes()).hexdigest()
    found = [version_of(str(tmp_path / name)) for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst")]
    assert found == [{"name": name, "md5": expected} for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst")]
    (tmp_path / "README.md").write_text("not data")
    folder = version_of(str(tmp_path))
    write(tmp_path / "a.jsonl", RECORDS[1:])
    assert version_of(str(tmp_path)) != folder and version_of(str(tmp_path / "a.jsonl"))["md5"] != expected
    assert version_of("owner/name:main:test@v1") == {"name": "owner/name:main:test@v1"}


def test_a_packed_zstd_file_that_is_broken_is_named(tmp_path):
    write(tmp_path / "r.jsonl.zst", RECORDS)
    whole = (tmp_path / "r.jsonl.zst").read_bytes()
    for broken in (whole[:-9], b"plain text"):
        (tmp_path / "r.jsonl.zst").write_bytes(broken)
        with pytest.raises(DataError, match=r"r\.jsonl\.zst cannot be unpacked"):
            list(read_records(str(tmp_path / "r.jsonl.zst")))


def test_what_cannot_be_a_record_stands_in_its_row_and_the_rest_is_read(tmp_path):
    path = lines(tmp_path / "r.jsonl", {"a": 1}, "{broken", "[" * 200_000, '"x"', "1" * 5000, {"a": 2})
    rows = list(read_rows(path))
    assert [record for _, record in rows if not isinstance(record, DataError)] == [{"a": 1}, {"a": 2}]
    assert [where for where, record in rows if isinstance(record, DataError)] == [f"{path}:{n}" for n in (2, 3, 4, 5)]
    assert all(str(record).startswith(f"{where}: ") for where, record in rows if isinstance(record, DataError))
    with pytest.raises(DataError, match=r"r\.jsonl:2: not valid JSON"):
        list(read_records(path))


@pytest.mark.parametrize("name", ["r.parquet", "r.arrow"])
def test_bytes_that_are_no_text_are_named_with_row_and_field(tmp_path, name):
    texts = [b"plain", "ζ".encode(), b"na\xefve", b"plain"] * 20
    column = pa.array(texts, pa.binary()).view(pa.string())  # as a writer that does not check them has it
    table = pa.table({"id": list(range(80)), "text": column})
    if name == "r.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_file(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    rows = list(read_rows(str(tmp_path / name)))
    broken = [(where, str(record)) for where, record in rows if isinstance(record, DataError)]
    assert len(rows) == 80 and len(broken) == 20
    where = f"{tmp_path / name}: row 2"
    assert broken[0][0] == where and broken[0][1].startswith(f"{where}: field 'text' is not UTF-8 text")
    assert rows[78][0] == f"{tmp_path / name}: row 78" and rows[77][1] == {"id": 77, "text": "ζ"}


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "r.parquet").write_bytes(b"PAR1, or so it says")
    with pytest.raises(DataError, match=r"r\.parquet cannot be read: "):
        list(read_records(str(tmp_path / "r.parquet")))


def test_a_packed_file_that_is_cut_off_and_a_json_file_that_is_no_list_are_named(tmp_path):
    write(tmp_path / "r.jsonl.gz", RECORDS)
    whole = (tmp_path / "r.jsonl.gz").read_bytes()
    for broken in (whole[:-9], b"plain text", whole[:20] + b"\0\1" + whole[22:]):
        (tmp_path / "r.jsonl.gz").write_bytes(broken)
        with pytest.raises(DataError, match=r"r\.jsonl\.gz cannot be unpacked"):
            list(read_records(str(tmp_path / "r.jsonl.gz")))
    for text, message in (("{", "not valid JSON"), ("{}", "expected a list of JSON"), ("[3]", "row 0: expected a JSON object")):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(DataError, match=message):
            list(read_records(str(tmp_path / "r.json")))


def test_an_empty_line_is_no_record_and_still_counts_as_a_line(tmp_path):
    path = lines(tmp_path / "r.jsonl", {"a": 1}, "", {"a": 2})
    assert list(read_records(path)) == [(f"{path}:1", {"a": 1}), (f"{path}:3", {"a": 2})]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{broken", r"d\.jsonl:2: not valid JSON"),
        ("[1]", r"d\.jsonl:2: expected a JSON object, found list"),
        ({k: v for k, v in MBPP.items() if k != "code"}, r"d\.jsonl:2: field 'code' is missing; the record has"),
        (MBPP | {"task_id": "7"}, r"d\.jsonl:2: field 'task_id' must be int, found str"),
        (MBPP | {"test_list": [3]}, r"d\.jsonl:2: field 'test_list'\[0\] must be str, found int"),
    ],
)
def test_a_bad_record_is_named(tmp_path, record, message):
    with pytest.raises(DataError, match=message):
        list(load_problems("mbpp", lines(tmp_path / "d.jsonl", MBPP, record)))


def test_unknown_formats_and_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"missing\.jsonl does not exist"):
        list(load_problems("mbpp", str(tmp_path / "missing.jsonl")))
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"unknown format '\.csv'"):
        list(load_problems("mbpp", str(tmp_path / "x.csv")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no \.jsonl"):
        list(load_problems("mbpp", str(tmp_path / "empty")))


@pytest.mark.parametrize("name", ["deep.jsonl", "deep.json"])
@pytest.mark.parametrize(("text", "said"), [(b"[" * 100_000, "nested too deep"), (b'{"a": "\xe9"}', "utf-8")])
def test_what_python_cannot_follow_is_named_and_no_traceback(tmp_path, name, text, said):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=rf"{name}.*not valid JSON \(.*{said}"):
        list(read_records(str(tmp_path / name)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("name", ["wide.jsonl", "wide.json"])
def test_text_in_wider_units_than_bytes_is_called_that(tmp_path, name, encoding):
    (tmp_path / name).write_bytes('[{"a": "1"}]\n'.encode(encoding))
    with pytest.raises(DataError, match=rf"{name} is UTF-16 text \(or UTF-32\): save it as UTF-8$"):
        list(read_records(str(tmp_path / name)))
    (tmp_path / name).write_bytes(b'{"a": "1"}\n' if name == "wide.jsonl" else '[{"a": "1"}]'.encode("utf-8-sig"))
    assert [dict(record) for _, record in read_records(str(tmp_path / name))] == [{"a": "1"}]


@pytest.mark.parametrize(
    "path",
    ["nowhere", "./owner/name", "~/owner/name", "a/b/c", "owner/name.parquet", "owner/n:a:b:c", "owner/n:", "a/b@"],
)
def test_what_can_be_no_hub_id_is_looked_for_on_no_hub(path):
    with pytest.raises(DataError, match=r"does not exist \(and is not a hub id of the form owner/name:config:split@revision\)"):
        next(read_records(path))


def test_a_hub_id_needs_the_package_that_reads_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as where the extra is not installed
    with pytest.raises(DataError, match=r"reading owner/name:test from the hub needs .*: pip install 'datasets>=[\d.]+'$"):
        next(read_records("owner/name:test"))


@pytest.mark.parametrize(
    ("hub_id", "repo", "config", "split", "revision"),
    [
        ("owner/name", "owner/name", None, "train", None),
        ("owner/name:test", "owner/name", None, "test", None),
        ("openai/gsm8k:main:test", "openai/gsm8k", "main", "test", None),
        ("owner/na.me-2:c-1.0:train[:5%]@v1.2", "owner/na.me-2", "c-1.0", "train[:5%]", "v1.2"),
        ("owner/name@0123abc", "owner/name", None, "train", "0123abc"),
        ("owner/name@refs/convert/parquet", "owner/name", None, "train", "refs/convert/parquet"),
    ],
)
def test_a_hub_id_names_configuration_split_and_revision(monkeypatch, hub_id, repo, config, split, revision):
    asked = []

    def load_dataset(path, name=None, *, split, revision, streaming):
        asked.append((path, name, split, revision, streaming))
        return iter([{"a": 1}, {"a": 2}])

    hub = types.ModuleType("datasets")
    hub.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert list(read_records(hub_id)) == [(f"{hub_id}: row 0", {"a": 1}), (f"{hub_id}: row 1", {"a": 2})]
    assert asked == [(repo, config, split, revision, True)]


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def load_dataset(*args, **kwargs):
        yield {"a": 1}
        raise ConnectionError("no route\nto the hub")

    hub = types.ModuleType("datasets")
    hub.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(DataError, match=r"^hub dataset owner/name: no route$"):
        list(read_records("owner/name"))


def test_null_counts_as_not_given_and_is_noted():
    notes = Notes()
    record = {"a": None, "b": 3, "c": -1}
    assert [take_or_null(record, "here", name, int, 7, notes) for name in ("a", "b", "d")] == [7, 3, 7]
    assert [known_rating(record, "here", name, notes) for name in "abcd"] == [None, 3, None, None]
    assert notes.unknown == {"null_a": 2, "negative_c": 1}
    with pytest.raises(DataError, match="here: field 'b' must be str, found int"):
        take_or_null(record, "here", "b", str, "", notes)


def test_a_field_is_taken_as_it_is_or_refused():
    record = {"a": 1, "b": True, "c": None, "d": ["x"]}
    assert take(record, "here", "a", int) == 1 and take(record, "here", "b", bool) is True
    assert take(record, "here", "e", int, 7) == 7 and take(record, "here", "c", int, None) is None
    assert take_strings(record, "here", "d") == ["x"] and take_strings(record, "here", "e", []) == []
    for name, kind, message in (
        ("b", int, "here: field 'b' must be int, found bool"),
        ("a", bool, "here: field 'a' must be bool, found int"),
        ("a", (str, list), "here: field 'a' must be str or list, found int"),
        ("c", str, "here: field 'c' must be str, found NoneType"),
        ("e", str, "here: field 'e' is missing; the record has a, b, c, d"),
    ):
        with pytest.raises(DataError) as caught:
            take(record, "here", name, kind)
        assert str(caught.value) == message
    with pytest.raises(DataError, match="here: field 'a' is missing; the record has no fields"):
        take({}, "here", "a", int)


def test_line_ends_become_one_kind():
    assert unix_newlines("a\r\nb\rc\nd\r\n\r\n") == "a\nb\nc\nd\n\n"


@pytest.mark.parametrize("name", NAMES)
def test_where_a_row_stands_is_its_file_and_its_number(tmp_path, name):
    path = tmp_path / "a: row 7" / name
    path.parent.mkdir()
    write(path, RECORDS)
    first = 1 if ".jsonl" in name else 0
    assert [place_of(where) for where, _ in read_rows(str(path))] == [(str(path), first + i) for i in range(150)]


UNREADABLE = ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.parquet", "a.arrow")


def test_a_file_that_may_not_be_read_is_one_line_that_says_so():
    """As a user that is not root."""
    code = (
        "import sys\nfrom wmtp.errors import DataError\nfrom wmtp.problems.records import read_rows, version_of\n"
        "for path in sys.argv[1:]:\n"
        "    for read in (lambda: list(read_rows(path)), lambda: version_of(path)):\n"
        "        try: read()\n"
        "        except DataError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        paths = [Path(place) / name for name in UNREADABLE]
        for path in paths:
            write(path, RECORDS)
            path.chmod(0)
        command = [*become(IDENTITIES[-1]), sys.executable, "-c", code, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{path} cannot be read: Permission denied" for path in paths for _ in range(2)], (
        done.stderr
    )


def test_a_file_that_vanishes_while_others_are_read_is_named(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", RECORDS)
    rows = read_rows(str(tmp_path))
    next(rows)
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(DataError, match=r"b\.jsonl cannot be read: No such file or directory"):
        list(rows)


@pytest.mark.parametrize("content", [b"", b"x", b"ARROW1"])
@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
def test_a_table_that_is_none_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path / name))} cannot be read: .+$"):
        list(read_rows(str(tmp_path / name)))
