"""What is drawn where the command line does not say, and what is refused."""

import pytest

from wmtp.errors import ConfigError
from wmtp.evaluation.conventions import Drawing
from wmtp.evaluation.results import GREEDY


def choose(k=(1,), **given):
    return Drawing(**given).decoding(k, 0, 9)


@pytest.mark.parametrize(
    ("k", "given", "expected"),
    [
        ((1,), {}, (0.0, 1.0, [0])),
        ((1,), {"num_samples": 3}, (0.2, 0.95, [GREEDY, 0, 1, 2])),
        ((1, 2), {}, (0.8, 0.95, [GREEDY, 0, 1])),
        ((2,), {"num_samples": 3}, (0.8, 0.95, [GREEDY, 0, 1, 2])),
        ((1,), {"temperature": 0.6}, (0.6, 0.95, [GREEDY, 0])),
        ((1,), {"temperature": 0.0}, (0.0, 1.0, [0])),
        ((1, 2), {"temperature": 0.3, "top_p": 1.0}, (0.3, 1.0, [GREEDY, 0, 1])),
    ],
)
def test_greedy_for_one_and_the_papers_temperatures_for_more_unless_told_otherwise(k, given, expected):
    made = choose(k, **given)
    assert (made.temperature, made.top_p, made.samples) == expected


@pytest.mark.parametrize(
    ("k", "given", "message"),
    [
        ((5,), {"num_samples": 4}, "--num-samples 4 is too few for pass@5: at least 5"),
        ((1, 2), {"temperature": 0.0}, "would make 2 times the same completion"),
        ((1,), {"top_p": 0.9}, "--top-p is of no use in greedy decoding"),
    ],
)
def test_what_makes_no_sense_is_refused(k, given, message):
    with pytest.raises(ConfigError, match=message):
        choose(k, **given)


def test_a_completion_is_as_long_as_the_source_lets_it_become():
    assert choose().max_new_tokens == 9 and choose(max_new_tokens=3).max_new_tokens == 3
