"""What the tests of sampling from files start with."""

import pytest

from tests.unit.examples.splits import problem, written


@pytest.fixture
def files(tmp_path):
    train = [problem(f"t{i}", f"Do thing {i}.") for i in range(10)]
    train += [problem("c", "do  HELD out 1!"), problem("d", "Do thing 3."), problem("n", "Nothing right.", right=0)]
    held_out = [problem(f"v{i}", f"Do held out {i}.") for i in range(6)]
    return {
        "source": "jsonl",
        "train_path": written(tmp_path / "train.jsonl", train),
        "validation_path": written(tmp_path / "validation.jsonl", held_out),
        "num_problems": None,
        "num_reference_problems": 3,
        "num_validation_problems": 4,
        "num_test_problems": 6,
        "mutants_per_solution": 0,
    }
