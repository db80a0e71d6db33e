"""Wrong solutions: one small edit of a right one, made on the source text so that everything else stays as it was."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edit:
    """Replace `source[start:end]` (UTF-8 bytes) by `text`."""

    start: int
    end: int
    text: str
    kind: str


_COMPARE = {"<": ["<=", ">"], ">": [">=", "<"], "<=": ["<", ">="], ">=": [">", "<="], "==": ["!="], "!=": ["=="], "in": ["not in"], "not in": ["in"]}
_BINARY = {"+": ["-"], "-": ["+"], "*": ["+"], "/": ["//", "*"], "//": ["%", "/"], "%": ["//"], "**": ["*"], "<<": [">>"], ">>": ["<<"],
           "&": ["|"], "|": ["&"], "^": ["&"]}  # fmt: skip
_CALLS = {"max": ["min"], "min": ["max"], "sum": ["len", "max"], "len": ["sum"], "any": ["all"], "all": ["any"], "sorted": ["list"],
          "append": ["extend"], "lower": ["upper"], "upper": ["lower"], "floor": ["ceil"], "ceil": ["floor"]}  # fmt: skip


def edits(source: str) -> list[Edit]:
    """Every single mutation of `source`: operators, constants, off-by-one bounds, branches and swapped calls or variables.

    Raises:
        SyntaxError: source is not Python.
    """
    tree = ast.parse(source)
    raw = source.encode()
    starts = np.cumsum([0, *(len(line) for line in raw.splitlines(keepends=True))])

    def span(node: ast.AST) -> tuple[int, int]:
        return (
            int(starts[node.lineno - 1]) + node.col_offset,  # type: ignore[attr-defined]
            int(starts[node.end_lineno - 1]) + node.end_col_offset,  # type: ignore[attr-defined]
        )

    variables = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)})
    receivers = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}  # `a.append` to another list may never end
    found: list[Edit] = []
    for node in ast.walk(tree):
        if id(node) not in receivers:
            found += _edits_of(node, raw, span, variables)
    return found


def _edits_of(node: ast.AST, raw: bytes, span, variables: list[str]) -> Iterator[Edit]:  # type: ignore[no-untyped-def]
    def between(left: ast.AST, right: ast.AST, table: dict[str, list[str]], kind: str) -> Iterator[Edit]:
        start, end = span(left)[1], span(right)[0]
        gap = raw[start:end].decode()
        operator = gap.strip(" ()\\\n\t")
        for other in table.get(operator, []):
            yield Edit(start, end, gap.replace(operator, other, 1), kind)

    if isinstance(node, ast.Compare):
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            yield from between(left, right, _COMPARE, "operator")
    elif isinstance(node, ast.BinOp):
        yield from between(node.left, node.right, _BINARY, "operator")
    elif isinstance(node, ast.BoolOp):
        yield from between(node.values[0], node.values[1], {"and": ["or"], "or": ["and"]}, "branch")
    elif isinstance(node, ast.AugAssign):
        yield from between(node.target, node.value, {"+=": ["-="], "-=": ["+="], "*=": ["+="], "//=": ["*="]}, "operator")
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        for value in (node.value + 1, node.value - 1):
            if value >= 0:
                yield Edit(*span(node), str(value), "constant")
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield Edit(*span(node), str(not node.value), "constant")
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)) and not isinstance(node, ast.While):
        start, end = span(node.test)
        yield Edit(start, end, f"not ({raw[start:end].decode()})", "branch")
    elif isinstance(node, ast.Slice):
        yield from _slice_edits(node, raw, span)
    elif isinstance(node, ast.Call):
        yield from _call_edits(node, raw, span)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in variables:
        for other in variables:
            if other != node.id:
                yield Edit(*span(node), other, "variable")


def _slice_edits(node: ast.Slice, raw: bytes, span) -> Iterator[Edit]:  # type: ignore[no-untyped-def]
    start, end = span(node)
    if node.lower is not None and node.upper is None and node.step is None:
        yield Edit(start, end, ":" + raw[slice(*span(node.lower))].decode(), "off_by_one")
    elif node.upper is not None and node.lower is None and node.step is None:
        yield Edit(start, end, raw[slice(*span(node.upper))].decode() + ":", "off_by_one")


def _call_edits(node: ast.Call, raw: bytes, span) -> Iterator[Edit]:  # type: ignore[no-untyped-def]
    function = node.func
    name = function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    end = span(function)[1]
    for other in _CALLS.get(name, []):
        yield Edit(end - len(name.encode()), end, other, "call")
    if name == "range" and node.args:
        start, stop = span(node.args[-1] if len(node.args) < 3 else node.args[1])
        yield Edit(start, stop, f"{raw[start:stop].decode()} - 1", "off_by_one")
        yield Edit(start, stop, f"{raw[start:stop].decode()} + 1", "off_by_one")
    if len(node.args) == 2 and not any(isinstance(arg, ast.Starred) for arg in node.args):
        first, second = (raw[slice(*span(arg))].decode() for arg in node.args)
        middle = raw[span(node.args[0])[1] : span(node.args[1])[0]].decode()
        if first != second:
            yield Edit(span(node.args[0])[0], span(node.args[1])[1], f"{second}{middle}{first}", "swapped")


def apply(source: str, edit: Edit) -> str:
    """`source` with the edit made."""
    raw = source.encode()
    return (raw[: edit.start] + edit.text.encode() + raw[edit.end :]).decode()


def mutants(source: str, generator: np.random.Generator, num: int) -> list[str]:
    """Up to `num` different mutants that still parse, in seeded order, kinds taken in turn. Empty when nothing can change.

    Whether a mutant is wrong is for its tests to say.
    """
    by_kind: dict[str, list[Edit]] = {}
    for edit in edits(source):
        by_kind.setdefault(edit.kind, []).append(edit)
    queues = [[members[i] for i in generator.permutation(len(members))] for _, members in sorted(by_kind.items())]
    queues = [queues[i] for i in generator.permutation(len(queues))]
    found: dict[str, None] = {}
    while any(queues) and len(found) < num:
        for queue in queues:
            if queue and len(found) < num:
                text = apply(source, queue.pop())
                if text != source and _parses(text):
                    found[text] = None
    return list(found)


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
