"""Single rows in the terminal: which ones, in which colours, and what is refused."""

import pytest

from tests.unit.examples.folders import write_folder
from wmtp.errors import ConfigError
from wmtp.examples.card import read_card
from wmtp.examples.card_text import card_text
from wmtp.examples.look import NOISE_COLOUR, PLAIN, Look, look


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("look"))


def titles(text):
    return [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]


def test_without_a_choice_it_is_the_card(folder):
    assert look(folder, Look(), colours=False) == card_text(read_card(folder))


def test_rows_are_chosen_by_number_by_problem_and_from_the_first(folder):
    assert titles(look(folder, Look(row=2), colours=False)) == ["train row 2: b"]
    rows = ["train row 0: a", "train row 1: a", "reference row 0: a", "validation row 0: a", "critic_validation row 0: a"]
    assert titles(look(folder, Look(problem="a"), colours=False)) == rows
    assert titles(look(folder, Look(table="critic", examples=3), colours=False)) == [
        "critic row 0: a",
        "critic row 1: a",
        "critic row 2: b",
    ]
    assert titles(look(folder, Look(examples=99), colours=False))[-1] == "train row 3: c"


def test_noise_is_coloured_line_by_line(folder):
    text = look(folder, Look(row=1), colours=True)
    assert f"{NOISE_COLOUR}# <b>hi</b>{PLAIN}\n" in text and "<noise>" not in text


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"table": "test"}, "--table test: there are train, reference, validation, critic_validation, critic"),
        ({"row": 4}, "--row 4: train has rows 0 to 3"),
        ({"problem": "z"}, "--problem z: no table has a row of it"),
        ({"problem": "a", "row": 1}, "--row and --problem ask for different rows"),
    ],
)
def test_what_is_not_there_is_refused(folder, what, message):
    with pytest.raises(ConfigError, match=message):
        look(folder, Look(**{"examples": None, "row": 0 if what.keys() == {"table"} else None} | what), colours=False)
