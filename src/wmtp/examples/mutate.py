"""Wrong solutions from right ones: one small edit of the source, found on its syntax tree, everything else left as it is.

An edit may leave the meaning unchanged; only running the tests tells (see `wmtp.examples.labels`).
"""

from __future__ import annotations

import ast
import builtins
import random
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.Div: "/", ast.Pow: "**"}
BINARY_SWAPS = {"+": "-", "-": "+", "*": "+", "//": "%", "%": "//", "/": "//", "**": "*"}
COMPARE = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
}
COMPARE_SWAPS = {
    "<": ("<=", ">"),
    "<=": ("<", ">"),
    ">": (">=", "<"),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "in": ("not in",),
    "not in": ("in",),
}
CALL_SWAPS = {
    "sum": "len",
    "len": "sum",
    "max": "min",
    "min": "max",
    "any": "all",
    "all": "any",
    "sort": "reverse",
    "reverse": "sort",
    "upper": "lower",
    "lower": "upper",
    "int": "abs",
    "sorted": "list",
    "ceil": "floor",
    "floor": "ceil",
    "startswith": "endswith",
    "endswith": "startswith",
    "isupper": "islower",
    "islower": "isupper",
    "heappop": "heappush",
    "lstrip": "rstrip",
    "rstrip": "lstrip",
    "keys": "values",
    "values": "keys",
}
KINDS = ("operator", "comparison", "constant", "off_by_one", "branch", "call", "variable", "swap")


@dataclass(frozen=True)
class Edit:
    """Replace characters [start, stop) by `text`; a swap has several such parts."""

    kind: str
    parts: tuple[tuple[int, int, str], ...]

    def apply(self, source: str) -> str:
        for start, stop, text in sorted(self.parts, reverse=True):
            source = source[:start] + text + source[stop:]
        return source


@dataclass(frozen=True)
class Mutant:
    """A changed program and the kind of its one edit."""

    code: str
    kind: str


def mutants(source: str, draw: random.Random) -> Iterator[Mutant]:
    """Different mutants that parse, kinds drawn evenly; none where `source` does not parse."""
    tree = _parse(source)
    if tree is None:
        return
    pools: dict[str, list[Edit]] = {}
    for edit in _Finder(source, tree).edits():
        pools.setdefault(edit.kind, []).append(edit)
    for pool in pools.values():
        draw.shuffle(pool)
    seen = {source}
    while pools:
        kind = draw.choice([kind for kind in KINDS if kind in pools])
        edit = pools[kind].pop()
        if not pools[kind]:
            del pools[kind]
        code = edit.apply(source)
        if code not in seen and _parse(code) is not None:
            seen.add(code)
            yield Mutant(code, kind)


