"""One way from text to tokens, on real tokenizers of every family; what is expected is asked of the library directly."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tests.unit.tokens.families import BOS, EOS, NAMES, family
from wmtp.errors import DataError
from wmtp.text_start import added_before
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.tokenizer import train_tokenizer

PAIRS = [
    ("def f(x):\n", "    return x\n"),
    ("def f(x):\n", "  return x"),
    ("def f(x):\n", "\n\n    print(a)"),
    ("Question: how many?\nAnswer:\n", "5 in all"),
    ("# naïve 日", "本 x"),
    ("a </s> <s> b\n", "print(</s>)<unk>"),
    ("x", "y"),
    ("x ", " y"),
    ("x\n", ""),
    ("", "a b"),
]


@functools.cache
def loaded(name):
    saved, prefix = family(name)
    tokenizer = Tokenizer.from_str(saved)
    assert added_before(tokenizer) == prefix
    return TextTokenizer(tokenizer, EOS, EOS, prefix)


@functools.cache
def library(name):
    """The same file with truncation, padding and special tokens off; never touched by what is tested."""
    tokenizer = Tokenizer.from_str(family(name)[0])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def check_row(name, prompt, answer):
    text, tokenizer = loaded(name), library(name)
    (row,) = text.encode_rows([(prompt, answer)])
    start, end = len(text.prefix_ids), row.prompt_len
    assert (
        tuple(row.ids[:end])
        == text.encode_prompt(prompt)
        == (*text.prefix_ids, *tokenizer.encode(prompt, add_special_tokens=False).ids)
    )
    assert row.ids[-1] == EOS and not {BOS, EOS} & set(row.ids[start:-1])
    assert tokenizer.decode(row.ids[start:-1], skip_special_tokens=False) == tokenizer.decode(
        tokenizer.encode(prompt + answer, add_special_tokens=False).ids
    )
    assert text.decode(row.ids[end:-1]) == answer or not prompt
    whole = tokenizer.encode(prompt + answer, add_special_tokens=False).ids
    if whole[: end - start] == row.ids[start:end] and "".join(map(tokenizer.id_to_token, whole)).isascii():
        assert row.ids[start:-1] == whole
    assert len(row.spans) == len(row.ids)
    covered = {i for first, last in row.spans for i in range(first, last)}
    assert covered == set(range(len(prompt + answer)))
    assert all(last <= len(prompt) for _, last in row.spans[:end])
    assert all(first >= len(prompt) for first, _ in row.spans[end:-1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("prompt", "answer"), PAIRS)
def test_a_row_is_the_evaluated_prompt_the_answer_and_the_end(name, prompt, answer):
    check_row(name, prompt, answer)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    prompt=st.text(st.sampled_from(" \n\tax.:(1é日🙂"), min_size=1, max_size=12),
    answer=st.text(st.sampled_from(" \n\tax.:(1é日🙂"), max_size=12),
)
def test_any_text_survives_and_no_token_straddles(name, prompt, answer):
    check_row(name, prompt, answer)


def test_a_token_that_would_straddle_is_cut_at_the_boundary():
    prompt, answer = "def f(x):\n", "    return x\n"
    tokenizer = library("merges across lines")
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode(prompt + answer).ids]
    assert any("\n" in piece[:-1] for piece in pieces)  # one does
    (row,) = loaded("merges across lines").encode_rows([(prompt, answer)])
    assert tokenizer.decode(row.ids[: row.prompt_len]) == prompt
    assert row.ids[row.prompt_len : -1] == tokenizer.encode(answer).ids


def test_many_rows_are_each_what_they_are_alone():
    for name in NAMES:
        assert loaded(name).encode_rows(PAIRS) == [loaded(name).encode_rows([pair])[0] for pair in PAIRS]


@pytest.mark.parametrize("name", NAMES)
def test_a_completion_keeps_its_first_spaces_whole_or_token_by_token(name):
    text = loaded(name)
    for answer in ("    return x", " a", "a", "\n    b", "日 本"):
        (row,) = text.encode_rows([("def f(x):\n", answer)])
        ids = row.ids[row.prompt_len : -1]
        assert text.decode(ids) == answer
        for stop in range(len(ids)):
            shown = text.decode(ids[:stop]).rstrip("\N{REPLACEMENT CHARACTER}")
            assert answer.startswith(shown)
    assert text.decode([EOS]) == "</s>" and text.decode([]) == ""


def test_a_broken_character_does_not_take_its_neighbours_along():
    """ByteFallback gives up on a whole run of bytes; the prompt's newline is a byte too, and must not be part of it."""
    text = loaded("llama2")
    broken = library("llama2").token_to_id("<0xFF>")
    assert text.decode([broken]) == "\N{REPLACEMENT CHARACTER}"


def test_what_is_no_text_is_covered_by_no_token_and_a_tokenizer_without_boundaries_is_refused():
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "[E]": 2}, merges=[], unk_token="[E]", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace("b", "")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    text = TextTokenizer(tokenizer, 2, 2)
    assert text.encode_rows([("a", "ba")])[0].ids == [0, 0, 2]
    words = Tokenizer(models.WordLevel({"[E]": 0}, unk_token="[E]"))
    with pytest.raises(DataError, match="joins the answer 'b c' to whatever stands before it"):
        TextTokenizer(words, 0, 0).encode_rows([("a", "b c")])


@functools.cache
def learnt():
    return train_tokenizer(["def f(x):\n    return x + 1\n# a \u00e9 word and another word\n"] * 3, 300)


@settings(max_examples=200, deadline=None)
@given(st.text("a\u00e9 \t\n19</s>|<|eos|>:r", max_size=12), st.text("a\u00e9 \t\n19</s>|<|eos|>:r", max_size=12))
def test_prompts_and_answers_of_learnt_tokenizers_are_what_the_whole_text_is(before, answer):
    """They are tokenised apart; the tokens, their characters and the boundary are those of one string, as the library says."""
    prompt, text = before + "\n", learnt()
    (row,) = text.encode_rows([(prompt, answer)])
    plain = Tokenizer.from_str(text.tokenizer.to_str())
    plain.encode_special_tokens = True
    whole, head = plain.encode(prompt + answer), plain.encode(prompt)
    assert (row.ids[:-1], row.spans[:-1], row.prompt_len) == (whole.ids, whole.offsets, len(head.ids))


def test_only_a_tokenizer_that_keeps_newlines_alone_is_taken_apart():
    calls = []

    class Watched:
        """Hands everything on, and notes what is tokenised."""

        def __init__(self, tokenizer):
            self.__dict__["inner"] = tokenizer

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def __setattr__(self, name, value):
            setattr(self.inner, name, value)

        def encode_batch(self, texts, **options):
            calls.append(texts)
            return self.inner.encode_batch(texts, **options)

    for tokenizer, strings in ((learnt().tokenizer, ["b"]), *((loaded(name).tokenizer, ["a\nb"]) for name in NAMES)):
        calls.clear()
        TextTokenizer(Watched(tokenizer), EOS, EOS).encode_rows([("a\n", "b")])
        assert calls[0] == strings
