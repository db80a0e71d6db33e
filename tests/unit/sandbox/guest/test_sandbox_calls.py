"""Messages between the two processes."""

import os
import threading

import pytest
from sandbox_calls import describe, pack, raised_by, read_message, write_message


@pytest.mark.parametrize("message", [None, 0, "λ\n", [1, {"a": None}], "x" * 200_000], ids=lambda m: str(m)[:20])
def test_a_message_comes_whole_and_no_byte_of_the_next(message):
    there, here = os.pipe()
    writer = threading.Thread(target=lambda: (write_message(here, message), write_message(here, "next"), os.close(here)))
    writer.start()
    try:
        assert [read_message(there), read_message(there), read_message(there)] == [message, "next", None]
    finally:
        writer.join()
        os.close(there)


def test_a_message_is_written_and_read_however_small_the_pieces():
    data, sent = pack({"a": [1, 2]}), bytearray()
    write_message(0, {"a": [1, 2]}, lambda _, rest: sent.extend(rest[:3]) or min(3, len(rest)))
    assert bytes(sent) == data
    left = bytearray(data)

    def read(_, size):
        part = bytes(left[: min(2, size)])
        del left[: len(part)]
        return part

    assert read_message(0, read) == {"a": [1, 2]} and not left


@pytest.mark.parametrize("cut", [0, 2, 4, 7])
def test_a_message_that_breaks_off_is_none(cut):
    left = bytearray(pack({"a": 1})[:cut])

    def read(_, size):
        part = bytes(left[:size])
        del left[: len(part)]
        return part

    assert read_message(0, read) is None


class OwnError(ZeroDivisionError):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), ValueError),
        (OwnError("no"), ZeroDivisionError),
        (KeyError("no"), KeyError),
        (KeyboardInterrupt("no"), Exception),
    ],
)
def test_an_exception_comes_back_as_the_nearest_builtin_one(error, kind):
    data = describe(error)
    found = raised_by(data["raised"], data["message"])
    assert type(found) is kind and "no" in str(found)


@pytest.mark.parametrize("names", [None, [3], ["nonsense"], ["SystemExit"], ["print"], "ValueError"])
def test_whatever_a_program_claims_to_have_raised_is_an_exception_and_nothing_else(names):
    assert type(raised_by(names, ["not", "text"])) is Exception
