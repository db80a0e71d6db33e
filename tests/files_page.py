"""docs/files.md read as what it says of each file: its fields, against those that files have."""

import csv
import gzip
import json
import re
from dataclasses import dataclass
from itertools import dropwhile, islice, takewhile

from tests.workspaces import PROJECT
from wmtp.tokens.tables import read_table

PAGE = (PROJECT / "docs/files.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted((PROJECT / "src/wmtp").rglob("*.py")))
HUGGING_FACE = {
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("dataset_dict.json", "dataset_info.json", "state.json"),
}
"""Files of formats that are described elsewhere."""
EMPTY = (None, {}, [])


def regex(text, other=".+"):
    """Of a name in which capitals stand for what differs: `K` and `H` for numbers, any for `other`."""
    parts = re.split(r"([A-Z]+)", text)
    return "".join(re.escape(part) if i % 2 == 0 else r"\d+" if part in "KH" else other for i, part in enumerate(parts))


@dataclass(frozen=True)
class Field:
    """`names`: from the outermost record inwards, `[]` for the records of a list; a last `*` is all that is there.
    `always`: in every run."""

    names: tuple[str, ...]
    always: bool

    def holds(self, path):
        """As many of the names as both have are alike."""
        return all(re.fullmatch(regex(name), key) for name, key in zip(self.names, path, strict=False))

    def covers(self, path, value):
        """It is this field, a part of `*`, or an empty value in which it would be."""
        if not self.holds(path[: len(self.names) - 1] if self.names[-1] == "*" else path):
            return False
        if self.names[-1] == "*" and len(path) >= len(self.names):
            return True
        return len(path) == len(self.names) or (len(path) < len(self.names) and value in EMPTY)

    def is_in(self, paths):
        known = self.names[:-1] if self.names[-1] == "*" else self.names
        return any(len(path) >= len(known) and Field(known, True).holds(path) for path in paths)

    @property
    def is_in_sources(self):
        """Its last name is a word of the code's, whatever stands for the capitals."""
        (*_, last) = [name for name in self.names if name != "[]"]
        return all(re.search(rf"\b{re.escape(word)}\b", SOURCES) for word in re.findall(r"[a-z][a-z_]*[a-z]", last))


def names_of(cell):
    """(name, whether it is outside of parentheses) of a cell's names in backticks."""
    always = True
    for mark, name in re.findall(r"([()])|`([^`]+)`", cell):
        if mark:
            always = mark == ")"
        else:
            yield name, always


def fields_of(lines):
    """Of a section's table of fields."""
    table = dropwhile(lambda line: line != "| field | is |", lines)
    above = [""]
    for line in islice(takewhile(lambda line: line.startswith("|"), table), 2, None):
        found = list(names_of(line.split(" | ")[0]))
        full = [name for name, _ in found if not name.startswith(".")]
        above = full or above
        for name, always in found:
            for base in above if name.startswith(".") else [""]:
                yield Field(tuple((base + name).replace("[]", ".[]").split(".")), always)


def sections():
    """Heading, as regular expression of paths below artifacts/, and the fields that the section names."""
    for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        heading, *lines = part.splitlines()
        fields = list(fields_of(lines))
        if fields:
            yield "|".join(regex(name, "[^/]+") for name in re.findall(r"`([^`]+)`", heading)), fields


SECTIONS = dict(sections())


def leaves(value, path=()):
    """(path, value) of all that is no record with anything in it."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for each in value:
            yield from leaves(each, (*path, "[]"))
    else:
        yield path, value


def records(path):
    if path.suffix == ".arrow":
        return [dict.fromkeys(read_table(path).column_names, 0)]
    if path.suffix == ".csv":
        return [dict.fromkeys(next(csv.reader(path.open())), 0)]
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.splitlines()]
    found = json.loads(text)
    return found if isinstance(found, list) else [found]


def files_with_fields(artifacts):
    """Each with its path below `artifacts`."""
    suffixes = (".csv", ".json", ".jsonl", ".gz", ".arrow")
    paths = (path for path in sorted(artifacts.rglob("*")) if path.suffix in suffixes and path.name not in HUGGING_FACE)
    return [(path, str(path.relative_to(artifacts))) for path in paths]


def unknown_fields(artifacts):
    """`file: field` of all that a file has and its section does not name, and `file` where there is not one section for it."""
    found = set()
    for path, name in files_with_fields(artifacts):
        own = [fields for heading, fields in SECTIONS.items() if re.fullmatch(heading, name)]
        if len(own) != 1:
            found.add(name)
            continue
        for record in records(path):
            missing = [at for at, value in leaves(record) if not any(field.covers(at, value) for field in own[0])]
            found |= {f"{name}: {'.'.join(at)}" for at in missing}
    return sorted(found)


def fields_that_are_nowhere(artifacts):
    """`section: field` of all that the page names and no file of the section has; what is not in every run, or would be in what
    is empty, must be in the code."""
    files, found = files_with_fields(artifacts), []
    for heading, fields in SECTIONS.items():
        own = [path for path, name in files if re.fullmatch(heading, name)]
        have = {(at, value in EMPTY) for path in own for one in records(path) for at, value in leaves(one)}
        empty = [at for at, is_empty in have if is_empty] or ([()] if own and not have else [])
        for field in fields:
            may_lack = not field.always or any(len(at) < len(field.names) and field.holds(at) for at in empty)
            if not field.is_in([at for at, _ in have]) and not (may_lack and field.is_in_sources):
                found.append(f"{heading}: {'.'.join(field.names)}")
    return found
