"""Whose the names are that a test uses: the program's, the reference's alone, or the judge's own."""

from __future__ import annotations

import ast
import functools
import symtable
import warnings
from collections.abc import Iterator, Sequence

_UNTOLD = frozenset(("exec", "eval", "globals", "locals", "vars", "setattr"))
"""Who uses these may bind names that its text does not show."""


@functools.lru_cache(maxsize=4096)
def defined_names(source: str) -> tuple[str, ...] | None:
    """Every name that the module `source` can bind, sorted; None where its text does not tell, or is no Python."""
    tree = _parsed(source)
    if tree is None or _UNTOLD & _used(tree) or "*" in _imports(tree):
        return None
    top = symtable.symtable(source, "<reference>", "exec")
    names = {symbol.get_name() for symbol in top.get_symbols() if _is_bound(symbol)}
    tables = top.get_children()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_declared_global() and _is_bound(symbol)}
    return tuple(sorted(names))


@functools.lru_cache(maxsize=4096)
def given_functions(prompt: str, tests: tuple[str, ...]) -> str:
    """Functions of a prompt that is code which the tests call, and what of the prompt those use; empty where there are none.

    Its last definition is the one that is asked for. Constants go with the functions, other values and classes stay the
    program's: an object is no longer one of its class once that is defined again.
    """
    tree = _parsed(prompt) or _parsed(_with_body(prompt))
    if tree is None or not tree.body:
        return ""
    functions = {node.name: node for node in tree.body[:-1] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    wanted = [name for test in tests for name in _used(_parsed(test)) if name in functions]
    parts: list[ast.stmt] = []
    known = {**_constants(tree.body[:-1]), **_imports(tree), **functions}
    while wanted:
        part = known.pop(wanted.pop(), None)
        if part is not None:
            parts.append(part)
            wanted += _used(part)
    future = [node for node in tree.body if parts and isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    lines = prompt.splitlines()
    places = sorted({(_first_line(part), part.end_lineno or part.lineno) for part in (*future, *parts)})
    return "".join(f"{line}\n" for first, last in places for line in lines[first - 1 : last])


@functools.lru_cache(maxsize=4096)
def needed_imports(reference: str, tests: tuple[str, ...]) -> str:
    """The reference's imports of what the tests use and do not import themselves."""
    found = _imports(_parsed(reference))
    own = {name for test in tests for name in _imports(_parsed(test))}
    wanted = {name for test in tests for name in _used(_parsed(test))} - own
    statements = {ast.unparse(node): None for name, node in found.items() if name in wanted}
    return "".join(f"{statement}\n" for statement in statements)


def _parsed(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _with_body(prompt: str) -> str:
    """A prompt that ends where a block begins, with a block."""
    last = next((line for line in reversed(prompt.splitlines()) if line.strip()), "")
    return f"{prompt.rstrip()}\n{last[: len(last) - len(last.lstrip())]}  pass\n"


def _used(tree: ast.AST | None) -> set[str]:
    return {node.id for node in _all(tree) if isinstance(node, ast.Name)}


def _all(tree: ast.AST | None) -> Iterator[ast.AST]:
    return iter(()) if tree is None else ast.walk(tree)


def _imports(tree: ast.Module | None) -> dict[str, ast.stmt]:
    """By the name that they bind at the top of the module."""
    found = [node for node in (tree.body if tree is not None else ()) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name.partition(".")[0]: node for node in found for alias in node.names}


def _constants(body: Sequence[ast.stmt]) -> dict[str, ast.stmt]:
    """Names that are assigned numbers, texts, and what is computed or made of them without a call, once."""
    found = [
        (target.id, node)
        for node in body
        if isinstance(node, ast.Assign) and all(isinstance(part, _OF_CONSTANTS) for part in ast.walk(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    return {name: node for name, node in found if [other for other, _ in found].count(name) == 1}


_OF_CONSTANTS = (ast.Constant, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop, ast.expr_context)


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def _is_bound(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported()
