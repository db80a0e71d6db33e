"""What the documentation shows is what the repository has."""

import re
import shlex

import pytest

from flows.command import parse
from tests.workspaces import PROJECT
from wmtp.cli import _parser
from wmtp.config import compose

PAGES = sorted([PROJECT / "README.md", PROJECT / "README.ko.md", *(PROJECT / "docs").rglob("*.md")])


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


def commands():
    """(page, words) of every wmtp command in the pages' blocks of commands, with what its line's variables stand for."""
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            known = dict(re.findall(r'^(\w+)="(.*)"$', block, re.MULTILINE))
            text = re.sub(r"\$(\w+)", lambda found, known=known: known.get(found[1], found[0]), block)
            for line in re.split(r"\n|&&", text):
                if "wmtp " not in line:
                    continue
                words = shlex.split(line, comments=True)
                while words and re.match(r"[A-Z_]+=", words[0]):
                    words.pop(0)
                if words[:1] == ["wmtp"]:
                    yield page.name, words[1:]


@pytest.mark.parametrize(
    ("page", "words"), list(commands()), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_command_that_a_page_shows_is_one(page, words):
    if words[0] == "run":
        given, _ = parse(words[1:])
        chosen = {key: given.get(key) for key in ("arms", "seeds")}
        compose(PROJECT, given["profile"], overrides=given.get("overrides", []), **chosen)
        return
    found = _parser().parse_args(words)
    if words[0] == "params":
        compose(PROJECT, found.profile, overrides=found.overrides)


def test_the_readme_shows_the_commands_of_every_trade():
    shown = {words[0] for page, words in commands() if page == "README.md"}
    assert {"run", "stage", "params", "evaluate", "score", "model"} <= shown


def shape(name):
    """What a translation leaves as it is: levels of headings, commands, links, names of code, numbers of tables."""
    text = (PROJECT / name).read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return {
        "headings": [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)],
        "commands": [[re.sub(r"\s+#.*", "", line) for line in block.splitlines()] for block in blocks],
        "links": sorted(set(re.findall(r"\]\(([^)]+)\)", prose)) - {"README.md", "README.ko.md"}),
        "code": sorted(set(re.findall(r"`([^`\n]+)`", prose))),
        "rows": [re.findall(r"[-+]?\d+\.\d+", row) for row in re.findall(r"^\|.*\|$", prose, re.MULTILINE)],
    }


def test_the_korean_readme_is_the_readme():
    ours, theirs = shape("README.md"), shape("README.ko.md")
    for part in ours:
        assert theirs[part] == ours[part], part
