"""The vocabulary of the embedded dataset: operations on lists of integers and of words, and what is printed at the end.

Each operation has its words, its code and, written apart from the code, its meaning: tests come from the meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Constant = int | str | None
Values = list[Any]


@dataclass(frozen=True)
class Operation:
    """A step from list to list.

    Exactly one of `keep` (a condition on an item), `each` (an expression of an item) and `whole` (an expression of the
    list) is its code; `{x}` is the item, `{src}` the list before, `{k}` the constant. `loop` are the lines of a `whole`
    operation in the loop style; `{out}` is the list after.
    """

    name: str
    phrases: tuple[str, str]
    meaning: Callable[[Values, Any], Values]
    keep: str = ""
    each: str = ""
    whole: str = ""
    loop: tuple[str, ...] = ()
    constants: Sequence[Constant] = (None,)
    takes: str = "integers"
    gives: str = "integers"


@dataclass(frozen=True)
class Reducer:
    """What is printed of the last list."""

    name: str
    phrases: tuple[str, str]
    meaning: Callable[[Values], Any]
    code: str
    takes: str = "integers"


ADDENDS = range(1, 10)
FACTORS = range(2, 10)
COUNTS = range(1, 6)
APPEND_EACH = ("{out} = []", "for {x} in {whole}:", "    {out}.append({x})")


CORE = (
    Operation(
        "even",
        ("keep the even numbers", "select the even values"),
        lambda v, k: [i for i in v if not i & 1],
        keep="{x} % 2 == 0",
    ),
    Operation(
        "odd", ("keep the odd numbers", "select the odd values"), lambda v, k: [i for i in v if i & 1], keep="{x} % 2 == 1"
    ),
    Operation(
        "gt",
        ("keep numbers greater than {k}", "select values above {k}"),
        lambda v, k: [i for i in v if not i <= k],
        keep="{x} > {k}",
        constants=ADDENDS,
    ),
    Operation(
        "lt",
        ("keep numbers less than {k}", "select values below {k}"),
        lambda v, k: [i for i in v if not i >= k],
        keep="{x} < {k}",
        constants=ADDENDS,
    ),
    Operation(
        "add",
        ("add {k} to each number", "increase every value by {k}"),
        lambda v, k: [k + i for i in v],
        each="{x} + {k}",
        constants=ADDENDS,
    ),
    Operation(
        "sub",
        ("subtract {k} from each number", "decrease every value by {k}"),
        lambda v, k: [-k + i for i in v],
        each="{x} - {k}",
        constants=ADDENDS,
    ),
    Operation(
        "mul",
        ("multiply each number by {k}", "scale every value by {k}"),
        lambda v, k: [sum([i] * k) for i in v],
        each="{x} * {k}",
        constants=FACTORS,
    ),
    Operation(
        "square", ("square each number", "raise every value to the power 2"), lambda v, k: [i**2 for i in v], each="{x} * {x}"
    ),
    Operation(
        "sort",
        ("sort the numbers", "put the values in ascending order"),
        lambda v, k: sorted(v),
        whole="sorted({src})",
        loop=("{out} = {src}[:]", "{out}.sort()"),
    ),
    Operation(
        "reverse",
        ("reverse the list", "put the values in reverse order"),
        lambda v, k: list(reversed(v)),
        whole="{src}[::-1]",
        loop=("{out} = {src}[:]", "{out}.reverse()"),
    ),
    Operation(
        "take",
        ("take the first {k} numbers", "keep only the first {k} values"),
        lambda v, k: [i for n, i in enumerate(v) if n < k],
        whole="{src}[:{k}]",
        loop=APPEND_EACH,
        constants=COUNTS,
    ),
    Operation(
        "skip",
        ("skip the first {k} numbers", "drop the first {k} values"),
        lambda v, k: [i for n, i in enumerate(v) if n >= k],
        whole="{src}[{k}:]",
        loop=APPEND_EACH,
        constants=COUNTS,
    ),
)
"""Twelve operations on integers: the setting in which models of under a million parameters learn to compose."""

CORE_REDUCERS = (
    Reducer("sum", ("output the sum", "print the total"), lambda v: sum(v), "sum({src})"),
    Reducer("len", ("output the count", "print how many values are left"), lambda v: len(v), "len({src})"),
    Reducer(
        "max", ("output the maximum", "print the largest value"), lambda v: sorted(v)[-1] if v else 0, "max({src}, default=0)"
    ),
    Reducer(
        "min", ("output the minimum", "print the smallest value"), lambda v: sorted(v)[0] if v else 0, "min({src}, default=0)"
    ),
)
"""The largest and smallest value of an empty list are 0."""
