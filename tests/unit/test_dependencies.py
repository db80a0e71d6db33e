"""pyproject.toml against the code: what is imported is declared, so that a wheel finds it in an empty environment too."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.workspaces import PROJECT

DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
EXTRAS = DECLARED["optional-dependencies"]
OWN = {"wmtp", "flows", "tasks", *(path.stem for path in (PROJECT / "src/wmtp/sandbox/guest").glob("*.py"))}
PAGES = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(requirements):
    return {normal(re.match(r"[\w.-]+", one)[0]) for one in requirements}


def imported(tree):
    """(top name of a module, whether a function imports it) of all that is neither the standard library's nor our own."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for top in {name.partition(".")[0] for name in names} - OWN - sys.stdlib_module_names:
            yield top, id(node) in inside


def all_imports():
    """Each (module, whether in a function), and a file that has it."""
    paths = [path for folder in ("src", "flows", "tasks") for path in sorted((PROJECT / folder).rglob("*.py"))]
    return {use: path.relative_to(PROJECT) for path in paths for use in imported(ast.parse(path.read_text()))}


def makers(module):
    """Distributions that have the module; one that is not installed here is taken to have its name."""
    return {normal(name) for name in packages_distributions().get(module, [module])}


@pytest.mark.parametrize(("use", "path"), sorted(all_imports().items()), ids=str)
def test_what_is_imported_is_declared(use, path):
    (module, in_function), base = use, distributions(DECLARED["dependencies"])
    optional = set().union(*(distributions(needed) for extra, needed in EXTRAS.items() if extra != "dev"))
    allowed = base | optional if in_function else base
    assert makers(module) & allowed, f"{path} imports {module} of {makers(module)}: declare it in pyproject.toml"


def test_an_import_in_a_function_counts_and_a_relative_one_does_not():
    code = "import os, a.b\nfrom . import c\nfrom d.e import f\nif x:\n    import g\ndef h():\n    import i, wmtp.types"
    assert set(imported(ast.parse(code))) == {("a", False), ("d", False), ("g", False), ("i", True)}


def spoken_extras(paths):
    """Extras that texts ask for: `.[hub,s3]`; and those of which they install a package by its name."""
    text = "\n".join(path.read_text() for path in paths)
    asked = {extra for group in re.findall(r"\.\[([a-z0-9,]+)\]['\"]", text) for extra in group.split(",")}
    by_name = {normal(name) for name in re.findall(r"pip install (?:--no-deps )?([a-z][\w-]+)", text)}
    return asked, {extra for extra, needed in EXTRAS.items() if distributions(needed) & by_name}


def test_every_extra_for_users_is_on_a_page():
    asked, by_name = spoken_extras(PAGES)
    assert EXTRAS.keys() - {"dev", "docs"} <= asked | by_name


def test_no_extra_is_asked_for_that_is_not_there():
    asked, _ = spoken_extras([*PAGES, PROJECT / "Makefile", PROJECT / "deploy/kubernetes/Dockerfile"])
    assert {"dev", "docs", "kubernetes"} <= asked <= EXTRAS.keys()
