"""Python values as JSON between two processes that do not trust each other; nothing is ever unpickled.

Runs inside the sandbox with nothing but the standard library. Exact for None, bool, int, float, complex, str, bytes,
list, tuple, dict, set, frozenset, the builtin types, named tuples, the standard containers and numbers in `STANDARD`, and
numpy's arrays and scalars where the other side has numpy too.
A subclass of a plain type counts as its plain value, so an `__eq__` of its own stays where it was defined. All else
travels as a reference that only its owner can use.
"""

import builtins
import importlib
import re
import sys
from collections.abc import Callable
from typing import Any

SMALL = 2**53
Refer = Callable[[Any], dict]
"""Any other object -> its reference."""


class NotAValueError(Exception):
    """What the other side sent is no encoded value, or this side's object cannot be sent."""


def _rebuild_default(factory: Any, items: list) -> Any:
    return importlib.import_module("collections").defaultdict(factory, items)


def _rebuild_path(text: str) -> Any:
    return importlib.import_module("pathlib").PurePosixPath(text)  # equal, and reaches no file


def _rebuild_named(name: str, fields: list, items: list) -> Any:
    return importlib.import_module("collections").namedtuple(name, fields)(*items)


STANDARD: dict[str, tuple[str, str, Callable[[Any], Any], Callable[..., Any] | None]] = {
    "range": ("builtins", "range", lambda r: [r.start, r.stop, r.step], None),
    "bytearray": ("builtins", "bytearray", lambda b: [bytes(b)], None),
    "keys": ("builtins", "dict_keys", lambda v: [list(v)], lambda keys: dict.fromkeys(keys).keys()),
    "items": ("builtins", "dict_items", lambda v: [list(v)], lambda items: dict(items).items()),
    "counter": ("collections", "Counter", lambda c: [dict(c)], None),
    "ordered": ("collections", "OrderedDict", lambda d: [list(d.items())], None),
    "default": ("collections", "defaultdict", lambda d: [d.default_factory, list(d.items())], _rebuild_default),
    "user_list": ("collections", "UserList", lambda u: [list(u.data)], None),
    "user_dict": ("collections", "UserDict", lambda u: [dict(u.data)], None),
    "user_text": ("collections", "UserString", lambda u: [str(u.data)], None),
    "chain": ("collections", "ChainMap", lambda c: list(c.maps), None),
    "array": ("array", "array", lambda a: [a.typecode, a.tolist()], None),
    "slice": ("builtins", "slice", lambda s: [s.start, s.stop, s.step], None),
    "values": ("builtins", "dict_values", lambda v: [list(v)], lambda values: dict(enumerate(values)).values()),
    "path": ("pathlib", "PosixPath", lambda p: [str(p)], _rebuild_path),
    "pure_path": ("pathlib", "PurePosixPath", lambda p: [str(p)], None),
    "time": (
        "datetime",
        "time",
        lambda t: [t.isoformat()],
        lambda text: importlib.import_module("datetime").time.fromisoformat(text),
    ),
    "deque": ("collections", "deque", lambda d: [list(d), d.maxlen], None),
    "fraction": ("fractions", "Fraction", lambda f: [f.numerator, f.denominator], None),
    "decimal": ("decimal", "Decimal", lambda d: [str(d)], None),
    "date": ("datetime", "date", lambda d: [d.year, d.month, d.day], None),
    "time_span": ("datetime", "timedelta", lambda d: [d.days, d.seconds, d.microseconds], None),
    "datetime": (
        "datetime",
        "datetime",
        lambda d: [d.isoformat()],
        lambda text: importlib.import_module("datetime").datetime.fromisoformat(text),
    ),
}
"""Tag -> (module, type, its parts, how to put them together if not by calling the type)."""
_TAG_OF = {(module, name): tag for tag, (module, name, _, _) in STANDARD.items()}
_PLAIN: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, lambda v: int.__add__(v, 0)),
    (float, float.__float__),
    (complex, complex.__pos__),
    (str, str.__str__),
    (bytes, lambda v: bytes.__getitem__(v, slice(None))),
    (list, lambda v: list(list.__iter__(v))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (dict, lambda v: dict(dict.items(v))),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
)


_ITEMS = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16|[US][0-9]+|O|[mM]8(?:\[[0-9]*[a-zA-Z]+\])?)")
"""Items of an array that have a plain value: numpy's names of their types."""


def _encode_numpy(value: Any, kind: type, refer: Refer) -> Any:
    """An array, or a scalar as an array without dimensions; None for what is neither."""
    numpy: Any = sys.modules.get("numpy")
    if getattr(numpy, kind.__name__, None) is not kind or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return None
    items = value.dtype.str
    if not _ITEMS.fullmatch(items):
        return None
    flat = value.ravel()
    listed = (flat.view("i8") if items[1] in "mM" else flat).tolist()
    tag = "ndarray" if isinstance(value, numpy.ndarray) else "scalar"
    return {tag: [items, list(value.shape), [encode(item, refer) for item in listed]]}


def _rebuild_numpy(tag: str, items: Any, shape: Any, listed: list) -> Any:
    if type(items) is not str or not _ITEMS.fullmatch(items):
        raise ValueError("items of no plain type")
    numpy = importlib.import_module("numpy")
    flat = numpy.empty(len(listed), items)
    for place, item in enumerate(listed):
        flat[place] = item
    array = flat.reshape(tuple(shape))
    return array if tag == "ndarray" else array[()]


