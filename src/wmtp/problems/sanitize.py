"""The code in an answer: out of its fences and its prose, without what is no part of the solution.

Behaves as EvalPlus' sanitizer does (evalplus/evalplus, sanitize.py, the one that parses; Liu et al. 2023, arXiv 2305.01210),
where a number is to be compared with EvalPlus'. That includes what it loses: functions that return nothing, decorated ones,
statements that are neither imports nor definitions.
"""

from __future__ import annotations

import ast
import codeop
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, groupby

_TERMINAL_CODES = re.compile(r"\x1B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")
_NAMING = ("id", "attr", "arg", "name", "asname", "rest", "module")

_INCOMPLETE = codeop.PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]  # not in its stub

Named = tuple[str | None, ast.stmt]
"""A definition and its name."""


def sanitize(text: str, needed: Collection[str]) -> str:
    """The imports of the code in `text`, and the definitions that the `needed` ones use, directly or not.

    Args:
        needed: names that the tests use. Without any, all definitions stay.
    Returns:
        the whole code where that would leave nothing.
    """
    code = longest_code(text)
    tree = _parsed(code)
    imports, definitions = _parts(tree) if tree is not None else ([], [])
    if needed:
        reachable = _reachable(definitions, needed)
        definitions = [(name, node) for name, node in definitions if name in reachable]
    kept = [ast.get_source_segment(code, node) or "" for node in (*imports, *(node for _, node in definitions))]
    return "\n".join(kept).strip() or code


def longest_code(text: str) -> str:
    """The most lines in a row that are Python, blank ones not counted; the first such lines, and at least two of them.

    Where no two lines are, the first line.
    """
    lines = _TERMINAL_CODES.sub("", text).split("\n")
    before = [0, *accumulate(bool(line.strip()) for line in lines)]
    most, longest = 0, lines[0]
    for start, line in enumerate(lines):
        if before[-1] - before[start] <= most:
            break
        if line.strip() and line[0].isspace():
            continue
        stops = range(start + _could_begin(lines, start) - 1, start, -1)
        for number, last in groupby(stops, key=lambda stop: before[stop + 1] - before[start]):
            if number <= most:
                break
            codes = ("\n".join(lines[start : stop + 1]) for stop in reversed(list(last)))
            code = next((code for code in codes if _parsed(code) is not None), None)
            if code is not None:
                most, longest = number, code
                break
    return longest


def _could_begin(lines: Sequence[str], start: int) -> int:
    """How many lines from `start` a program could begin with: what comes after them mends no error in them."""

    def fits(number: int) -> bool:
        try:
            _compile("\n".join(lines[start : start + number]) + "\n", _INCOMPLETE)
        except SyntaxError as error:
            return error.msg == "incomplete input"
        except (ValueError, RecursionError, MemoryError):
            return False
        return True

    most, step = 0, 1
    while start + most < len(lines) and fits(min(most + step, len(lines) - start)):
        most, step = min(most + step, len(lines) - start), 2 * step
    fewest_wrong = min(most + step, len(lines) - start + 1)
    while fewest_wrong - most > 1:
        middle = (most + fewest_wrong) // 2
        most, fewest_wrong = (middle, fewest_wrong) if fits(middle) else (most, middle)
    return most


@lru_cache(maxsize=4096)  # a benchmark's tests, which may be large, are asked for with every completion
def names_in(code: str) -> frozenset[str]:
    """Every name that some statements use; none where they are no Python."""
    tree = _parsed(code)
    return frozenset(_names(tree)) if tree is not None else frozenset()


def _parsed(code: str) -> ast.Module | None:
    try:
        return _compile(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _compile(code: str, flags: int = 0) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model's escape sequences
        tree = compile(code, "<answer>", "exec", ast.PyCF_ONLY_AST | flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _parts(tree: ast.Module) -> tuple[list[ast.stmt], list[Named]]:
    """Imports, and the first definition of every name: classes, assignments, functions that return something."""
    imports: list[ast.stmt] = []
    definitions: dict[str | None, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__"):
            imports.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.decorator_list and any(isinstance(part, ast.Return) for part in ast.walk(node)):
                definitions.setdefault(node.name, node)
        elif isinstance(node, ast.ClassDef):
            if not node.decorator_list:
                definitions.setdefault(node.name, node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            definitions.setdefault(_assigned(node), node)
    return imports, list(definitions.items())


def _assigned(node: ast.Assign | ast.AnnAssign) -> str | None:
    """The first plain name of an assignment to one target, on its left or else on its right."""
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    if isinstance(target, ast.Name):
        return target.id
    is_single = isinstance(node, ast.AnnAssign) or len(node.targets) == 1
    return node.value.id if is_single and isinstance(node.value, ast.Name) else None


def _reachable(definitions: list[Named], needed: Collection[str]) -> set[str | None]:
    uses = {name: set(_names(node)) for name, node in definitions}
    reachable: set[str | None] = set()
    waiting: list[str | None] = list(needed)
    while waiting:
        name = waiting.pop()
        if name not in reachable:
            reachable.add(name)
            waiting += uses.get(name, ())
    return reachable


def _names(tree: ast.AST) -> Iterator[str]:
    """Identifiers of every kind: variables, attributes, parameters, keywords, what is imported or declared global."""
    for node in ast.walk(tree):
        for field in _NAMING:
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield from value.split(".")
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
