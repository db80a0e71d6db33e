"""The generator against an executor of its own, its splits and its determinism."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.unit.synthetic.trusted import run_trusted
from wmtp.config.data import DataConfig
from wmtp.errors import ConfigError, DataError
from wmtp.synthetic.catalogue import CATALOGUES
from wmtp.synthetic.generate import NAMINGS, STYLES, Composition, Generator, generate, split_tuples

SMALL = DataConfig(num_problems=150, num_reference_problems=60, num_validation_problems=40, num_test_problems=30)


@pytest.fixture(scope="module")
def splits():
    return generate(SMALL)


@pytest.mark.parametrize("operations", ["core", "all"])
def test_every_rendering_of_every_problem_passes_its_tests(operations):
    made = generate(DataConfig(operations=operations, num_problems=300, num_reference_problems=1, num_validation_problems=80))
    seen = set()
    for problem in made["train"] + made["validation"]:
        assert len({solution.code for solution in problem.solutions}) == len(STYLES) * len(NAMINGS)
        for solution in problem.solutions:
            assert solution.is_correct
            for test in problem.tests:
                assert run_trusted(solution.code, test.stdin) == test.stdout.split(), (problem.prompt, solution.code)
        seen.add(problem.prompt.split()[4] if problem.prompt.startswith("Given") else "")
        assert len({test.stdout for test in problem.tests}) > 1
    assert seen >= ({"integers,", "words,"} if operations == "all" else {"integers,"})


def test_a_problem_reads_as_english_with_numbered_steps_and_one_variable_per_step():
    ops = {op.name: op for op in CATALOGUES["core"][0]}
    reducer = CATALOGUES["core"][1][0]
    problem = Composition(((ops["even"], None), (ops["square"], None)), reducer, (0, 0, 0, 0))
    assert (
        problem.statement()
        == "Given a list of integers, (1) keep the even numbers, (2) square each number, and output the sum."
    )
    assert problem.code("comprehensions", NAMINGS[0]).splitlines() == [
        "a = list(map(int, input().split()))",
        "b = [x for x in a if x % 2 == 0]",
        "c = [x * x for x in b]",
        "print(sum(c))",
    ]
    assert problem.answer([1, 2, 4]) == 20 and problem.answer([]) == 0


def names_of(problem, operations):
    """The operations of a statement, found by their words."""
    found = []
    for part in problem.prompt.split(" (")[1:]:
        text = part.split(") ", 1)[1].split(", and ")[0].removesuffix(",")
        matches = {op.name for op in operations for phrase in op.phrases for k in op.constants if phrase.format(k=k) == text}
        assert len(matches) == 1, text
        found += matches
    return tuple(found)


def test_evaluation_problems_are_unseen_compositions(splits):
    operations = CATALOGUES["core"][0]
    train, heldout = split_tuples(operations, SMALL.heldout_frac, SMALL.seed)
    assert not any(set(heldout[d]) & set(train[d]) for d in heldout)
    assert [len(heldout[2]), len(heldout[3])] == [29, 346]
    seen = {names_of(p, operations) for name in ("train", "reference") for p in splits[name]}
    for name in ("validation", "test"):
        for problem in splits[name]:
            tuple_ = names_of(problem, operations)
            assert tuple_ not in seen and tuple_ in heldout[problem.difficulty] and problem.difficulty >= 2


def test_no_problem_is_in_two_splits_or_twice_in_one(splits):
    prompts = Counter(problem.prompt for problems in splits.values() for problem in problems)
    assert set(prompts.values()) == {1} and prompts.total() == 280
    assert [len(splits[name]) for name in ("train", "reference", "validation", "test")] == [150, 60, 40, 30]


def test_depths_follow_their_weights():
    made = generate(DataConfig(num_problems=2000, num_reference_problems=1))["train"]
    shares = {depth: number / 2000 for depth, number in Counter(p.difficulty for p in made).items()}
    assert shares == pytest.approx({1: 0.2, 2: 0.4, 3: 0.4}, abs=0.04)
    hard = DataConfig(num_problems=50, num_reference_problems=1, difficulty_bins=[3], difficulty_weights=[0, 1])
    assert {problem.difficulty for problem in generate(hard)["train"]} == {3}


def test_a_seed_decides_everything_whatever_the_hash_seed(splits):
    script = (
        "import hashlib; from wmtp.config.data import DataConfig; from wmtp.synthetic.generate import generate;"
        "made = generate(DataConfig(num_problems=150, num_reference_problems=60, num_validation_problems=40));"
        "print(hashlib.sha256(repr(made).encode()).hexdigest())"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        digests.add(
            subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
        )
    assert len(digests) == 1
    other = Generator(DataConfig(seed=1)).problems("train", 20, heldout=False)
    assert [p.prompt for p in other] != [p.prompt for p in splits["train"][:20]]


def test_asking_for_more_than_there_is_says_how_many_there_are():
    config = DataConfig(difficulty_bins=[2], difficulty_weights=[1, 0])
    with pytest.raises(DataError, match=r"only \d+ distinct synthetic problems for train, asked for 100000"):
        Generator(config).problems("train", 100000, heldout=False)
    with pytest.raises(ConfigError, match=r"data\.num_problems=None is not allowed: a number: .* makes problems without end"):
        DataConfig(num_problems=None)


def test_another_seed_keeps_the_held_out_problems():
    made = {seed: generate(DataConfig(num_problems=20, num_reference_problems=5, seed=seed)) for seed in (0, 1)}
    for split in ("test", "validation"):
        assert made[0][split] == made[1][split]
    assert {p.prompt for p in made[0]["train"]} != {p.prompt for p in made[1]["train"]}
    held_out = {p.prompt for split in ("test", "validation") for p in made[1][split]}
    assert not held_out & {p.prompt for split in ("train", "reference") for p in made[1][split]}
