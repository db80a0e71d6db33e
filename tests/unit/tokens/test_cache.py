"""Rows that are kept are the rows that would be made, and nothing is made twice."""

import os

import numpy as np
import pytest

from wmtp.tokens import cache as caches
from wmtp.tokens.cache import TokenCache
from wmtp.tokens.encode import TextTokenizer, tokenise
from wmtp.tokens.tokenizer import train_tokenizer

PAIRS = [(f"# {i % 5} \u00e9\n", "x = 1\n" * (i % 7) + str(i)) for i in range(60)]


def tokenizer(size=300):
    return train_tokenizer([prompt + answer for prompt, answer in PAIRS], size)


class Counting(TextTokenizer):
    """Says how many rows it made."""

    def encode_rows(self, pairs):
        made.append(len(pairs))
        return super().encode_rows(pairs)


made = []


@pytest.fixture
def counting():
    made.clear()
    one = tokenizer()
    return Counting(one.tokenizer, one.eos_token_id, one.pad_token_id)


def assert_same(rows, expected):
    assert [values.tolist() for values in rows] == [values.tolist() for values in expected]
    assert [values.dtype for values in rows] == [values.dtype for values in expected]


@pytest.mark.parametrize("rows_of_a_file", [7, 20_000])
def test_what_is_new_is_made_once_and_what_is_known_never_again(tmp_path, counting, monkeypatch, rows_of_a_file):
    monkeypatch.setattr(caches, "FILE_ROWS", rows_of_a_file)
    plain = tokenizer()
    kept = TokenCache(tmp_path, counting)
    assert_same(kept.rows(PAIRS[:20] + PAIRS[:5]), tokenise(plain, PAIRS[:20] + PAIRS[:5]))
    assert sum(made) == 20 == len(kept)
    again = TokenCache(tmp_path, counting)
    assert_same(again.rows(PAIRS[10:30]), tokenise(plain, PAIRS[10:30]))
    assert sum(made) == 30
    lengths, prompt_lens = again.sizes(PAIRS[::-1])
    expected = tokenise(plain, PAIRS[::-1])
    assert lengths.tolist() == np.diff(expected.offsets).tolist() and prompt_lens.tolist() == expected.prompt_lens.tolist()
    assert sum(made) == 60 == len(TokenCache(tmp_path, counting))
    assert_same(again.rows([]), tokenise(plain, []))


def test_rows_of_another_tokenizer_or_of_other_ends_are_others(tmp_path):
    one = tokenizer()
    TokenCache(tmp_path, one).rows(PAIRS)
    for other in (
        tokenizer(260),
        TextTokenizer(tokenizer().tokenizer, one.pad_token_id, one.pad_token_id),
        TextTokenizer(tokenizer().tokenizer, one.eos_token_id, one.pad_token_id, (5,)),
    ):
        kept = TokenCache(tmp_path, other)
        assert len(kept) == 0
        assert_same(kept.rows(PAIRS), tokenise(other, PAIRS))
    assert len(TokenCache(tmp_path, tokenizer())) == 60


def test_a_prompt_and_its_answer_are_not_any_division_of_the_same_text(tmp_path):
    kept = TokenCache(tmp_path, tokenizer())
    divided = [("# a\n", "b"), ("# a", "\nb"), ("", "# a\nb")]
    assert_same(kept.rows(divided), tokenise(tokenizer(), divided))
    assert len(kept) == 3


def test_ids_of_a_large_vocabulary_are_kept_whole(tmp_path, monkeypatch):
    one = tokenizer()
    large = TextTokenizer(one.tokenizer, 70_000, one.pad_token_id)
    monkeypatch.setattr(TextTokenizer, "vocab_size", 70_001)
    assert TokenCache(tmp_path, large).rows(PAIRS[:1]).tokens[-1] == 70_000


def test_what_another_process_is_writing_is_not_looked_at(tmp_path):
    kept = TokenCache(tmp_path, tokenizer())
    kept.rows(PAIRS[:3])
    (file,) = kept.folder.iterdir()
    half = file.with_name(f".{file.name}.tmp-0123")
    half.write_bytes(file.read_bytes()[: os.path.getsize(file) // 2])
    assert len(TokenCache(tmp_path, tokenizer())) == 3


def test_progress_is_told_of_new_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "FILE_ROWS", 16)
    monkeypatch.setattr(caches, "AT_ONCE", 10)
    told = []
    kept = TokenCache(tmp_path, tokenizer(), lambda done, total: told.append((done, total)))
    kept.rows(PAIRS[:8])
    kept.rows(PAIRS[:40])
    assert told == [(8, 8), (10, 32), (16, 32), (26, 32), (32, 32)]
