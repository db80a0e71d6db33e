"""The ledger against real bags of items that are read, made, dropped and kept: it adds up, and one slip shows."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmtp.errors import DataError
from wmtp.ledger import Ledger, lines_of

REASONS = st.sampled_from(["too_long", "duplicate", "wrong"])
STEPS = st.lists(st.tuples(st.sampled_from(["read", "make", "drop"]), REASONS, st.integers(0, 9)), max_size=12)


def play(ledger, name, steps, source="", given=None):
    """Do the steps with a list of items, told to a line; returns the line and the items that are left."""
    line = ledger.line(name, "rows", source)
    items = list(given or [])
    line.read(len(items))
    for what, reason, number in steps:
        if what == "read" and given is None:
            items += [object()] * number
            line.read(number)
        elif what == "make":
            items += [object()] * number
            line.make(reason, number)
        elif what == "drop":
            left = items[number:]
            line.drop(reason, len(items) - len(left))
            items = left
    line.keep(len(items))
    return line, items


@given(STEPS, STEPS, STEPS)
def test_whatever_happens_to_the_items_adds_up_from_line_to_line(first, second, third):
    ledger = Ledger()
    _, items = play(ledger, "file", first)
    play(ledger, "train", second, "file", items)
    play(ledger, "other", third, "file", items)
    ledger.check()
    counts = ledger.counts()
    for name in ("file", "train", "other"):
        parts = {key.removeprefix(f"{name}/rows/"): n for key, n in counts.items() if key.startswith(f"{name}/rows/")}
        came = parts["read"] + sum(n for part, n in parts.items() if part.startswith("made/"))
        assert came - sum(n for part, n in parts.items() if part.startswith("dropped/")) == parts["kept"]
    assert counts["train/rows/read"] == counts["other/rows/read"] == counts["file/rows/kept"] == len(items)


@given(STEPS, st.sampled_from(["read", "make", "drop", "keep"]), st.integers(1, 9))
def test_one_slip_is_found_and_the_line_is_named(steps, slip, number):
    ledger = Ledger()
    play(ledger, "sound", steps)
    line, _ = play(ledger, "broken", steps)
    getattr(line, slip)(*(["x"] if slip in ("make", "drop") else []), number)
    missing = number if slip in ("read", "make") else -number
    with pytest.raises(AssertionError, match=f"ledger: broken rows: .* does not add up: {missing} rows unaccounted for"):
        ledger.check()
    with pytest.raises(AssertionError, match="broken"):
        ledger.counts()


@given(STEPS, st.integers(1, 9))
def test_a_line_that_does_not_read_all_that_its_source_kept_is_found(steps, number):
    ledger = Ledger()
    _, items = play(ledger, "file", steps)
    line = ledger.line("train", "rows", "file")
    line.read(len(items) + number)
    line.keep(len(items) + number)
    with pytest.raises(AssertionError, match=f"train read {len(items) + number} rows, but file kept {len(items)}"):
        ledger.check()


def test_what_cannot_be_is_refused():
    ledger = Ledger()
    line = ledger.line("a", "rows")
    for count in (line.read, line.keep, lambda n: line.drop("x", n), lambda n: line.make("x", n)):
        with pytest.raises(ValueError, match="a count cannot be -1"):
            count(-1)
    with pytest.raises(ValueError, match="a line of a rows already"):
        ledger.line("a", "rows")
    ledger.line("b", "rows", "c")
    with pytest.raises(AssertionError, match="b reads rows of c, which has no line"):
        ledger.check()


def test_a_line_reads_as_its_equation_and_a_zero_is_counted_but_not_said():
    line = Ledger().line("table/train", "solutions", "split/train")
    line.read(60)
    line.make("mutants_wanted", 60)
    line.drop("too_long", 28)
    line.drop("duplicate", 0)
    line.keep(92)
    assert str(line) == "table/train solutions: 60 read + 60 mutants_wanted = 28 too_long + 92 kept"
    assert str(replace(line, num_read=0)).startswith("table/train solutions: 60 mutants_wanted = ")
    assert line.counts() == {
        "table/train/solutions/read": 60,
        "table/train/solutions/made/mutants_wanted": 60,
        "table/train/solutions/dropped/too_long": 28,
        "table/train/solutions/dropped/duplicate": 0,
        "table/train/solutions/kept": 92,
    }


@given(STEPS, STEPS)
def test_counts_give_their_lines_back(first, second):
    ledger = Ledger()
    _, items = play(ledger, "source/train", first)
    play(ledger, "split/train", second, "source/train", items)
    again = Ledger.from_counts(json.loads(json.dumps(ledger.counts(), sort_keys=True)))
    assert again.counts() == ledger.counts()
    assert [replace(line, source="") for line in ledger.lines.values()] == list(again.lines.values())


def test_losses_are_the_lines_of_a_unit_on_which_something_went():
    ledger = Ledger()
    whole, thinned = ledger.account("split/train"), ledger.account("table/train", "split/train")
    whole.drop("too_long", 0, 0)
    thinned.drop("too_long", 0, 3)
    thinned.solutions.drop("label", 2)
    assert ledger.losses("problems") == [] and ledger.losses("solutions") == [thinned.solutions]


@pytest.mark.parametrize("name", ["train_too_long", "train/rows", "train/rows/lost", "train/rows/dropped", "rows/read"])
def test_counts_of_another_kind_are_refused(name):
    with pytest.raises(DataError, match=f"{name}=3 is not a ledger's count"):
        Ledger.from_counts({name: 3})


SOLUTIONS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(SOLUTIONS, st.data())
def test_a_problem_goes_with_its_last_solution(problems, data):
    ledger = Ledger()
    account = ledger.account("table/x")
    kept = [problem for problem in problems if data.draw(st.booleans())]
    account.read(len(set(problems)), len(problems))
    account.thinned("too_long", problems, kept)
    account.keep(kept)
    ledger.check()
    gone = [problem for problem in "abcd" if problem in problems and problem not in kept]
    assert account.problems.dropped == {"too_long": len(gone)}
    assert account.solutions.dropped == {"too_long": len(problems) - len(kept)}
    assert [re.split(":", str(line))[0] for line in ledger.lines.values()] == ["table/x problems", "table/x solutions"]


def test_an_account_takes_over_what_another_one_dropped():
    ledger = Ledger()
    account, draft = ledger.account("a"), Ledger().account("a")
    account.read(3, 9)
    account.drop("too_long", 0, 2)
    draft.drop("too_long", 1, 3)
    draft.solutions.drop("over", 1)
    account.add(draft)
    account.problems.keep(2)
    account.solutions.keep(3)
    ledger.check()
    assert account.problems.dropped == {"too_long": 1} and account.solutions.dropped == {"too_long": 5, "over": 1}


def test_counts_are_shown_once_as_equations_and_the_others_as_they_are():
    counts = {
        "a/rows/read": 1200,
        "a/rows/dropped/long": 200,
        "a/rows/dropped/wrong": 0,
        "a/rows/kept": 1000,
        "verdicts/passed": 3,
    }
    assert lines_of(counts) == ["a rows: 1,200 read = 200 long + 1,000 kept", "verdicts/passed: 3"]
