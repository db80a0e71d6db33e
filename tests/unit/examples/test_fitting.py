"""What is too long for a row, or cannot be used for another reason, is out before anything is counted off."""

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.examples.splits import load_splits, many, problem, written
from wmtp import tasksets
from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.ledger import Ledger


def by_words(pairs):
    """Lengths as a tokenizer of whole words would count them."""
    sizes = np.array([(len((prompt + code).split()) + 1, len(prompt.split()) + 1) for prompt, code in pairs])
    return sizes[:, 0], sizes[:, 1]


@pytest.mark.parametrize("options", [{}, {"difficulty_bins": [2], "difficulty_weights": [1, 1]}, {"num_problems": 20}])
@pytest.mark.parametrize("pairwise", [True, False])
def test_what_is_too_long_is_left_out_before_anything_is_drawn(files, tmp_path, options, pairwise):
    """The same is drawn as from a file that has nothing too long: not a problem nor a pair less, and the ledger adds up."""
    draw = random.Random(0)

    def stretched(solution):
        return replace(solution, code=solution.code + " ; x" * draw.randint(0, 8))

    train = [replace(each, solutions=tuple(map(stretched, each.solutions))) for each in many(120)]
    train[::9] = [replace(each, prompt=each.prompt + " and so on" * 9) for each in train[::9]]
    files |= {
        "train_path": written(tmp_path / "train.jsonl", train),
        "max_length": 20,
        "max_per_problem": 4,
        "pairwise": pairwise,
    }

    def fits(each, solution):
        return by_words([(tasksets.get("jsonl").prompt(each), solution.code)])[0][0] <= 20

    short = [replace(each, solutions=tuple(s for s in each.solutions if fits(each, s))) for each in train]
    assert 0 < sum(len(p.solutions) for p in short) < 0.8 * sum(len(p.solutions) for p in train)
    looked_at = []

    def measure_by(texts):
        assert len(texts(7)) == 7
        return lambda pairs: looked_at.extend(pairs) or by_words(pairs)

    ledger = Ledger()
    drawn = load_splits(DataConfig(**files | options), tmp_path, ledger, measure_by=measure_by)
    ledger.check()
    files["train_path"] = written(tmp_path / "short.jsonl", short)
    expected = load_splits(DataConfig(**files | options), tmp_path, Ledger())
    for name in ("train", "reference"):
        assert [(p.problem_id, p.solutions) for p in getattr(drawn, name)] == [
            (p.problem_id, tuple(s for s in p.solutions)) for p in getattr(expected, name)
        ]
    assert ledger.counts()["split/train/solutions/dropped/too_long"] > 0
    assert len(looked_at) == len(set(looked_at))


@pytest.mark.parametrize("pairwise", [True, False])
def test_validation_is_full_of_what_can_be_used_and_is_drawn_as_from_a_file_of_that_alone(files, tmp_path, pairwise):
    held_out = [problem(f"v{i}", f"Do held out {i}.", right=2, wrong=2) for i in range(40)]
    held_out[::3] = [replace(each, prompt=each.prompt + " and so on" * 9) for each in held_out[::3]]
    held_out[1::3] = [replace(each, solutions=each.solutions[:2]) for each in held_out[1::3]]  # right ones alone
    files |= {"max_length": 20, "pairwise": pairwise, "num_validation_problems": 12, "num_test_problems": 9}
    files["validation_path"] = written(tmp_path / "validation.jsonl", held_out)
    ledger, config = Ledger(), DataConfig(**files)
    drawn = load_splits(config, tmp_path, ledger, measure_by=lambda _: by_words)
    ledger.check()
    assert len(drawn.validation) == 12 and ledger.counts()["split/validation/problems/dropped/too_long"] > 0
    assert len({p.problem_id for p in drawn.test} & {p.problem_id for p in held_out[::3]}) > 0, "what is tested is as it was"
    usable = [each for i, each in enumerate(held_out) if i % 3 and (i % 3 == 2 or not pairwise)]
    files["validation_path"] = written(tmp_path / "usable.jsonl", usable)
    expected = load_splits(DataConfig(**files), tmp_path, Ledger())
    assert [(p.problem_id, p.solutions) for p in drawn.validation] == [(p.problem_id, p.solutions) for p in expected.validation]
    too_many = replace(config, num_validation_problems=len(usable) + 1)
    long = "14 too_long for data.max_length=20"
    why = f"{long}, 13 without_partner: data.pairwise=true takes problems with right and wrong solutions" if pairwise else long
    with pytest.raises(DataError, match=rf"={len(usable) + 1}, but validation.jsonl leaves {len(usable)} \({why}\)$"):
        load_splits(too_many, tmp_path, Ledger(), measure_by=lambda _: by_words)


def test_fewer_than_asked_for_because_of_their_length_is_said_with_the_length(files, tmp_path):
    train = [replace(each, prompt=each.prompt + " and so on" * 9) if i % 3 else each for i, each in enumerate(many(30))]
    files |= {"train_path": written(tmp_path / "train.jsonl", train), "max_length": 20, "num_reference_problems": 2}
    with pytest.raises(
        DataError, match=r"leaves 8 \(20 too_long for data.max_length=20, 2 set_aside_for_reference\): use null"
    ):
        load_splits(DataConfig(**files | {"num_problems": 9}), tmp_path, Ledger(), measure_by=lambda _: by_words)
    files["num_reference_problems"] = 10
    with pytest.raises(DataError, match=r"has 10 usable problems .*; 20 more are too_long for data.max_length=20\)$"):
        load_splits(DataConfig(**files), tmp_path, Ledger(), measure_by=lambda _: by_words)
