"""Tests in one process, the program under test in another: what a program can do to pass is return the right values.

Runs inside the sandbox with nothing but the standard library. The examiner (the runner) executes the test code; the names
that it takes from the program are proxies, and every call of one is a message to the candidate (the untrusted process),
whose answer is data. Comparisons happen here; what is expected and the fact of having passed never leave this process.
"""

import builtins
import importlib
import json
import operator
import os
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from sandbox_plain import PLAIN_TAGS, SET_TAGS, plain_builtins
from sandbox_tests import UnfitTest, defect, prepared
from sandbox_values import NotAValueError, decode, encode, put_back, tags_in

MAX_MESSAGE_BYTES = 16 * 2**20
_MISSING = object()


class CannotCarry(BaseException):
    """The test passes what cannot enter the program's process: only the native run can judge."""


def pack(message: Any) -> bytes:
    """One message: its length in four bytes, then JSON."""
    data = json.dumps(message).encode()
    return struct.pack(">I", len(data)) + data


def write_message(fd: int, message: Any, write: Callable[[int, memoryview], int] = os.write) -> None:
    """All of it, however many writes that takes."""
    data = memoryview(pack(message))
    while data:
        data = data[write(fd, data) :]


def read_message(fd: int, read: Callable[[int, int], bytes] = os.read) -> Any:
    """One message and not a byte more; None once the other side has closed."""
    header = _exactly(fd, 4, read)
    return None if header is None else json.loads((_exactly(fd, struct.unpack(">I", header)[0], read) or b"null").decode())


def _exactly(fd: int, size: int, read: Callable[[int, int], bytes]) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        chunk = read(fd, size - len(parts))
        if not chunk:
            return None
        parts += chunk
    return bytes(parts)


# ------------------------------------------------------------------------------- the examiner