def encode(value: Any, refer: Refer) -> Any:
    """`value` in JSON's terms; `refer` names what is no plain value."""
    kind = type(value)
    if value is None or kind is bool or kind is float or (kind is int and -SMALL < value < SMALL):
        return value
    if kind is str:
        return value
    if kind is list:
        return [encode(item, refer) for item in value]
    if kind is int:
        return {"int": hex(value)}
    if kind in (tuple, set, frozenset):
        return {kind.__name__: [encode(item, refer) for item in value]}
    if kind is dict:
        return {"dict": [[encode(key, refer), encode(item, refer)] for key, item in value.items()]}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is bytes:
        return {"bytes": value.hex()}
    return _encode_rare(value, kind, refer)


def _encode_rare(value: Any, kind: type, refer: Refer) -> Any:
    home = getattr(kind, "__module__", "")  # a class that `type` made where there is no `__name__` has none
    tag = _TAG_OF.get((home, kind.__qualname__))
    if tag is not None:
        module, name, parts, _ = STANDARD[tag]
        if name.startswith("dict_") or kind is getattr(sys.modules.get(module), name, None):
            return {tag: [encode(part, refer) for part in parts(value)]}
    if isinstance(value, tuple) and isinstance(fields := getattr(kind, "_fields", None), tuple):
        return {"named": [kind.__name__, [str(name) for name in fields], encode(tuple(tuple.__iter__(value)), refer)]}
    if home == "numpy" and (encoded := _encode_numpy(value, kind, refer)) is not None:
        return encoded
    for plain, convert in _PLAIN:
        if isinstance(value, plain):
            return {"like": encode(convert(value), refer)}
    called = getattr(value, "__name__", None) if isinstance(value, type) else None
    if type(called) is str and getattr(builtins, called, None) is value:
        return {"builtin": called}
    if value is Ellipsis or value is NotImplemented:
        return {"builtin": repr(value)}
    return refer(value)


def decode(data: Any, resolve: Callable[[dict], Any]) -> Any:
    """The value of what `encode` made; `resolve` finds the objects behind references.

    Raises:
        NotAValueError: it is none.
    """
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise NotAValueError("an object with other than one key")
    ((tag, content),) = data.items()
    try:
        return _decode_tagged(tag, content, data, resolve)
    except (TypeError, ValueError, AttributeError, ArithmeticError, ImportError) as error:
        raise NotAValueError(f"{tag}: {error}") from error


def _decode_tagged(tag: str, content: Any, data: dict, resolve: Callable[[dict], Any]) -> Any:
    if tag == "int":
        return int(content, 16)
    if tag in ("tuple", "set", "frozenset"):
        items = [decode(item, resolve) for item in content]
        return tuple(items) if tag == "tuple" else set(items) if tag == "set" else frozenset(items)
    if tag == "dict":
        return {decode(key, resolve): decode(item, resolve) for key, item in content}
    if tag == "complex":
        return complex(*content)
    if tag == "bytes":
        return bytes.fromhex(content)
    if tag == "like":
        return decode(content, resolve)
    if tag == "named":
        name, fields, items = content
        return _rebuild_named(name, fields, decode(items, resolve))
    if tag in ("ndarray", "scalar"):
        items, shape, listed = content
        return _rebuild_numpy(tag, items, shape, decode(listed, resolve))
    if tag in STANDARD:
        module, name, _, build = STANDARD[tag]
        build = build or getattr(importlib.import_module(module), name)
        return build(*[decode(part, resolve) for part in content])
    return resolve(data)


def tags_in(data: Any) -> set[str]:
    """Of all values in an encoded one that JSON has no form of its own for."""
    if isinstance(data, dict):
        return {*data}.union(*map(tags_in, data.values()))
    return set().union(*map(tags_in, data)) if isinstance(data, list) else set()


def put_back(old: Any, new: Any) -> None:
    """Make the mutable containers in `old` hold what those in `new` hold (a function may change its arguments)."""
    if type(old) is not type(new) or old is new:
        return
    if isinstance(old, list) and len(old) == len(new):
        old[:] = [_put_back_item(ours, theirs) for ours, theirs in zip(old, new, strict=True)]
    elif isinstance(old, (list, bytearray)):
        old[:] = new
    elif isinstance(old, tuple):
        for ours, theirs in zip(old, new, strict=False):
            put_back(ours, theirs)
    elif isinstance(old, dict):
        merged = {key: _put_back_item(old[key], item) if key in old else item for key, item in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif type(old).__name__ == "ndarray":
        if old.shape == new.shape and old.dtype == new.dtype:
            old[...] = new
    elif type(old).__name__ == "deque":
        old.clear()
        old.extend(new)


def _put_back_item(ours: Any, theirs: Any) -> Any:
    """What takes the place of `ours` in its container: itself, changed, where it can be; a tuple's items likewise."""
    if type(ours) is not type(theirs) or not is_mutable(ours):
        return theirs
    if isinstance(ours, tuple):
        same = len(ours) == len(theirs)
        return tuple(map(_put_back_item, ours, theirs)) if same else theirs
    put_back(ours, theirs)
    return ours


def is_mutable(value: Any) -> bool:
    """Whether what it holds can be put back."""
    return isinstance(value, (list, tuple, dict, set, bytearray)) or type(value).__name__ in ("deque", "ndarray")
