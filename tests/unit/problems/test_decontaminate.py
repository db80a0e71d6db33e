"""Statements are the same whatever their layout; benchmark problems are found whole, in part and slightly changed."""

import random

import pytest

from wmtp.problems.decontaminate import GRAM, Removed, Statements, grams, normalised
from wmtp.types import Problem

STORIES = """
A farmer keeps goats on a hill and wants to fence the largest square meadow without touching any of the apple trees there.
Two players take stones from three heaps in turn and whoever leaves the last stone loses so decide who wins with best play.
Given the departure times of buses at a station find the smallest number of platforms so that no bus has to wait outside.
A librarian sorts books by moving one book at a time to the front of the shelf and asks how many moves are needed at least.
Write a function that returns the longest run of equal letters in a word and the first position at which it begins.
A robot walks on a grid of mirrors and each step turns the mirror it leaves so tell where it stands after many steps.
Count the ways to tile a corridor with dominoes and single tiles when no two single tiles may lie next to each other.
Every city has a radio tower with a range and you are to choose the fewest towers that reach all of the villages.
Given a list of intervals on a line remove as few of them as possible until no two of the rest overlap anywhere.
A baker cuts a round cake with straight cuts and wants the most pieces that can be had with a given number of cuts.
Reverse the order of words in a sentence but keep every punctuation mark at the place where it stood before.
A snail climbs a wall by day and slides down by night and you should say on which day it first reaches the top.
Find the number of pairs of people in a line who can see each other over the heads of all that stand between them.
A bank gives interest every month and takes a fee every year so compute the balance after the months that are asked for.
Determine whether a sequence of pushes and pops can empty a stack whose items were numbered in the order of their arrival.
Given coins of several values find the smallest sum that cannot be paid with them when each may be used only once.
A gardener waters plants in a circle skipping one more plant each round and asks which plant stays dry the longest.
Decide if a string of brackets can be made balanced by turning at most one of its brackets the other way around.
Compute the area that is covered by at least one of several rectangles whose sides are parallel to the axes.
A courier visits all houses of a street that is a tree and returns so find the shortest tour through all of them.
"""
STATEMENTS = STORIES.strip().splitlines()
SECTIONS = "\n\nInput\nThe first line holds {n} numbers.\n\nOutput\nPrint one number for case {n}, or -1 where there is none.\n"
OTHERS = [
    "Multiply two matrices whose entries are polynomials and print the trace of what comes out modulo a prime.",
    "Write a function to merge two dictionaries into one where the second one wins.",
    "Simulate a lift that serves requests in the order of floors and report how often its doors open on each of them.",
    "Add two numbers.",
]


def benchmark():
    return [
        Problem(f"b{i}", text + SECTIONS.format(n=i + 3), (), file="bench.jsonl", row=i) for i, text in enumerate(STATEMENTS)
    ]


def with_sentence(text, i):
    return f"Our old friend number {i} needs help once more with a task that he could not solve.\n{text}"


def without_sections(text, i):
    return text.partition("\n\nInput")[0]


def with_another_word(text, i):
    words = text.split(" ")
    words[random.Random(i).randrange(len(words))] = "zebra"
    return " ".join(words)


def in_full_width(text, i):
    return text.translate({ord(digit): ord(digit) - ord("0") + 0xFF10 for digit in "0123456789"})


PLANTS = [with_sentence, without_sections, with_another_word, in_full_width]


@pytest.mark.parametrize("change", PLANTS)
@pytest.mark.parametrize("has_sections", [True, False])
def test_planted_problems_are_found_and_named(change, has_sections):
    problems = benchmark() if has_sections else [Problem(f"b{i}", text, ()) for i, text in enumerate(STATEMENTS)]
    statements = Statements(problems, overlap_frac=0.5, similarity=0.6)
    found = [statements.find(normalised(change(problem.prompt, i))) for i, problem in enumerate(problems)]
    assert [match and match.problem.problem_id for match in found] == [problem.problem_id for problem in problems]


def test_other_problems_are_not_found():
    statements = Statements(benchmark(), overlap_frac=0.5, similarity=0.6)
    assert [statements.find(normalised(text)) for text in OTHERS] == [None] * len(OTHERS)
    for i, problem in enumerate(benchmark()):
        rest = Statements([p for j, p in enumerate(benchmark()) if j != i], overlap_frac=0.5, similarity=0.6)
        assert rest.find(normalised(problem.prompt)) is None, problem.prompt


@pytest.mark.parametrize(("overlap", "similarity"), [(None, None), (0.5, None), (None, 0.6)])
def test_each_way_can_be_left_out_and_the_same_statement_is_always_found(overlap, similarity):
    statements = Statements(benchmark(), overlap_frac=overlap, similarity=similarity)
    text = benchmark()[3].prompt
    assert statements.find(normalised(text.upper() + "!")).how == "same"
    cut = statements.find(normalised(with_sentence(text, 1)))
    assert (cut.how if cut else None) == ("overlap" if overlap else "similar" if similarity else None)


def test_grams_are_all_runs_of_words_and_overlap_is_their_share_of_the_shorter_text():
    words = [f"w{i}" for i in range(30)]
    assert grams(" ".join(words[:15])) == {" ".join(words[i : i + 13]) for i in range(3)} and GRAM == 13
    statements = Statements([Problem("b", " ".join(words), ())], overlap_frac=0.5, similarity=None)
    half = [*words[:21], *(f"x{i}" for i in range(8))]  # 9 of its 17 grams
    assert statements.find(" ".join(half)).degree == pytest.approx(9 / 17)
    assert statements.find(" ".join(half[:20] + half[21:])).degree == pytest.approx(8 / 16)
    assert statements.find(" ".join([*words[:20], *(f"x{i}" for i in range(20))])) is None  # 8 of the 18 that the shorter has
    assert statements.find(" ".join([*words[:20], "x"])).degree == pytest.approx(8 / 9)


def test_short_statements_are_found_in_longer_ones_if_they_say_something():
    short, empty = Problem("s", "Print the sum of all digits.", ()), Problem("e", "Print it.", ())
    statements = Statements([short, empty], overlap_frac=0.5, similarity=None)
    assert statements.find(normalised("Read a number n. Print the sum of all digits. It is large.")).problem == short
    assert statements.find(normalised("Read a number. Print it. And so on.")) is None
    longer = Statements([Problem("l", "Read a number n. Print the sum of all digits.", ())], overlap_frac=0.5, similarity=None)
    assert longer.find(normalised(short.prompt)).problem.problem_id == "l" and longer.find("print") is None


def test_a_removed_problem_names_both_places():
    statements = Statements(benchmark(), overlap_frac=0.5, similarity=0.6)
    own = Problem("t", with_sentence(benchmark()[4].prompt, 0), (), file="train.jsonl", row=7)
    removed = Removed.of(own, "contaminated", statements.find(normalised(own.prompt)))
    assert removed.as_dict() == {
        "problem_id": "t",
        "file": "train.jsonl",
        "row": 7,
        "reason": "contaminated",
        "how": "overlap",
        "degree": removed.degree,
        "because": "b4",
        "because_file": "bench.jsonl",
        "because_row": 4,
    }


def test_statements_match_whatever_their_layout_asserts_and_width():
    assert normalised("Write a function,\n to ADD!\nassert add(1) == 2") == normalised(
        "write a function to add\nassert plus(1)"
    )
    assert normalised("add 2 numbers") != normalised("add 3 numbers")
    assert normalised("add \uff12 \uff4eumbers x\u00b2") == "add 2 numbers x2"
