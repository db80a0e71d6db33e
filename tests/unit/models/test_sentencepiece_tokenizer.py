"""A converted tokenizer has the pieces that the sentencepiece library has, on code above all."""

import random

import pytest
import sentencepiece
from transformers import AutoTokenizer

from wmtp.errors import ModelError
from wmtp.models.sentencepiece_tokenizer import write_tokenizer
from wmtp.tokens.tokenizer import load_tokenizer

CODE = [
    "def f(x):\n    return x + 1\n",
    "    if a:\n\t\tfor i in range(10):\n\t\t    print(i)\n",
    "  leading spaces",
    " one",
    "\ttab\t\ttabs\n\n\n",
    "\u00e9t\u00e9 = '\u4f60\u597d \U0001f600'  # \u00b2\u00bd \u00a0\u3000x",
    "print(f'{x:>10.3f}')   \n",
    "x=1;y=12345;z=1_000\r\n",
    "</s><s>[INST] <unk> <0x0A>",
    "",
    "\u2581 a",
]
LLAMA = {
    "model_type": "bpe",
    "byte_fallback": True,
    "split_digits": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    "add_dummy_prefix": True,
}


def train(tmp_path, **changes):
    """A small model of this file's own words, trained as Llama's was."""
    generator = random.Random(0)
    words = [word for text in CODE for word in text.split()] + ["while", "return", "import", "class", "self", "lambda"]
    lines = [" ".join(generator.choices(words, k=8)) for _ in range(300)] + [
        "    return  x",
        "        pass",
        "for i in range",
    ] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "tokenizer"), minloglevel=2, num_threads=1,
        **{**LLAMA, "vocab_size": 400, **changes},
    )  # fmt: skip
    return tmp_path / "tokenizer.model"


def texts():
    generator = random.Random(1)
    letters = "ab12 \t\n().:=_<>/s\u00e9\u4f60\U0001f600\u2581"
    return CODE + ["".join(generator.choices(letters, k=generator.randrange(40))) for _ in range(300)]


@pytest.mark.parametrize("changes", [{}, {"add_dummy_prefix": False}])
def test_pieces_are_the_librarys_and_texts_come_back(changes, tmp_path):
    source = train(tmp_path, **changes)
    (tmp_path / "hf").mkdir()
    special = write_tokenizer(source, tmp_path / "hf", 400)
    assert special == {"bos_token_id": 1, "eos_token_id": 2}
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(source))
    ours = load_tokenizer(tmp_path / "hf")
    assert (ours.prefix_ids, ours.eos_token_id) == ((1,), 2)
    for text in texts():
        ids = ours.tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == theirs.encode(text), repr(text)
        if "\u2581" not in text:  # which stands for a space in both
            assert ours.tokenizer.decode(ids, skip_special_tokens=False) == theirs.decode(ids) == text


def test_transformers_reads_it_and_starts_texts_as_meta_does(tmp_path):
    source = train(tmp_path)
    (tmp_path / "hf").mkdir()
    write_tokenizer(source, tmp_path / "hf", 400)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(source))
    for text in CODE[:8]:
        assert tokenizer(text)["input_ids"] == [theirs.bos_id(), *theirs.encode(text)]
        assert tokenizer.decode(theirs.encode(text)) == text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model_type": "unigram", "vocab_size": 330}, "is no byte-pair encoding"),
        ({"byte_fallback": False, "vocab_size": 150}, "knows no bytes to fall back to, and loses characters"),
        ({"normalization_rule_name": "nmt_nfkc"}, r"normalises text \(nmt_nfkc\)"),
        ({"user_defined_symbols": ["<PRE>"]}, "has symbols of its user's"),
        ({"remove_extra_whitespaces": True}, "removes spaces"),
        ({"treat_whitespace_as_suffix": True}, "marks spaces after words"),
    ],
)
def test_what_would_change_texts_is_refused(changes, line, tmp_path):
    with pytest.raises(ModelError, match=f"{line}: such a tokenizer is not converted" if "(" not in line else line):
        write_tokenizer(train(tmp_path, **changes), tmp_path, 400)


@pytest.mark.parametrize("content", [b"", b"IQ== 0\nIg== 1\n", b"\xff\xfe"])
def test_another_kind_of_file_is_one_line(content, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer.model is no SentencePiece model: --without-tokenizer"):
        write_tokenizer(tmp_path / "tokenizer.model", tmp_path, 400)


def test_tokens_that_the_model_does_not_embed_are_another_models(tmp_path):
    with pytest.raises(ModelError, match=r"tokenizer\.model has 400 tokens, and the model 399 embeddings: it is another's"):
        write_tokenizer(train(tmp_path), tmp_path, 399)
