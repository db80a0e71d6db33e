"""The full catalogue: more operations on integers, operations on words, and what to print of them (`data.operations: all`)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

from wmtp.synthetic.operations import ADDENDS, APPEND_EACH, CORE, CORE_REDUCERS, COUNTS, FACTORS, Operation, Reducer, Values

_LETTERS = tuple("aeorst")


def _unique(values: Values) -> Values:
    return [value for i, value in enumerate(values) if value not in values[:i]]


_MORE_INTEGERS = (
    Operation(
        "abs", ("take absolute values", "remove every minus sign"), lambda v, k: [max(i, -i) for i in v], each="abs({x})"
    ),
    Operation("negate", ("negate each number", "flip every sign"), lambda v, k: [0 - i for i in v], each="-{x}"),
    Operation(
        "multiples",
        ("keep multiples of {k}", "select values divisible by {k}"),
        lambda v, k: [i for i in v if i // k * k == i],
        keep="{x} % {k} == 0",
        constants=range(2, 7),
    ),
    Operation(
        "modulo",
        ("take each number modulo {k}", "replace every value by its remainder by {k}"),
        lambda v, k: [i - i // k * k for i in v],
        each="{x} % {k}",
        constants=FACTORS,
    ),
    Operation(
        "floordiv",
        ("divide each number by {k} rounding down", "floor-divide every value by {k}"),
        lambda v, k: [(i - i % k) // k for i in v],
        each="{x} // {k}",
        constants=range(2, 6),
    ),
    Operation(
        "positive", ("keep positive numbers", "select values above zero"), lambda v, k: [i for i in v if i >= 1], keep="{x} > 0"
    ),
    Operation(
        "negative",
        ("keep negative numbers", "select values below zero"),
        lambda v, k: [i for i in v if i <= -1],
        keep="{x} < 0",
    ),
    Operation(
        "unique",
        ("drop repeated numbers", "keep the first of equal values"),
        lambda v, k: _unique(v),
        whole="list(dict.fromkeys({src}))",
        loop=("{out} = []", "for {x} in {src}:", "    if {x} not in {out}:", "        {out}.append({x})"),
    ),
    Operation(
        "descending",
        ("sort in descending order", "put the largest values first"),
        lambda v, k: sorted(v)[::-1],
        whole="sorted({src}, reverse=True)",
        loop=("{out} = {src}[:]", "{out}.sort(reverse=True)"),
    ),
    Operation(
        "prefix_sums",
        ("compute running totals", "replace every value by the sum so far"),
        lambda v, k: list(accumulate(v)),
        whole="[sum({src}[:i + 1]) for i in range(len({src}))]",
        loop=("{out} = []", "total = 0", "for {x} in {src}:", "    total += {x}", "    {out}.append(total)"),
    ),
    Operation(
        "differences",
        ("take differences of neighbours", "subtract from every value the one before"),
        lambda v, k: [right - left for left, right in pairwise(v)],
        whole="[{src}[i] - {src}[i - 1] for i in range(1, len({src}))]",
        loop=("{out} = []", "for i in range(1, len({src})):", "    {out}.append({src}[i] - {src}[i - 1])"),
    ),
    Operation(
        "cap",
        ("cap each number at {k}", "replace values above {k} by {k}"),
        lambda v, k: [k if i > k else i for i in v],
        each="min({x}, {k})",
        constants=ADDENDS,
    ),
    Operation(
        "every_second",
        ("keep every second number", "select the values at even positions"),
        lambda v, k: [i for n, i in enumerate(v) if n % 2 == 0],
        whole="{src}[::2]",
        loop=APPEND_EACH,
    ),
    Operation(
        "rotate",
        ("move the first number to the end", "rotate the list left by one"),
        lambda v, k: [v[(n + 1) % len(v)] for n in range(len(v))],
        whole="{src}[1:] + {src}[:1]",
        loop=APPEND_EACH,
    ),
    Operation(
        "last",
        ("take the last {k} numbers", "keep only the final {k} values"),
        lambda v, k: [i for n, i in enumerate(v) if n >= len(v) - k],
        whole="{src}[-{k}:]",
        loop=APPEND_EACH,
        constants=COUNTS,
    ),
    Operation(
        "drop_last",
        ("drop the last {k} numbers", "cut the final {k} values"),
        lambda v, k: [i for n, i in enumerate(v) if n < len(v) - k],
        whole="{src}[:-{k}]",
        loop=APPEND_EACH,
        constants=COUNTS,
    ),
)


def _words(name: str, phrases: tuple[str, str], meaning: Callable[[Values, Any], Values], **code: Any) -> Operation:
    return Operation(name, phrases, meaning, **{"takes": "words", "gives": "words", **code})


_WORDS = (
    _words(
        "longer",
        ("keep words longer than {k} letters", "select words of more than {k} letters"),
        lambda v, k: [w for w in v if not len(w) <= k],
        keep="len({x}) > {k}",
        constants=range(2, 6),
    ),
    _words(
        "shorter",
        ("keep words shorter than {k} letters", "select words of fewer than {k} letters"),
        lambda v, k: [w for w in v if not len(w) >= k],
        keep="len({x}) < {k}",
        constants=range(3, 7),
    ),
    _words(
        "starts",
        ("keep words that start with {k}", "select words beginning with {k}"),
        lambda v, k: [w for w in v if w[:1] == k],
        keep="{x}.startswith({k})",
        constants=_LETTERS,
    ),
    _words(
        "contains",
        ("keep words that contain {k}", "select words with the letter {k}"),
        lambda v, k: [w for w in v if w.count(k)],
        keep="{k} in {x}",
        constants=_LETTERS,
    ),
    _words(
        "upper",
        ("write each word in capitals", "uppercase every word"),
        lambda v, k: [w.swapcase() for w in v],
        each="{x}.upper()",
    ),
    _words(
        "reverse_each",
        ("reverse the letters of each word", "spell every word backwards"),
        lambda v, k: ["".join(reversed(w)) for w in v],
        each="{x}[::-1]",
    ),
    _words(
        "prefix",
        ("cut each word to {k} letters", "keep {k} letters of every word"),
        lambda v, k: ["".join(c for n, c in enumerate(w) if n < k) for w in v],
        each="{x}[:{k}]",
        constants=range(1, 5),
    ),
    _words(
        "append",
        ("add {k} to each word", "append {k} to every word"),
        lambda v, k: ["".join((w, k)) for w in v],
        each="{x} + {k}",
        constants=_LETTERS,
    ),
    _words(
        "without",
        ("remove {k} from each word", "delete the letter {k} everywhere"),
        lambda v, k: ["".join(c for c in w if c != k) for w in v],
        each="{x}.replace({k}, '')",
        constants=_LETTERS,
    ),
    _words(
        "double", ("repeat each word twice", "write every word two times"), lambda v, k: [f"{w}{w}" for w in v], each="{x} * 2"
    ),
    _words(
        "sort_words",
        ("sort the words", "put the words in alphabetical order"),
        lambda v, k: sorted(v),
        whole="sorted({src})",
        loop=("{out} = {src}[:]", "{out}.sort()"),
    ),
    _words(
        "reverse_words",
        ("reverse the order of the words", "put the words in reverse order"),
        lambda v, k: list(reversed(v)),
        whole="{src}[::-1]",
        loop=("{out} = {src}[:]", "{out}.reverse()"),
    ),
    _words(
        "unique_words",
        ("drop repeated words", "keep the first of equal words"),
        lambda v, k: _unique(v),
        whole="list(dict.fromkeys({src}))",
        loop=("{out} = []", "for {x} in {src}:", "    if {x} not in {out}:", "        {out}.append({x})"),
    ),
    _words(
        "take_words",
        ("take the first {k} words", "keep only {k} words from the start"),
        lambda v, k: [w for n, w in enumerate(v) if n < k],
        whole="{src}[:{k}]",
        loop=APPEND_EACH,
        constants=COUNTS,
    ),
    _words(
        "skip_words",
        ("skip the first {k} words", "drop {k} words from the start"),
        lambda v, k: [w for n, w in enumerate(v) if n >= k],
        whole="{src}[{k}:]",
        loop=APPEND_EACH,
        constants=COUNTS,
    ),
    _words(
        "lengths",
        ("replace each word by its length", "count the letters of every word"),
        lambda v, k: [sum(1 for _ in w) for w in v],
        each="len({x})",
        gives="integers",
    ),
)

_MORE_REDUCERS = (
    Reducer(
        "distinct",
        ("output the number of distinct values", "print how many values differ"),
        lambda v: len(_unique(v)),
        "len(set({src}))",
    ),
    Reducer(
        "final",
        ("output the last number or 0", "print the final value or 0"),
        lambda v: v[-1] if v else 0,
        "{src}[-1] if {src} else 0",
    ),
    Reducer(
        "joined",
        ("output the words joined by dashes", "print the words with dashes between"),
        lambda v: "-".join(v),
        "'-'.join({src})",
        "words",
    ),
    Reducer(
        "num_words", ("output the number of words", "print how many words are left"), lambda v: len(v), "len({src})", "words"
    ),
    Reducer(
        "longest",
        ("output the first longest word", "print the longest word"),
        lambda v: sorted(v, key=len, reverse=True)[0] if v else "",
        "max({src}, key=len, default='')",
        "words",
    ),
    Reducer(
        "first_word",
        ("output the first word", "print the first word"),
        lambda v: v[0] if v else "",
        "{src}[0] if {src} else ''",
        "words",
    ),
    Reducer(
        "letters",
        ("output the number of letters", "print how many letters are left"),
        lambda v: len("".join(v)),
        "len(''.join({src}))",
        "words",
    ),
)

CATALOGUES: dict[str, tuple[tuple[Operation, ...], tuple[Reducer, ...]]] = {
    "core": (CORE, CORE_REDUCERS),
    "all": (CORE + _MORE_INTEGERS + _WORDS, CORE_REDUCERS + _MORE_REDUCERS),
}
"""`data.operations` -> operations and reducers."""
