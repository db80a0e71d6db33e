"""What the documentation shows is what the repository has."""

import importlib.util
import re
import shlex

import pytest
import yaml

from docs import run_commands, site_pages
from flows.command import parse
from flows.sweep_command import parse as parse_sweep
from tests.workspaces import PROJECT
from wmtp.cli import _parser
from wmtp.config import compose
from wmtp.config.given import require_given
from wmtp.sweeps import compose_points

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


def test_the_site_has_every_page_and_module_that_it_names():
    site = yaml.safe_load((PROJECT / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w./]+\.md", str(site["nav"])))
    made = {*site_pages.ELSEWHERE, "adr/index.md", *(f"api/{name}.md" for name in site_pages.API)}
    assert named == {path.name for path in (PROJECT / "docs").glob("*.md")} | made
    for module in (module for _, modules in site_pages.API.values() for module in modules):
        assert importlib.util.find_spec(f"wmtp.{module}"), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere_on_the_site_too(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    on_site = [site_pages.site_link(link, page.parent, "index.md") for link in links]
    assert [link for link in on_site if not ((PROJECT / "docs" / link).exists() or link in site_pages.ELSEWHERE)] == []


def test_every_oracle_that_the_method_names_exists():
    tests = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (PROJECT / "docs/method.md").read_text()))
    assert {name for name in named if f"def {name}(" not in tests} == set()


def spoken():
    """(page, words) of every wmtp command in the pages' blocks of commands."""
    for shown in run_commands.commands():
        yield from ((shown.page, words) for words in typed(shown.line))


def typed(line):
    """The words behind `wmtp`, of each of a line's commands that is wmtp's."""
    for part in line.split("&&"):
        words = shlex.split(part)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words[:1] == ["wmtp"]:
            yield shlex.split(re.sub(r"--workspace \S+", "", shlex.join(words[1:])))  # `wmtp`'s own


@pytest.mark.parametrize(
    ("page", "words"), list(spoken()), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_command_that_a_page_shows_is_one(page, words):
    if "--help" in words:
        return
    if words[0] == "run":
        given, _ = parse(words[1:])
        chosen = {key: given.get(key) for key in ("arms", "seeds")}
        compose(PROJECT, given["profile"], overrides=given.get("overrides", []), **chosen)
        return
    if words[0] == "sweep":
        given, _ = parse_sweep(words[1:])
        compose_points(PROJECT, given["profile"], given["overrides"], arms=given["arms"], seeds=given["seeds"])
        return
    found = _parser().parse_args(words)
    if words[0] == "params":
        compose(PROJECT, found.profile, overrides=found.overrides)


def test_the_script_knows_what_to_do_with_every_command_that_a_page_shows():
    every = [one for shown in run_commands.commands() for one in run_commands.treatments(shown.line)]
    assert {one.kind for one in every} == {run_commands.QUICK, run_commands.LONG, run_commands.NOT_HERE}
    assert all(one.why for one in every if one.kind == run_commands.NOT_HERE)
    for path in re.findall(r"tests/[\w/.]+", " ".join(one.why for one in every)):
        assert (PROJECT / path).exists(), path
    for line in (one.line for one in every if one.kind == run_commands.LONG and "wmtp run" in one.line):
        assert "--profile toy" in line or ("_path=" in line and "train_policy.train.steps=2" in line)


def flows_that_are_run():
    """Of every `wmtp run` and `wmtp sweep` that the script runs in place of what is shown; `my-start` and results are
    made on the way."""
    every = [one for shown in run_commands.commands() for one in run_commands.treatments(shown.line)]
    made = ("my-start", "report.beside")
    lines = dict.fromkeys(
        one.line for one in every if one.kind != run_commands.NOT_HERE and not any(word in one.line for word in made)
    )
    return [words for line in lines for words in typed(line) if words[0] in ("run", "sweep") and "--help" not in words]


def test_every_flow_that_the_script_runs_is_composed_and_finds_its_files(tmp_path):
    run_commands.write_data(tmp_path)
    for name, *words in flows_that_are_run():
        given, _ = (parse if name == "run" else parse_sweep)(words)
        chosen = {key: given.get(key) for key in ("arms", "seeds")}
        if name == "sweep":
            compose_points(PROJECT, given["profile"], given["overrides"], **chosen)
        else:
            require_given(tmp_path, compose(PROJECT, given["profile"], overrides=given.get("overrides", []), **chosen))


def test_what_a_page_shows_runs_in_a_copy_and_what_went_well_is_not_run_again(tmp_path, capsys):
    (page,) = [page for page in run_commands.PAGES if page.name == "orchestration.md"]
    every = [one for shown in run_commands.commands([page]) for one in run_commands.treatments(shown.line)]
    quick = [one.line for one in every if one.kind == run_commands.QUICK]
    for expected in (quick, []):
        assert run_commands.main(["--page", page.name, "--folder", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        ran = [line.split(" s  ")[1] for line in said.splitlines() if line.startswith("ok ")]
        assert ran == expected, said
        assert "a PostgreSQL server: tests/integration/test_postgres.py" in said


def test_a_block_of_another_language_is_no_command_and_a_blocks_variables_are_filled_in(tmp_path):
    (tmp_path / "page.md").write_text(
        'a\n```\nX="b c"\nwmtp run $X  # why\n```\nwmtp no\n```python\nwmtp = 1\n```\n\n```\nls\n```\n'
    )
    assert [shown.line for shown in run_commands.commands([tmp_path / "page.md"])] == ["wmtp run b c", "ls"]


def test_the_readme_shows_the_commands_of_every_trade():
    shown = {words[0] for page, words in spoken() if page == "README.md"}
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
