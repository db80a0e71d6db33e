"""One text, in every protocol, and nothing else."""

import pickle

import pytest

from wmtp.errors import DataError
from wmtp.problems.published.plain_pickle import text_in


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["", "[1]", "λ" * 300, "x" * 70_000])
def test_a_text_in_every_protocol(protocol, text):
    assert text_in(pickle.dumps(text, protocol), "here") == text


@pytest.mark.parametrize("value", [None, 3, b"x", ["x"], ("x", "y"), {"x": "y"}, print, Exception("x"), 1.5])
def test_anything_else_is_refused(value):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(DataError, match=r"^here is a pickle of "):
            text_in(pickle.dumps(value, protocol), "here")


@pytest.mark.parametrize("data", [b"", b"\x80", b"plain text", pickle.dumps("text")[:-3]])
def test_what_is_no_pickle_is_named(data):
    with pytest.raises(DataError, match=r"^here is "):
        text_in(data, "here")
