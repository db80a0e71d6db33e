"""Near duplicates against all pairs compared one by one."""

import random

import pytest

from wmtp.problems.similar import NUM_HASHES, SimilarTexts, Sketches, jaccard, rows_of_a_band, shingles

WORDS = "red green blue tall short old new fast slow round flat warm cold soft hard loud quiet deep wide thin".split(" ")  # noqa: SIM905


def texts(number):
    """Texts of which many are each other's copies with some words changed."""
    draw = random.Random(0)
    made = []
    for _ in range(number):
        words = draw.choice(made).split() if made and draw.random() < 0.6 else draw.choices(WORDS, k=draw.randint(4, 40))
        for _ in range(draw.randint(0, 3)):
            words[draw.randrange(len(words))] = draw.choice(WORDS)
        made.append(" ".join(words))
    return made


def similarity(left, right):
    """Of all runs of five characters, told by hand."""
    a, b = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (left, right))
    return sum(1 for run in a if run in b) / len(a | b)


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_what_is_found_is_the_most_similar_of_all_pairs(threshold):
    index, before, num_found = SimilarTexts(threshold), [], 0
    for text in texts(150):
        best = max(((similarity(text, other), -i) for i, other in enumerate(before)), default=(0, 0))
        found = index.find(text)
        expected = (-best[1], best[0]) if best[0] >= threshold else None
        assert found == (pytest.approx(expected) if expected else None)
        num_found += found is not None
        assert index.add(text) == len(before)
        before.append(text)
    assert num_found > 20


def test_the_same_texts_give_the_same_answers_again():
    answers = []
    for _ in range(2):
        index = SimilarTexts(0.7)
        answers.append([(index.find(text), index.add(text)) for text in texts(60)])
    assert answers[0] == answers[1]


def test_sketches_estimate_what_texts_share_and_keep_none():
    index, made = Sketches(0.7), texts(120)
    sketches = [index.of(text) for text in made]
    assert [index.add(sketch) for sketch in sketches] == list(range(120))
    found = {(i, j): degree for i, sketch in enumerate(sketches) for j, degree in index.near(sketch, 0.7) if i != j}
    alike = {(i, j) for i in range(120) for j in range(120) if i != j and similarity(made[i], made[j]) >= 0.85}
    assert len(found) > 50 and alike <= found.keys()
    assert all(abs(degree - similarity(made[i], made[j])) < 0.2 for (i, j), degree in found.items())


def test_short_texts_are_one_shingle():
    assert shingles("abc") == {"abc"} and shingles("") == {""} and jaccard({"a"}, {"a", "b"}) == 0.5


def test_bands_find_pairs_at_the_threshold_nearly_always():
    for threshold in (0.3, 0.6, 0.9, 1.0):
        rows = rows_of_a_band(threshold)
        assert 1 - (1 - threshold**rows) ** (NUM_HASHES // rows) >= 0.999 and rows >= 1
    assert rows_of_a_band(0.9) > rows_of_a_band(0.6)


@pytest.mark.parametrize("threshold", [0, -1, 1.1])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(ValueError, match="in \\(0, 1\\]"):
        SimilarTexts(threshold)
