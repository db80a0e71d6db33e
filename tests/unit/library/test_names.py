"""`import wmtp`: the library's names, looked up when they are asked for."""

import ast
import inspect
import re
import subprocess
import sys

import pytest

import wmtp
from tests.workspaces import PROJECT
from wmtp import library

BLOCKS = re.findall(r"^```python\n(.*?)^```$", (PROJECT / "docs/library.md").read_text(), re.MULTILINE | re.DOTALL)
"""The page's examples, which tests/integration/test_library.py runs."""


def test_the_names_are_the_librarys():
    assert wmtp.__all__ == library.__all__ == sorted(library.__all__)
    assert all(getattr(wmtp, name) is getattr(library, name) for name in wmtp.__all__)
    assert set(wmtp.__all__) <= set(dir(wmtp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wmtp.nothing


def test_importing_loads_neither_torch_nor_transformers():
    code = "import sys, wmtp; from wmtp import tasksets; assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def attributes():
    """(name before the dot, "" where that is no name; name behind it) of all that the examples ask for."""
    found = [node for block in BLOCKS for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)]
    return {(getattr(node.value, "id", ""), node.attr) for node in found}


def test_every_name_and_every_method_is_in_an_example_that_is_run():
    asked = attributes()
    assert [name for name in wmtp.__all__ if ("wmtp", name) not in asked] == []
    classes = [getattr(wmtp, name) for name in wmtp.__all__ if inspect.isclass(getattr(wmtp, name))]
    own = [(one, name) for one in classes for name, value in vars(one).items() if not name.startswith("_") and callable(value)]
    assert {(wmtp.Workspace, "scores"), (wmtp.LanguageModel, "generate"), (wmtp.Critic, "values")} <= set(own)
    assert [f"{one.__name__}.{name}" for one, name in own if name not in {name for _, name in asked}] == []