class Proxy:
    """Something of the program's. Truth, order and equality with anything else are not its to decide."""

    def __init__(self, examiner: "Examiner", number: int) -> None:
        object.__setattr__(self, "_examiner", examiner)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._examiner.ask("call", self, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._examiner.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._examiner.ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._examiner.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._examiner.ask("setitem", self, key, value)

    def __len__(self) -> int:
        length = self._examiner.ask("len", self)
        if type(length) is not int or length < 0:
            raise TypeError("a length that is no number")
        return length

    def __iter__(self) -> Iterator[Any]:
        iterator = self._examiner.ask("iter", self)
        if not isinstance(iterator, Proxy):
            raise TypeError("an iterator that is none")
        return iterator

    def __next__(self) -> Any:
        return self._examiner.ask("next", self)

    def __str__(self) -> str:
        text = self._examiner.ask("str", self)
        return text if type(text) is str else "?"

    __repr__ = __str__

    def __bool__(self) -> bool:
        return True  # the native run knows better

    def __contains__(self, item: Any) -> bool:
        return self._examiner.ask("contains", self, item) is True if isinstance(item, Proxy) else item in list(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and self._examiner.ask("eq", self, other) is True

    def __hash__(self) -> int:
        return self._number


def _of_its_own(operation: str) -> Callable[[Proxy, Any], Any]:
    """An operator between two of the program's objects, which only the program can know; none with a value of the test's."""

    def apply(self: Proxy, other: Any) -> Any:
        return self._examiner.ask(operation, self, other) if isinstance(other, Proxy) else NotImplemented

    return apply


def _of_itself(operation: str) -> Callable[[Proxy], Any]:
    return lambda self: self._examiner.ask(operation, self)


COMPARISONS, TWO_SIDED = (
    ("lt", "le", "gt", "ge"),
    ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and_", "or_", "xor"),
)
ONE_SIDED = ("neg", "pos", "abs", "invert")
for _name in (*COMPARISONS, *TWO_SIDED):
    setattr(Proxy, f"__{_name.strip('_')}__", _of_its_own(_name))
for _name in ONE_SIDED:
    setattr(Proxy, f"__{_name}__", _of_itself(_name))


class Examiner:
    """Runs test code against a candidate that answers `exchange(message) -> message`.

    `defines`: names of a right program's; None where nobody knows them.
    """

    def __init__(self, exchange: Callable[[dict], Any], defines: list[str] | None = None) -> None:
        self.exchange, self.defines = exchange, defines
        self.sources: list[str] = []
        self.builtins: frozenset[str] | None = frozenset()
        """That plain tests have called; None once there was a test or an answer that is not plain, see `sandbox_plain`."""
        self.known: dict[str, Any] = {}
        self.proxies: dict[int, Proxy] = {}
        self.functions: list[Callable[..., Any]] = []
        self.space: dict[str, Any] = {"__name__": "test", "__builtins__": builtins}
        self.own: set[str] = set(self.space)
        """Names that mean what a test has made them mean, whatever the program calls so."""

    def run(self, source: str) -> None:
        """Execute the test here, in one namespace with those before it; returns only when it reached its end.

        Raises:
            UnfitTest: the test is no Python, or asks for what cannot be had whatever the program is.
            CannotCarry: it passes what cannot be passed.
            Exception: what the test raised.
        """
        self.sources.append(source)
        code, names = prepared(source)
        names = [name for name in names if name not in self.own]
        called = plain_builtins(source)
        self.builtins = None if self.builtins is None or called is None else self.builtins | called
        asked = [*names, *sorted((self.builtins or frozenset()).difference(names))]
        if not all(name in self.known for name in asked):
            self._look_up(asked)
        if any(self.known[name] is not _MISSING for name in self.builtins or ()):
            self.builtins = None
        found = {name: self.known[name] for name in names if self.known[name] is not _MISSING}
        for name in set(names) - found.keys():
            self.space.pop(name, None)
        self.space.update(found)
        before = dict(self.space)
        try:
            exec(code, self.space)
        except Exception as error:
            self._refuse(error)
            raise
        finally:
            self.own |= {name for name, value in self.space.items() if before.get(name, _MISSING) is not value}

    def _refuse(self, error: Exception) -> None:
        reason = defect(error, self.defines, self.sources)
        if reason:
            raise UnfitTest(reason) from None

    def _look_up(self, names: list[str]) -> None:
        """What the program's names stand for now. The candidate says when a name has come to mean something else."""
        described = self.exchange({"names": names})
        if not isinstance(described, dict) or not described.keys() <= set(names):
            raise NotAValueError("names that nobody asked for")
        for name in names:
            self.known[name] = self._named(name, described[name]) if name in described else _MISSING

    def _named(self, name: str, described: Any) -> Any:
        if not isinstance(described, list) or len(described) != 2:
            raise NotAValueError("a name that is none")
        kind, content = described
        if kind != "module":
            return decode(content, self._resolve)
        return importlib.import_module(name) if name in sys.stdlib_module_names else _MISSING

    def ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """What the candidate says of this operation; its exceptions become ours."""
        sent = [encode(arg, self._refer) for arg in args]
        answer = self.exchange(
            {"do": operation, "args": sent, "kwargs": {name: encode(arg, self._refer) for name, arg in kwargs.items()}}
        )
        while isinstance(answer, dict) and "apply" in answer:
            answer = self.exchange(self._apply(answer))
        if not isinstance(answer, dict):
            raise NotAValueError("no answer")
        if "renamed" in answer:
            self.known.clear()
            self.builtins = None
        if "changed" in answer:
            changed = decode(answer["changed"], self._resolve)
            if isinstance(changed, list) and len(changed) == len(args):
                for old, new in zip(args, changed, strict=True):
                    put_back(old, new)
        if "raised" in answer:
            error = raised_by(answer["raised"], answer.get("message"))
            if isinstance(error, StopIteration) and operation != "next":
                raise RuntimeError("StopIteration")  # it would end the test's own loops early
            raise error
        same = answer.get("argument")
        if type(same) is int and 0 <= same < len(args):
            return args[same]
        plain = PLAIN_TAGS if self.builtins else PLAIN_TAGS | SET_TAGS
        if self.builtins is not None and not tags_in(answer.get("value")) <= plain:
            self.builtins = None
        return decode(answer.get("value"), self._resolve)

    def _apply(self, message: dict) -> dict:
        """The candidate calls a function that the test passed to it."""
        try:
            function = self.functions[operator.index(message["apply"])]
            args = decode(message["args"], self._resolve)
            kwargs = {name: decode(arg, self._resolve) for name, arg in message["kwargs"].items()}
            return {"value": encode(function(*args, **kwargs), self._refer)}
        except Exception as error:
            self._refuse(error)
            return describe(error)
        except CannotCarry as error:  # it was the program that asked for this
            return describe(TypeError(str(error)))

    def _refer(self, value: Any) -> dict:
        if isinstance(value, Proxy):
            return {"yours": value._number}
        if isinstance(value, type(len)) and getattr(builtins, str(getattr(value, "__name__", None)), None) is value:
            return {"builtin": str(getattr(value, "__name__", None))}
        if callable(value) and not isinstance(value, type):
            self.functions.append(value)
            return {"function": len(self.functions) - 1}
        raise CannotCarry(f"the test passes a {type(value).__name__}, which cannot enter the program's process")

    def _resolve(self, reference: dict) -> Any:
        ((kind, content),) = reference.items()
        if kind == "mine" and type(content) is int:
            return self.proxies.setdefault(content, Proxy(self, content))
        if kind == "function" and type(content) is int:
            return self.functions[content]
        found = getattr(builtins, content, None) if kind == "builtin" and type(content) is str else None
        if isinstance(found, type) or found is Ellipsis or found is NotImplemented:
            return found
        raise NotAValueError(f"no reference: {kind}")


def raised_by(names: Any, message: Any) -> Exception:
    """The nearest builtin exception to what the candidate raised."""
    text = message if type(message) is str else ""
    for name in names if isinstance(names, list) else []:
        kind = getattr(builtins, name, None) if type(name) is str else None
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(text)
            except TypeError:
                continue
    return Exception(text)


def describe(error: BaseException) -> dict:
    """An exception as data."""
    return {"raised": [kind.__name__ for kind in type(error).__mro__], "message": str(error)[:500]}
