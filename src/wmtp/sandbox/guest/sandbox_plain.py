"""Tests that say the same of a program from outside as in its own namespace, so that one run of it is enough (ADR 7).

Runs inside the sandbox with nothing but the standard library, in the examiner's process.

A test is plain if it is made of asserts that call the program's functions on literals and compare one answer at a time with
literals. Then nothing of the test's is shared with the program: no argument and no answer is used twice, so it cannot matter
that they are copies. What the answers are is for the examiner to see: `PLAIN_TAGS`.
"""

import ast
import builtins
import functools
from collections.abc import Callable

BUILTINS = frozenset(
    (
        *("abs", "all", "any", "bool", "float", "int", "len", "list", "max", "min", "range", "round"),
        *("set", "sorted", "str", "sum", "tuple"),
    )
)
"""What a plain test may call beside the program: functions of values, which keep none of them."""
PLAIN_TAGS = frozenset(("int", "complex", "tuple", "dict", "bytes"))
"""Encoded values of the exact types, whose copies are equal to whatever they are."""
SET_TAGS = frozenset(("set", "frozenset"))
"""The same, as long as nobody asks for their order."""
_ONE_OF = (None, True, False)


class _NotPlainError(Exception):
    """The test has other parts."""


@functools.lru_cache(maxsize=256)
def plain_builtins(source: str) -> frozenset[str] | None:
    """Builtin functions that a plain test calls; None for a test that is not plain."""
    reader = _Reader()
    try:
        reader.statements(ast.parse(source).body, reader.top_level)
    except (_NotPlainError, SyntaxError, ValueError, RecursionError):
        return None
    return frozenset(reader.builtins)


class _Reader:
    """Raises at the first part that a plain test does not have."""

    def __init__(self) -> None:
        self.builtins: set[str] = set()
        self.checks: set[str] = set()

    def statements(self, body: list[ast.stmt], other: Callable[[ast.stmt], None]) -> None:
        for node in body:
            match node:
                case ast.Assert(test=test):  # its message is there for failures alone
                    self.truth(test)
                case ast.Pass() | ast.Expr(value=ast.Constant()):
                    pass
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in BUILTINS:
                    self.literal(value)
                case _:
                    other(node)

    def top_level(self, node: ast.stmt) -> None:
        """HumanEval's form: a function of one parameter, and its call with the program's."""
        match node:
            case ast.FunctionDef(
                name=name, args=ast.arguments([], [ast.arg(arg=given)], None, [], [], None, []), decorator_list=[], body=body
            ) if not {name, given} & BUILTINS:
                self.checks.add(name)
                self.statements(body, self.refuse)
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=[ast.Name()], keywords=[])) if name in self.checks:
                pass
            case _:
                self.refuse(node)

    def refuse(self, node: ast.AST) -> None:
        raise _NotPlainError

    def truth(self, node: ast.expr) -> None:
        """What is asserted: one answer of the program's at a time."""
        match node:
            case ast.BoolOp(values=values):
                for value in values:
                    self.truth(value)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.truth(operand)
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant(value=value)]):
                if not any(value is one for one in _ONE_OF) or self.answers(left) > 1:
                    self.refuse(node)
            case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
                self.refuse(node)
            case ast.Compare(left=left, ops=[_], comparators=[right]):
                if self.answers(left) + self.answers(right) > 1:
                    self.refuse(node)
            case _:
                if self.answers(node) > 1:
                    self.refuse(node)

    def answers(self, node: ast.expr) -> int:
        """How many of the program's are in an expression of them and of literals."""
        match node:
            case ast.Call(func=ast.Name(id=name), args=values, keywords=[]) if name in BUILTINS:
                self.builtins.add(name)
                return sum(map(self.answers, values))
            case ast.Call(func=ast.Name(id=name), args=values, keywords=keywords) if not hasattr(builtins, name):
                for value in (*values, *(keyword.value for keyword in keywords)):
                    self.argument(value)
                return 1
            case ast.BinOp(left=left, right=right):
                return self.answers(left) + self.answers(right)
            case ast.UnaryOp(operand=operand):
                return self.answers(operand)
            case _:
                self.literal(node)
                return 0

    def literal(self, node: ast.expr | None) -> None:
        if isinstance(node, ast.Set):
            for item in node.elts:
                self.literal(item)
        else:
            self.argument(node)

    def argument(self, node: ast.expr | None) -> None:
        """A literal whose copy is like it: no set, which may have another order, and nothing that is twice in it."""
        match node:
            case ast.Constant():
                pass
            case ast.List(elts=items) | ast.Tuple(elts=items):
                for item in items:
                    self.argument(item)
            case ast.Dict(keys=keys, values=values):
                for part in (*keys, *values):
                    self.argument(part)
            case ast.UnaryOp() | ast.BinOp():
                allowed = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop)
                if not all(isinstance(each, allowed) for each in ast.walk(node)):
                    self.refuse(node)
            case _:
                raise _NotPlainError
