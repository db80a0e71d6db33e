"""What the documentation shows is what the repository has."""

import re

import pytest

from tests.workspaces import PROJECT

PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


def shown(page):
    """(path, lines) of every diff on a page."""
    for block in re.findall(r"^```diff\n\+\+\+ (\S+)[^\n]*\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        yield block[0], [line[1:] for line in block[1].splitlines()]


@pytest.mark.parametrize(("path", "lines"), list(shown(PROJECT / "docs/extending.md")))
def test_a_diff_is_a_part_of_the_file_that_it_names(path, lines):
    assert "\n".join(lines) in (PROJECT / path).read_text()


def test_extending_shows_each_kind_of_addition():
    paths = [path for path, _ in shown(PROJECT / "docs/extending.md")]
    kinds = (
        "configs/arms/",
        "src/wmtp/weightings/",
        "tests/unit/weightings/",
        "src/wmtp/stages/",
        "src/wmtp/tasksets/",
        "dvc.yaml",
    )
    assert all(any(path.startswith(kind) for path in paths) for kind in kinds)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_oracle_that_the_method_names_exists():
    tests = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (PROJECT / "docs/method.md").read_text()))
    assert {name for name in named if f"def {name}(" not in tests} == set()
