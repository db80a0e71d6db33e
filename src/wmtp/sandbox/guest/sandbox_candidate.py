"""The candidate's side of an assert test: it answers the examiner's messages with the program's objects.

Runs inside the sandbox with nothing but the standard library, in the process that untrusted code shares.
"""

import builtins
import operator
import os
import sys
from collections.abc import Callable
from typing import Any

from sandbox_calls import (
    COMPARISONS,
    ONE_SIDED,
    TWO_SIDED,
    describe,
    raised_by,
    read_message,
    write_message,
)
from sandbox_values import decode, encode, is_mutable

_MISSING = object()


class Candidate:
    """Answers the examiner's messages with the program's objects; whatever it says is only a claim."""

    OPERATIONS: dict[str, Callable[..., Any]] = {  # noqa: RUF012
        "call": lambda function, *args, **kwargs: function(*args, **kwargs),
        "getattr": getattr,
        "setattr": setattr,
        "getitem": operator.getitem,
        "setitem": operator.setitem,
        "len": len,
        "iter": iter,
        "next": next,
        "str": str,
        "eq": operator.eq,
        "contains": operator.contains,
        **{name: getattr(operator, name) for name in (*COMPARISONS, *TWO_SIDED, *ONE_SIDED)},
    }

    def __init__(self, channel: int, namespace: dict[str, Any]) -> None:
        self.channel, self.namespace = channel, namespace
        self.named: dict[str, Any] = {}
        self.objects: list[Any] = []
        self.read, self.write = os.read, os.write

    def serve(self) -> None:
        """Until the examiner closes the channel."""
        while True:
            message = self.receive()
            if message is None:
                return
            if "names" in message:
                self.named |= {name: self.namespace.get(name, _MISSING) for name in message["names"]}
                self.send({name: self._describe_name(name) for name in message["names"] if name in self.namespace})
            else:
                answer = self.perform(message)
                if not all(self._is_as_named(name) for name in self.named):
                    answer["renamed"] = True
                self.send(answer)

    def perform(self, message: dict) -> dict:
        args: list[Any] = []
        try:
            args = [decode(arg, self._resolve) for arg in message["args"]]
            kwargs = {name: decode(arg, self._resolve) for name, arg in message["kwargs"].items()}
            result = self.OPERATIONS[message["do"]](*args, **kwargs)
            same = [number for number, arg in enumerate(args) if arg is result and is_mutable(arg)]
            answer: dict[str, Any] = {"argument": same[0]} if same else {"value": encode(result, self._refer)}
        except Exception as error:
            answer = describe(error)
        if any(map(is_mutable, args)):
            changed = [encode(arg, self._refer) for arg in args]
            if changed != message["args"]:
                answer["changed"] = changed
        return answer

    def _is_as_named(self, name: str) -> bool:
        """Whether the examiner need not ask again. What it holds a copy of may have changed inside."""
        value = self.named[name]
        return value is self.namespace.get(name, _MISSING) and (
            callable(value) or value is _MISSING or value is sys.modules.get(name)
        )

    def _describe_name(self, name: str) -> list:
        value = self.namespace[name]
        if type(value) is type(sys) and value is sys.modules.get(name):
            return ["module", name]
        return ["value", encode(value, self._refer)]

    def _refer(self, value: Any) -> dict:
        self.objects.append(value)
        return {"mine": len(self.objects) - 1}

    def _resolve(self, reference: dict) -> Any:
        ((kind, content),) = reference.items()
        if kind == "yours":
            return self.objects[content]
        if kind == "function":
            return self._function(content)
        return getattr(builtins, content)

    def _function(self, number: int) -> Callable[..., Any]:
        def apply(*args: Any, **kwargs: Any) -> Any:
            sent = [encode(arg, self._refer) for arg in args]
            self.send(
                {"apply": number, "args": sent, "kwargs": {name: encode(arg, self._refer) for name, arg in kwargs.items()}}
            )
            answer = self.receive() or {}
            if "raised" in answer:
                raise raised_by(answer["raised"], answer["message"])
            return decode(answer.get("value"), self._resolve)

        return apply

    def send(self, message: dict) -> None:
        write_message(self.channel, message, self.write)

    def receive(self) -> Any:
        return read_message(self.channel, self.read)