def _parse(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class _Finder:
    """All edits of one program, in source order."""

    def __init__(self, source: str, tree: ast.Module) -> None:
        self.source, self.tree = source, tree
        self.lines = source.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}

    def edits(self) -> Iterator[Edit]:
        for node in ast.walk(self.tree):
            yield from self._operator(node)
            yield from self._comparison(node)
            yield from self._constant(node)
            yield from self._off_by_one(node)
            yield from self._branch(node)
            yield from self._call(node)
            yield from self._swap(node)
        yield from self._variables()

    def _at(self, line: int, column: int) -> int:
        """Character index of a (1-based line, utf-8 column) position."""
        text = self.lines[line - 1]
        return self.starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))

    def _span(self, node: ast.AST) -> tuple[int, int]:
        start = self._at(node.lineno, node.col_offset)  # type: ignore[attr-defined]
        return start, self._at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _text(self, node: ast.AST) -> str:
        start, stop = self._span(node)
        return self.source[start:stop]

    def _between(self, left: ast.AST, right: ast.AST, symbol: str, new: str, kind: str) -> Iterator[Edit]:
        """Replace the operator that stands between two operands (and perhaps parentheses)."""
        start, stop = self._span(left)[1], self._span(right)[0]
        pattern = r"\s+".join(map(re.escape, symbol.split()))
        gap = re.sub(r"#.*", lambda comment: " " * len(comment[0]), self.source[start:stop])
        match = re.search(pattern, gap)
        if match:
            yield Edit(kind, ((start + match.start(), start + match.end(), new),))

    def _operator(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            symbol = BINARY[type(node.op)]
            yield from self._between(node.left, node.right, symbol, BINARY_SWAPS[symbol], "operator")
        elif isinstance(node, ast.AugAssign) and type(node.op) in BINARY:
            symbol = BINARY[type(node.op)]
            yield from self._between(node.target, node.value, f"{symbol}=", f"{BINARY_SWAPS[symbol]}=", "operator")
        elif isinstance(node, ast.BoolOp):
            symbol, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from self._between(left, right, symbol, new, "operator")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
            yield Edit("operator", ((self._span(node)[0], self._span(node.operand)[0], ""),))

    def _comparison(self, node: ast.AST) -> Iterator[Edit]:
        if not isinstance(node, ast.Compare):
            return
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            symbol = COMPARE.get(type(operator), "")
            for new in COMPARE_SWAPS.get(symbol, ()):
                yield from self._between(left, right, symbol, new, "comparison")

    def _constant(self, node: ast.AST) -> Iterator[Edit]:
        if not isinstance(node, ast.Constant):
            return
        value, span = node.value, self._span(node)
        if isinstance(value, bool):
            yield Edit("constant", ((*span, str(not value)),))
        elif isinstance(value, int) and abs(value) < 10**9:
            for new in {value + 1, max(value - 1, 0), value + 2} - {value}:
                yield Edit("constant", ((*span, str(new)),))
        elif isinstance(value, float):
            yield Edit("constant", ((*span, repr(value + 1)),))
        elif isinstance(value, str) and node not in self.docstrings and re.fullmatch(r"([\"'])[^\\]+\1", self._text(node)):
            yield Edit("constant", ((span[1] - 2, span[1] - 1, ""),))

    def _off_by_one(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
            stop = node.args[min(1, len(node.args) - 1)] if node.args else None
            if stop is not None and not isinstance(stop, (ast.Constant, ast.Starred)):
                for change in (" + 1", " - 1"):
                    yield Edit("off_by_one", ((*self._span(stop), self._text(stop) + change),))
        elif isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper):
                if isinstance(bound, (ast.Name, ast.BinOp, ast.Call)):
                    yield Edit("off_by_one", ((*self._span(bound), self._text(bound) + " + 1"),))
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name) and isinstance(node.ctx, ast.Load):
            for change in (" + 1", " - 1"):
                yield Edit("off_by_one", ((*self._span(node.slice), self._text(node.slice) + change),))

    def _branch(self, node: ast.AST) -> Iterator[Edit]:
        tests = [node.test] if isinstance(node, (ast.If, ast.IfExp)) else []
        tests += node.ifs if isinstance(node, ast.comprehension) else []
        for test in tests:
            if not isinstance(test, ast.Compare):
                yield Edit("branch", ((*self._span(test), f"not ({self._text(test)})"),))
        if isinstance(node, ast.IfExp):
            first, second = self._span(node.body), self._span(node.orelse)
            yield Edit("branch", ((*first, self._text(node.orelse)), (*second, self._text(node.body))))
        elif isinstance(node, (ast.Break, ast.Continue)):
            new = "pass" if isinstance(node, ast.Break) else "break"
            yield Edit("branch", ((*self._span(node), new),))

    def _call(self, node: ast.AST) -> Iterator[Edit]:
        if not isinstance(node, ast.Call):
            return
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        stop = self._span(node.func)[1]
        if name in CALL_SWAPS and self.source[stop - len(name) : stop] == name and not self._reads_input(node):
            yield Edit("call", ((stop - len(name), stop, CALL_SWAPS[name]),))

    def _reads_input(self, node: ast.Call) -> bool:
        return any(isinstance(part, ast.Name) and part.id == "input" for part in ast.walk(node))

    def _swap(self, node: ast.AST) -> Iterator[Edit]:
        """Two arguments of a call, or the right-hand sides of two statements in a row, change places."""
        if isinstance(node, ast.Call) and len(node.args) == 2 and not any(isinstance(arg, ast.Starred) for arg in node.args):
            first, second = node.args
            if getattr(node.func, "id", "") in _FIXED_ORDER:
                return
            yield Edit("swap", ((*self._span(first), self._text(second)), (*self._span(second), self._text(first))))
        for name in ("body", "orelse"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                for one, two in pairwise(body):
                    yield from self._swapped_steps(one, two)

    def _swapped_steps(self, one: ast.stmt, two: ast.stmt) -> Iterator[Edit]:
        """`b = f(a); c = g(b)` becomes `b = g(a); c = f(b)`: the right operations in the wrong order."""
        if not (isinstance(one, ast.Assign) and isinstance(two, ast.Assign)):
            return
        targets = [stmt.targets[0] for stmt in (one, two)]
        if not all(isinstance(target, ast.Name) for target in targets):
            return
        middle = targets[0].id  # type: ignore[attr-defined]
        reads = [_free_names(stmt.value) - _BUILTINS for stmt in (one, two)]
        if len(reads[0]) != 1 or reads[1] != {middle} or middle in reads[0]:
            return
        (source_name,) = reads[0]
        first = self._renamed(two.value, middle, source_name)
        second = self._renamed(one.value, source_name, middle)
        yield Edit("swap", ((*self._span(one.value), first), (*self._span(two.value), second)))

    def _renamed(self, node: ast.expr, old: str, new: str) -> str:
        start, stop = self._span(node)
        text = self.source[start:stop]
        spans = [self._span(part) for part in ast.walk(node) if isinstance(part, ast.Name) and part.id == old]
        for left, right in sorted(spans, reverse=True):
            text = text[: left - start] + new + text[right - start :]
        return text

    def _variables(self) -> Iterator[Edit]:
        """Read another variable of the same function, one that was written before."""
        for scope in ast.walk(self.tree):
            if not isinstance(scope, (ast.Module, ast.FunctionDef)):
                continue
            reads: list[ast.Name] = []
            written: dict[str, int] = {}
            if isinstance(scope, ast.FunctionDef):
                written = {arg.arg: self._span(arg)[0] for arg in scope.args.args}
            for name, holder in _own_names(scope):
                if isinstance(name.ctx, ast.Store):
                    written.setdefault(name.id, self._span(holder)[1])
                else:
                    reads.append(name)
            for name in reads:
                start, stop = self._span(name)
                for other, since in written.items():
                    if other != name.id and since <= start and name.id in written:
                        yield Edit("variable", ((start, stop, other),))


_FIXED_ORDER = ("map", "filter", "isinstance")
"""Swapping the arguments of these is no mistake that anyone makes."""

_BUILTINS = frozenset(dir(builtins))


def _free_names(node: ast.AST) -> set[str]:
    """Names read in an expression that it does not bind itself (comprehension variables)."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return {name.id for name in names} - bound


def _own_names(node: ast.AST, holder: ast.AST | None = None) -> Iterator[tuple[ast.Name, ast.AST]]:
    """Names of a function's own scope in source order, each with the node after which it may be read.

    Names that comprehensions bind are left out: outside of them they do not exist. So are receivers of methods: an
    `append` to the list that a loop runs over never ends.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        inner = child if isinstance(child, (ast.Assign, ast.AugAssign, ast.AnnAssign)) else holder
        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
            continue
        if isinstance(child, ast.Name):
            yield child, inner or child
        elif isinstance(child, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            yield from ((name, at) for name, at in _own_names(child, inner) if not isinstance(name.ctx, ast.Store))
        else:
            yield from _own_names(child, inner)
