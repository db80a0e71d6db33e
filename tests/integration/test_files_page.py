"""docs/files.md against what a whole run has written."""

import re

from tests.files_page import PAGE, SECTIONS, fields_that_are_nowhere, unknown_fields

NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))
RUN = r"([a-z0-9_]+-)?s\d+"


def test_every_file_is_on_the_page(workspace):
    root = workspace.root / "artifacts"
    known = {part for name in NAMED for part in name.replace("TABLE", "train").split("/")} | {"critic.arrow"}
    found = {path.name for path in root.rglob("*") if path.is_file() and path.name != ".gitignore"}
    assert sorted(found - known) == []
    folders = {path.name for path in root.rglob("*") if path.is_dir() and not re.fullmatch(RUN, path.name)}
    stages = {path.name for path in (root / "provenance").iterdir()}
    assert sorted(folders - known - stages - {"provenance"}) == []


def test_every_field_is_in_the_section_of_its_file(workspace):
    assert len(SECTIONS) > 15
    assert unknown_fields(workspace.root / "artifacts") == []


def test_the_page_names_no_field_that_its_file_does_not_have(workspace):
    assert fields_that_are_nowhere(workspace.root / "artifacts") == []
