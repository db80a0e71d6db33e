"""The one text in a pickle that holds nothing else, read without unpickling: no code of the file's is ever run."""

from __future__ import annotations

import pickletools

from wmtp.errors import DataError

_TEXT = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE")
_FRAME = ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP")


def text_in(data: bytes, where: str) -> str:
    """The text.

    Raises:
        DataError: the pickle makes anything but one text.
    """
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _TEXT:
                texts.append(str(argument))
            elif opcode.name not in _FRAME:
                raise DataError(f"{where} is a pickle of more than a text ({opcode.name}), which is not opened")
    except (ValueError, UnicodeDecodeError, IndexError) as error:
        raise DataError(f"{where} is no pickle of a text ({error})") from None
    if len(texts) != 1:
        raise DataError(f"{where} is a pickle of {len(texts)} texts, not of one")
    return texts[0]
