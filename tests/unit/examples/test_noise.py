"""Noise: what is marked is what was added, and nothing else."""

import random
from collections import Counter

import pytest

from wmtp.config.data import NoiseConfig
from wmtp.examples.noise import KINDS, add_noise, choose_kind

CODE = "a = input()\nfor x in a:\n    if x > '3':\n        print(x)\nprint(a)"


def without(noised):
    text = noised.code
    for start, stop in sorted(noised.spans, reverse=True):
        text = text[:start] + text[stop:]
    return text


@pytest.mark.parametrize("kind", ["comments", "boilerplate"])
def test_taking_the_noise_out_gives_the_solution_back(kind):
    for seed in range(300):
        noised = add_noise(kind, CODE, "other", random.Random(seed))
        assert noised.code != CODE and noised.spans and without(noised) == CODE
        compile(noised.code, "noised.py", "exec")


def test_comments_are_comment_lines_with_the_indentation_of_the_next():
    for seed in range(100):
        noised = add_noise("comments", CODE, "other", random.Random(seed))
        for start, stop in noised.spans:
            line, after = noised.code[start:stop], noised.code[stop:]
            assert line.strip().startswith("#") and line.endswith("\n")
            if not after.lstrip().startswith("#"):
                assert len(line) - len(line.lstrip()) == len(after) - len(after.lstrip(" "))


def test_corruption_changes_one_span_and_leaves_the_rest():
    for seed in range(300):
        noised = add_noise("corrupted", CODE, "other", random.Random(seed))
        ((start, stop),) = noised.spans
        assert CODE.startswith(noised.code[:start]) and CODE.endswith(noised.code[stop:])
        assert 6 <= stop - start <= 40


def test_mismatched_is_another_solution_and_all_noise():
    assert add_noise("mismatched", CODE, "other", random.Random(0)).spans == ((0, 5),)
    assert add_noise("mismatched", CODE, "other", random.Random(0)).code == "other"
    assert add_noise("", CODE, "other", random.Random(0)) == add_noise("", CODE, "else", random.Random(1))
    with pytest.raises(ValueError, match="unknown noise kind 'rain'"):
        add_noise("rain", CODE, "other", random.Random(0))


def test_kinds_come_in_their_shares():
    draw = random.Random(0)
    found = Counter(choose_kind(NoiseConfig(), draw) for _ in range(20000))
    shares = {"": 0.5, "comments": 0.225, "boilerplate": 0.125, "corrupted": 0.075, "mismatched": 0.075}
    assert {kind: found[kind] / 20000 for kind in ("", *KINDS)} == pytest.approx(shares, abs=0.01)
