"""What starts every text, by the files of real tokenizers' forms."""

from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, normalizers

from tests.unit.tokens.families import EOS, NAMES, family
from wmtp.errors import DataError
from wmtp.text_start import added_before, added_behind, prefix_of, special_token

HERE = Path("model")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_file_adds_before_a_text(name):
    saved, prefix = family(name)
    assert added_before(Tokenizer.from_str(saved)) == prefix == prefix_of(HERE, Tokenizer.from_str(saved), {})


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_behind_a_text_is_what_the_file_adds_there(name):
    due = (EOS,) if name in ("appends its end", "roberta") else ()
    assert added_behind(Tokenizer.from_str(family(name)[0])) == due


def test_it_cannot_be_told_without_a_token():
    saved = family("appends its end")[0]
    assert added_before(Tokenizer.from_str(saved)) == ()
    mute = Tokenizer.from_str(saved)
    mute.normalizer = normalizers.Replace(Regex(r"[\s\S]"), "")
    with pytest.raises(DataError, match="no token of any plain text"):
        added_before(mute)


def test_settings_come_before_the_file():
    tokenizer = Tokenizer.from_str(family("appends its end")[0])
    token, number = next(iter(tokenizer.get_vocab().items()))
    assert prefix_of(HERE, tokenizer, {"add_bos_token": True, "bos_token": token}) == (number,)
    assert prefix_of(HERE, tokenizer, {"add_bos_token": True, "bos_token": {"content": token}}) == (number,)
    assert prefix_of(HERE, tokenizer, {"add_bos_token": False, "bos_token": token}) == ()
    for bos in (None, "not of the vocabulary"):
        with pytest.raises(DataError, match=r"^model/tokenizer_config\.json asks for a bos_token and names none"):
            prefix_of(HERE, tokenizer, {"add_bos_token": True, "bos_token": bos})


def test_a_token_that_is_not_named_has_no_number():
    tokenizer = Tokenizer.from_str(family("appends its end")[0])
    assert special_token(tokenizer, {}, "eos_token") is None
