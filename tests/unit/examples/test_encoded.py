"""Which rows are left of a table: what is dropped goes before pairs, ratios and order, and all of it is counted."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from wmtp.config.data import DataConfig, TokenizerConfig
from wmtp.errors import DataError
from wmtp.examples.encoded import RowTokenizer, selected
from wmtp.ledger import Ledger
from wmtp.problems.render import Example
from wmtp.tokens.tables import FINGERPRINT, row_lengths
from wmtp.tokens.tokenizer import encode_examples, folder_sha256, train_tokenizer

CONFIG = DataConfig(max_length=40, tokenizer=TokenizerConfig(vocab_size=270))
TOKENIZER = train_tokenizer(["a"], 270)


def examples(seed=0, number=60):
    """Problems with right and wrong texts of many lengths, every third of unknown difficulty."""
    draw = np.random.default_rng(seed)
    return [
        Example(
            f"p{i}",
            f"# {i}\n",
            f"x = {j} " + "#" * int(draw.integers(0, 60)),
            j % 3 != 0,
            difficulty=None if i % 3 == 0 else i % 7,
        )
        for i in range(number)
        for j in range(1 + i % 6)
    ]


def left(config, some, *, name="train", mixed=True):
    ledger = Ledger()
    account = ledger.account(f"table/{name}")
    account.read(len({e.problem_id for e in some}), len(some))
    table = selected(encode_examples(TOKENIZER, some), some, config, account, name=name, mixed=mixed)
    ledger.check()
    assert account.solutions.num_kept == table.num_rows and (row_lengths(table) <= config.max_length).all()
    assert len(table.schema.metadata[FINGERPRINT]) == 64
    return table, account


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
def test_the_ratio_of_what_is_left_is_the_one_that_was_asked_for(ratio):
    table, account = left(replace(CONFIG, pairwise=False, correct_ratio=ratio), examples())
    assert account.solutions.dropped["too_long"] > 20
    right = sum(table["is_correct"].to_pylist())
    most = {label: sum(e.is_correct == label for e in fitting(examples())) for label in (True, False)}
    assert abs(right - ratio * table.num_rows) <= 0.5 + 1e-9
    assert right == most[True] or table.num_rows - right == most[False], "the rarer class is whole"


def fitting(some):
    """Six bytes of `x = 3 `, the prompt's, the end token: a token each with merges of one byte."""
    lengths = [len(TOKENIZER.encode_rows([(e.prompt, e.code)])[0].ids) for e in some]
    return [e for e, length in zip(some, lengths, strict=True) if length <= CONFIG.max_length]


def test_pairs_leave_every_problem_with_as_many_right_as_wrong_rows():
    table, account = left(replace(CONFIG, max_per_problem=8), examples())
    numbers = Counter(zip(table["problem_id"].to_pylist(), table["is_correct"].to_pylist(), strict=True))
    problems = {problem for problem, _ in numbers}
    assert all(numbers[problem, True] == numbers[problem, False] > 0 for problem in problems)
    there = Counter((e.problem_id, e.is_correct) for e in fitting(examples()))
    assert all(numbers[p, True] == min(there[p, True], there[p, False]) for p in problems)
    assert problems == {p for p, _ in there if min(there[p, True], there[p, False])}
    assert account.solutions.dropped["without_partner"] > 0


def test_clean_tables_are_neither_paired_nor_thinned_nor_put_in_order():
    config = replace(CONFIG, pairwise=False, correct_ratio=0.5, curriculum=True)
    table, account = left(config, examples(), name="reference", mixed=False)
    assert table["problem_id"].to_pylist() == [e.problem_id for e in fitting(examples())]
    assert set(account.solutions.dropped) == {"too_long"}


def test_repetitions_are_dropped_from_the_training_mix_alone():
    some = [*examples(), *examples()]
    config = replace(CONFIG, pairwise=False)
    table, account = left(config, some)
    assert account.solutions.dropped["duplicate"] == len(examples())
    assert table["problem_id"].to_pylist() == [e.problem_id for e in fitting(examples())]
    assert left(config, some, name="critic_validation")[0].num_rows == 2 * table.num_rows


def test_a_curriculum_rises_with_unknown_difficulties_at_its_end():
    table, _ = left(replace(CONFIG, pairwise=False, curriculum=True), examples())
    levels = table["difficulty"].to_pylist()
    known = [level for level in levels if level is not None]
    assert levels == sorted(known) + [None] * (len(levels) - len(known)) and len(known) < len(levels)
    assert all(lengths_of(table, level) == sorted(lengths_of(table, level)) for level in (None, *known))


def lengths_of(table, level):
    lengths = row_lengths(table).tolist()
    return [length for length, other in zip(lengths, table["difficulty"].to_pylist(), strict=True) if other == level]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 3}, r"train: none of \d+ examples is left, the last [1-9]\d* are too_long .data.max_length=3; "),
        ({"correct_ratio": 0.0, "pairwise": False}, r"the last \d+ are over_correct_ratio"),
    ],
)
def test_nothing_that_is_left_is_an_error_that_says_why(changes, message):
    some = [e for e in examples() if e.is_correct]
    with pytest.raises(DataError, match=message):
        left(replace(CONFIG, **changes), some)


def test_a_tokenizer_is_learnt_once_from_the_texts_that_come_first(tmp_path, capsys):
    config = replace(CONFIG, tokenizer=TokenizerConfig(vocab_size=300, max_texts=30))
    asked = []

    def texts(most):
        asked.append(most)
        return [(e.prompt, e.code) for e in examples()[:most]]

    tokenizer = RowTokenizer(config, tmp_path, tmp_path / "files", tmp_path / "kept")
    lengths, least = tokenizer.measure_by(texts)([(e.prompt, e.code) for e in examples()])
    tokenizer.measure_by(texts)
    table = tokenizer.table(examples())
    assert asked == [30] and "learnt from 30 texts" in capsys.readouterr().out
    assert lengths.tolist() == row_lengths(table).tolist()
    assert least.tolist() == [n + 1 for n in table["prompt_len"].to_pylist()] and (least <= lengths).all()
    given = RowTokenizer(
        replace(config, tokenizer=TokenizerConfig(path="files")), tmp_path, tmp_path / "copy", tmp_path / "kept"
    )
    assert given.measure_by(texts)([("# 1\n", "x")])[0].tolist() == [len(tokenizer.text.encode_rows([("# 1\n", "x")])[0].ids)]
    assert asked == [30] and folder_sha256(tmp_path / "copy") == folder_sha256(tmp_path / "files")


def test_examples_are_learnt_from_in_an_order_of_their_own(tmp_path):
    config = replace(CONFIG, tokenizer=TokenizerConfig(vocab_size=290, max_texts=40))
    hashes = []
    for i, some in enumerate((examples(), examples()[::-1])):
        RowTokenizer(config, tmp_path, tmp_path / str(i), tmp_path / "kept").table(some)
        hashes.append(folder_sha256(tmp_path / str(i)))
    assert hashes[0] == hashes[1]
