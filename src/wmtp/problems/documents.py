"""Documents and conversations: what is learnt from as it stands, without problems, tests or labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from wmtp.errors import DataError
from wmtp.problems.files import Reading, parse_rows, require_text
from wmtp.problems.records import Record, take

KINDS = ("text", "messages")
"""Of `data.source`, beside the task sets: a text each row, or the messages of a conversation."""

ROLES = ("system", "user", "assistant", "tool")

Message = dict[str, str]
"""`role` and `content`, as chat templates read them."""


@dataclass(frozen=True)
class Document:
    """One row of a source: its text, or its messages. `place`: where it stands, as errors name it."""

    place: str
    text: str = ""
    messages: tuple[Message, ...] = ()

    @property
    def content(self) -> str:
        """All of it as one text: what is compared with other documents."""
        return self.text if not self.messages else "\n\n".join(f"{one['role']}\n{one['content']}" for one in self.messages)

    @property
    def digest(self) -> bytes:
        """The same for the same text or messages, wherever they stand."""
        what = self.text if not self.messages else json.dumps(self.messages, sort_keys=True)
        return hashlib.blake2b(what.encode(), digest_size=8).digest()


def read_documents(path_or_hub_id: str, kind: str, field: str, reading: Reading) -> Iterator[Document]:
    """Every document of a file, folder or hub dataset, in order, one in memory at a time.

    Args:
        kind: one of `KINDS`; field: the column that holds the text or the messages.
        reading: how many rows may be none; it is filled.
    Raises:
        DataError: a row that is none, or more of them than may be; names file, row and field.
    """

    def make(record: Record, where: str) -> Document:
        if kind == "messages":
            return Document(where, messages=_messages(record, where, field))
        text = take(record, where, field, str)
        require_text(text, where, f"field {field!r}")
        return Document(where, text=text)

    return parse_rows(path_or_hub_id, make, reading)


def _messages(record: Record, where: str, field: str) -> tuple[Message, ...]:
    """ShareGPT's names (`from`, `value`) are another format, and are not guessed."""
    found = []
    for i, item in enumerate(take(record, where, field, list)):
        here = f"{where}: {field}[{i}]"
        if not isinstance(item, dict):
            raise DataError(f"{here} must be an object with role and content")
        role, content = take(item, here, "role", str), take(item, here, "content", str)
        if role not in ROLES:
            raise DataError(f"{here}: role {role!r} is none of {', '.join(ROLES)}")
        more = sorted(name for name, value in item.items() if name not in ("role", "content") and value is not None)
        if more:
            raise DataError(f"{here} has {', '.join(more)} beside role and content, which would not be learnt from")
        require_text(content, here, "content")
        found.append({"role": role, "content": content})
    if not found:
        raise DataError(f"{where}: field {field!r} holds no message")
    return tuple(found)
