"""Round trips, the boundary and the noise mask, against characters counted by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.unit.tokens.families import family
from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.problems.render import Example
from wmtp.synthetic.generate import generate
from wmtp.tokens.tables import FINGERPRINT, fingerprinted, read_table, write_table
from wmtp.tokens.tokenizer import (
    EOS,
    LONGEST_LINE,
    PAD,
    TextTokenizer,
    copy_tokenizer,
    encode_examples,
    folder_sha256,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)


@pytest.fixture(scope="module")
def texts():
    problems = generate(DataConfig(num_problems=200, num_reference_problems=1))["train"]
    return [f"# {problem.prompt}\n{problem.solutions[0].code}" for problem in problems]


@pytest.fixture(scope="module")
def trained(texts):
    return train_tokenizer(texts, 500)


AWKWARD = ["", " ", "\n\n\t x", "naïve λ 日本 🙂", f"a {EOS} {PAD} b", "x\r\ny", "12 345\n6", "  print( 1 ) # , .  '"]


def test_any_text_round_trips_also_through_the_saved_folder(trained, texts, tmp_path):
    save_tokenizer(trained, tmp_path / "tokenizer", 64)
    loaded = load_tokenizer(tmp_path / "tokenizer")
    assert (loaded.vocab_size, loaded.eos_token_id, loaded.pad_token_id) == (500, trained.eos_token_id, trained.pad_token_id)
    for text in [*AWKWARD, *texts[:50]]:
        for one in (trained, loaded):
            one.tokenizer.encode_special_tokens = True
            ids = one.tokenizer.encode(text).ids
            assert one.tokenizer.decode(ids, skip_special_tokens=False) == text
            assert one.eos_token_id not in ids and one.pad_token_id not in ids


def test_digits_and_newlines_stand_alone_and_merges_cross_spaces(trained):
    vocab = [trained.tokenizer.decode([i], skip_special_tokens=False) for i in range(2, trained.vocab_size)]
    assert all(len(token) == 1 for token in vocab if any(c.isdigit() or c == "\n" for c in token))
    assert any(" " in token.strip() for token in vocab)


def test_the_same_texts_give_the_same_file(trained, texts, tmp_path):
    for name, one in (("a", trained), ("b", train_tokenizer(list(texts), 500)), ("c", train_tokenizer(texts[:150], 500))):
        save_tokenizer(one, tmp_path / name, 64)
    assert folder_sha256(tmp_path / "a") == folder_sha256(tmp_path / "b") != folder_sha256(tmp_path / "c")


def test_a_line_without_an_end_is_learnt_from_in_parts(tmp_path):
    """A table in a program: learnt from as one word, a line of a million characters takes the trainer minutes."""
    part = "0x5f, 'ab', " * (LONGEST_LINE // 12) + "z" * (LONGEST_LINE % 12)
    for name, texts in (("whole", ["a = [\n" + part * 500 + "]\n"]), ("cut", ["a = [\n", *[part] * 500, "]\n"])):
        save_tokenizer(train_tokenizer(texts, 300), tmp_path / name, 64)
    assert folder_sha256(tmp_path / "whole") == folder_sha256(tmp_path / "cut")


def examples():
    code = "a = 1\n# junk words\nprint(a)"
    start = code.index("# junk")
    return [
        Example("p1", "# Print 1.\n", code, True, "comments", ((start, start + len("# junk words\n")),), 2),
        Example("p2", "# Print 2.\n", "print(2)", False),
        Example("p3", "# Print 3.\n", "print(3)" * 40, True),
        Example("p4", "# Print 4.\n", "print(5)", False, "mismatched", ((0, 8),), 3),
    ]


def test_rows_hold_one_string_its_boundary_and_its_noise(trained, tmp_path):
    table = fingerprinted(encode_examples(trained, examples()))
    assert table["problem_id"].to_pylist() == ["p1", "p2", "p3", "p4"]
    assert table["difficulty"].to_pylist() == [2, None, None, 3], "unknown is not easy"
    assert table["is_correct"].to_pylist() == [True, False, True, False]
    for example, ids, prompt_len, noise in zip(
        examples(), *(table[name].to_pylist() for name in ("input_ids", "prompt_len", "is_noise")), strict=True
    ):
        assert ids[-1] == trained.eos_token_id and len(noise) == len(ids) and not noise[-1]
        assert trained.tokenizer.decode(ids[:prompt_len]) == example.prompt
        assert trained.tokenizer.decode(ids[prompt_len:-1]) == example.code
        position, expected = -len(example.prompt), []
        for token in ids[:-1]:
            stop = position + len(trained.tokenizer.decode([token]))
            expected.append(any(position < b and a < stop for a, b in example.noise_spans))
            position = stop
        assert noise[:-1] == expected and any(expected) == bool(example.noise_spans)
    write_table(tmp_path / "train.arrow", table)
    again = read_table(tmp_path / "train.arrow")
    assert again.equals(table) and len(again.schema.metadata[FINGERPRINT]) == 64
    assert again["input_ids"].type == "large_list<item: int32>" or str(again["input_ids"].type) == "large_list<item: int32>"


def test_the_fingerprint_changes_with_tokens_ids_and_row_bounds(trained):
    def printed(rows):
        return fingerprinted(encode_examples(trained, rows)).schema.metadata[FINGERPRINT]

    first, second, _, last = examples()
    assert printed([first, second]) == printed([first, second])
    assert len({printed(rows) for rows in ([first, second], [second, first], [first], [first, last])}) == 4


def test_any_number_of_examples_makes_the_rows_that_each_makes_alone(trained):
    many = [replace(example, problem_id=f"{example.problem_id}-{i}") for i in range(300) for example in examples()]
    table = encode_examples(trained, many)
    assert table.num_rows == 1200 and table["input_ids"].num_chunks == 1
    for i in (0, 999, 1000, 1199):
        assert table.slice(i, 1).to_pylist() == encode_examples(trained, many[i : i + 1]).to_pylist()
    assert encode_examples(trained, []).num_rows == 0


def test_noise_is_found_in_a_row_that_is_cut_at_the_boundary():
    tokenizer = Tokenizer(models.WordLevel({"ab": 0, "c": 1, "[E]": 2}, unk_token="[E]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    example = Example("p", "a", "b c", True, "corrupted", ((0, 1),))
    table = encode_examples(TextTokenizer(tokenizer, 2, 2), [example])
    assert table["input_ids"].to_pylist() == [[2, 2, 1, 2]] and table["prompt_len"].to_pylist() == [1]
    assert table["is_noise"].to_pylist() == [[False, True, False, False]]


def test_rows_and_prompts_start_as_the_tokenizer_says(tmp_path):
    """By its post-processor, or by `add_bos_token`, which transformers lets decide."""
    example = Example("p", "def f(x):\n", "    return x", True)
    for name, settings, bos in (
        ("llama3", {}, [1]),
        ("llama3", {"add_bos_token": False}, []),
        ("llama3", {"add_bos_token": True, "bos_token": "<s>"}, [1]),
        ("appends its end", {}, []),
        ("gpt2", {"add_bos_token": True, "bos_token": {"content": "<s>"}}, [1]),
        ("llama2", {"add_bos_token": None}, [1]),
    ):
        (tmp_path / "tokenizer.json").write_text(family(name)[0])
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "</s>"}))
        text = load_tokenizer(tmp_path)
        table = encode_examples(text, [example])
        (ids,), (prompt_len,) = table["input_ids"].to_pylist(), table["prompt_len"].to_pylist()
        assert ids[: len(bos) + 1].count(1) == ids.count(1) == len(bos) and ids.count(2) == 1 and ids[-1] == 2
        assert list(text.encode_prompt(example.prompt)) == ids[:prompt_len]
        assert text.decode(ids[prompt_len:-1]) == example.code
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>", "add_bos_token": true}')
    with pytest.raises(DataError, match="asks for a bos_token and names none"):
        load_tokenizer(tmp_path)


def test_an_existing_tokenizer_is_copied_and_one_without_padding_pads_with_its_end(trained, tmp_path):
    source = tmp_path / "source"
    save_tokenizer(trained, source, 64)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (source / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": {"content": EOS}}))
    copied = copy_tokenizer(str(source), tmp_path / "copy")
    assert copied.pad_token_id == copied.eos_token_id == trained.eos_token_id
    assert folder_sha256(source) == folder_sha256(tmp_path / "copy")
    (source / "tokenizer_config.json").write_text("{}")
    assert load_tokenizer(source, 7).eos_token_id == 7
    with pytest.raises(DataError, match="names no eos_token"):
        copy_tokenizer(str(source), tmp_path / "copy")
    (source / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"has no tokenizer\.json"):
        load_tokenizer(source)


def test_transformers_reads_the_folder(trained, tmp_path):
    from transformers import AutoTokenizer

    save_tokenizer(trained, tmp_path, 64)
    auto = AutoTokenizer.from_pretrained(tmp_path)
    text = "# Print 1.\na = [x for x in b]"
    assert auto(text)["input_ids"] == trained.tokenizer.encode(text).ids
    assert auto.decode(auto(text)["input_ids"]) == text
    assert (auto.eos_token_id, auto.pad_token_id) == (trained.eos_token_id, trained.pad_token_id)
    assert np.array(auto([text, "x"], padding=True)["input_ids"]).shape[0] == 2
