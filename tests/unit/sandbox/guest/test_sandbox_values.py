"""Values survive the way between two processes exactly, as JSON, and what is none is refused."""

import builtins
import collections
import copy
import datetime
import decimal
import fractions
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_values import SMALL, STANDARD, NotAValueError, decode, encode, put_back


def refuse(*_):
    raise AssertionError("not asked for")


def there_and_back(value):
    return decode(json.loads(json.dumps(encode(value, refuse))), refuse)


def same(one, other):
    """Equal, of one type all the way down, with NaN and -0.0 told apart from other numbers."""
    return text_of(one) == text_of(other)


def text_of(value):
    """Types and values, in an order that is not a set's."""
    if isinstance(value, dict):
        value, kind = [*value.items()], dict
    else:
        kind = type(value)
    if not isinstance(value, (list, tuple, set, frozenset)):
        return f"{kind.__name__} {value!r}"
    items = map(text_of, value)
    return f"{kind.__name__} {sorted(items) if kind in (set, frozenset) else list(items)}"


numbers = st.integers() | st.floats() | st.booleans() | st.none()
keys = st.recursive(
    numbers | st.text() | st.binary(), lambda inner: st.tuples(inner, inner) | st.frozensets(inner), max_leaves=4
)
values = st.recursive(
    keys,
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(keys, inner) | st.sets(keys),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=values)
def test_a_plain_value_comes_back_as_it_was(value):
    assert same(there_and_back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        SMALL, -SMALL, SMALL - 1, 10**400, 1.0, -0.0, math.inf, 1 + 2j, b"\x00\xff", bytearray(b"ab"), range(3, 9, 2),
        collections.deque([1, 2]), collections.Counter("aab"), collections.OrderedDict(b=1, a=2),
        decimal.Decimal("1.10"), fractions.Fraction(1, 3), datetime.date(2024, 2, 29),
        int, ValueError, Ellipsis, NotImplemented,
    ],
    ids=repr,
)  # fmt: skip
def test_what_python_has_built_in_comes_back_too(value):
    def named(reference):
        constants = {"Ellipsis": ..., "NotImplemented": NotImplemented}
        name = reference["builtin"]
        return constants[name] if name in constants else getattr(builtins, name)

    found = decode(json.loads(json.dumps(encode(value, refuse))), named)
    assert same(found, value) and type(found) is type(value)


def test_a_function_of_pythons_stays_where_it_is_called():
    assert encode(max, lambda value: {"mine": value.__name__}) == {"mine": "max"}


def test_a_subclass_is_its_plain_value_and_its_own_methods_stay_at_home():
    class Always(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Rows(list):
        def __iter__(self):
            return iter(["forged"])

    for value, expected in ((Always(3), 3), (Rows([1, 2]), [1, 2])):
        found = there_and_back(value)
        assert same(found, expected)


def test_a_class_that_says_of_no_module_that_it_is_its_home_is_one_all_the_same():
    space = {}
    exec("made = type('Own', (list,), {})([1, 2])", space)
    assert not hasattr(type(space["made"]), "__module__")
    assert same(there_and_back(space["made"]), [1, 2])


def test_all_else_is_a_reference_that_its_owner_resolves():
    thing = object()
    data = encode([1, thing], lambda value: {"ref": 7})
    assert data == [1, {"ref": 7}]
    assert decode(data, lambda reference: ("found", reference["ref"])) == [1, ("found", 7)]


@pytest.mark.parametrize(
    "data",
    [
        {}, {"int": "0x1", "tuple": []}, {"int": 3}, {"int": "x"}, {"bytes": "zz"}, {"set": [[1]]}, {"dict": [1]},
        {"complex": ["a"]}, {"range": [1, 2, 3, 4]}, {"tuple": 7},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_value_is_one_kind_of_error(data):
    with pytest.raises(NotAValueError):
        decode(data, refuse)


def test_every_standard_kind_is_what_it_says():
    for tag, (module, name, parts, build) in STANDARD.items():
        assert tag not in ("int", "tuple", "set", "frozenset", "dict", "complex", "bytes", "builtin"), "taken"
        assert callable(parts) and (build is None or callable(build)) and module and name


@settings(max_examples=100, deadline=None)
@given(old=values, new=values)
def test_what_a_function_did_to_its_argument_is_done_to_the_original(old, new):
    before = copy.deepcopy(old)
    put_back(old, new)
    if type(old) is type(new) and isinstance(old, (list, dict, set)):
        assert same(old, new)
    elif not isinstance(old, tuple):
        assert same(old, before), "what cannot be changed is not"


def test_a_tuple_in_a_container_is_another_one_and_what_is_in_it_may_be_the_same():
    pairs, inner = [(2, "b"), (1, "a")], [1]
    put_back(pairs, [(1, "a"), (2, "b")])
    assert pairs == [(1, "a"), (2, "b")], "sorted in place"
    table = {"k": (1, inner), "l": (1,)}
    put_back(table, {"k": (2, [1, 5]), "l": (1, 2)})
    assert table == {"k": (2, [1, 5]), "l": (1, 2)} and table["k"][1] is inner


def test_containers_inside_stay_the_same_objects():
    inner, outer = [1], {"a": [2]}
    old = [inner, outer, 3]
    put_back(old, [[1, 9], {"a": [2, 8], "b": []}, 4])
    assert old == [[1, 9], {"a": [2, 8], "b": []}, 4] and old[0] is inner and old[1] is outer
