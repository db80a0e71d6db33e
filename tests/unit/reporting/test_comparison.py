"""Experiments side by side: against differences taken by hand, on simulated results."""

import dataclasses
import json

import numpy as np
import pytest

from tests.unit.reporting.artifacts import SKILL, config_of_documents, make_config, write_artifacts, write_documents, write_json
from wmtp.errors import DataError
from wmtp.reporting.collect import collect
from wmtp.reporting.comparison import (
    STEPS,
    Member,
    axis,
    compare,
    difference_text,
    flat_rows,
    label,
    markdown,
    note,
    reach_lines,
    table,
    terminal,
)
from wmtp.reporting.findings import decisive
from wmtp.reporting.inputs import load_inputs, read_tasks

ARMS, SEEDS = ["baseline", "rho1"], [0, 1]


def member(folder, name, *, skill=0.0, arms=ARMS, contents=None, overrides=(), **how):
    config = make_config(arms, SEEDS, *overrides)
    write_artifacts(folder / name, config, skill={arm: value + skill for arm, value in SKILL.items()}, **how)
    return Member(name, config, load_inputs(config, folder / name), contents or {run: f"{name}/{run}" for run in config.runs})


def one_seed(folder, name, **how):
    whole = member(folder, name, **how)
    runs = [run for run in whole.inputs.runs if run.seed == 0]
    return dataclasses.replace(whole, inputs=dataclasses.replace(whole.inputs, runs=runs))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    return folder, [member(folder, "first"), member(folder, "second", skill=0.8, overrides=[f"{STEPS}=600"])]


@pytest.fixture(scope="module")
def comparison(pair):
    return compare(pair[1], {STEPS: [300, 600]}, 300)


def row(comparison, point, arm):
    (found,) = [one for one in comparison["rows"] if (one["point"], one["arm"]) == (point, arm)]
    return found


def by_hand(folder, ours, others):
    """Mean over seeds and tasks of the shares of right samples, ours minus theirs, read from the files."""

    def scores(name, arm):
        read = [read_tasks(folder / name / f"artifacts/evaluation/{arm}-s{seed}/per_task.csv") for seed in SEEDS]
        return np.mean([tasks.num_correct / tasks.num_samples for tasks in read])

    return scores(*ours) - scores(*others)


def test_every_arm_is_compared_with_its_own_baseline_and_with_the_first_experiment(pair, comparison):
    folder = pair[0]
    assert [(one["experiment"], one["arm"]) for one in comparison["rows"]] == [
        (name, arm) for name in ("first", "second") for arm in ARMS
    ]
    assert row(comparison, 0, "baseline")["against_baseline"] is row(comparison, 0, "rho1")["against_first"] is None
    for point, name in enumerate(("first", "second")):
        found = row(comparison, point, "rho1")["against_baseline"]["mean"]
        assert found == pytest.approx(by_hand(folder, (name, "rho1"), (name, "baseline")))
    for arm in ARMS:
        found = row(comparison, 1, arm)["against_first"]["mean"]
        assert found == pytest.approx(by_hand(folder, ("second", arm), ("first", arm)))


def test_intervals_hold_together_for_all_differences_and_are_wider_than_the_plain_ones(comparison):
    assert comparison["num_differences"] == 4
    found = [one[kind] for one in comparison["rows"] for kind in ("against_baseline", "against_first") if one[kind]]
    for one in found:
        assert one["joint_high"] - one["joint_low"] > (one["high"] - one["low"]) * 0.98
        assert one["joint_seed_high"] is not None
    widths = [[one[f"{kind}high"] - one[f"{kind}low"] for one in found] for kind in ("joint_", "")]
    assert np.mean(widths[0]) > np.mean(widths[1])
    assert "each also as it holds for all 4 differences of this table together" in note(comparison)


def test_what_decides_is_what_a_report_decides_by(pair, comparison):
    """The same runs in a report: with one pair, and no other experiment, the same intervals and the same verdict."""
    _, (first, _) = pair
    alone = compare([first, dataclasses.replace(first, name="again")], {}, 300)
    report = collect(first.inputs, first.config)
    assert row(alone, 0, "rho1")["against_baseline"] == report["arms"]["rho1"]["difference"]
    few, power = alone["caveats"]
    assert power in report["findings"]["caveats"] and report["findings"]["caveats"][0].startswith(few)
    one, said = row(comparison, 1, "rho1")["against_baseline"], table(comparison)[1][3][4]
    low, high = decisive(one)
    assert (low, high) == (one["joint_seed_low"], one["joint_seed_high"]) and low < 0 < one["joint_low"]
    assert said.endswith(f": cannot tell [{low:+.3f}, {high:+.3f}]") and one["verdict"] == "unclear"
    assert "verdict: brackets are what must exclude zero, the widest of the intervals over tasks and over seeds" in note(
        comparison
    )
    for text in (markdown(comparison), " ".join(terminal(comparison).split())):
        assert all(said in text for said in comparison["caveats"]) and len(comparison["caveats"]) == 2


def test_of_one_seed_nothing_is_claimed(tmp_path):
    """However far apart: its intervals over tasks exclude zero."""
    members = [one_seed(tmp_path, "a"), one_seed(tmp_path, "b", skill=3.0)]
    found = compare(members, {}, 100)
    one = row(found, 1, "baseline")["against_first"]
    assert one["low"] > 0 and one["joint_low"] > 0 and one["verdict"] == "single"
    assert table(found)[1][2][5].endswith("]: one run") and "verdict" not in note(found)
    assert found["caveats"][0].startswith("One seed is one run, and no evidence of a method effect")
    assert "! One seed is one run" in terminal(found)


def test_what_all_seeds_share_is_said(tmp_path):
    members = [member(tmp_path, name, overrides=["share_upstream=true"]) for name in "ab"]
    assert "All seeds share one reference (share_upstream)" in " ".join(compare(members, {}, 20)["caveats"])


def test_what_two_experiments_share_is_one_and_is_not_compared_with_itself(tmp_path):
    shared = {f"baseline-s{seed}": f"shared-{seed}" for seed in SEEDS}
    contents = [shared | {f"rho1-s{seed}": f"{name}-{seed}" for seed in SEEDS} for name in "ab"]
    found = compare([member(tmp_path, name, contents=one) for name, one in zip("ab", contents, strict=True)], {}, 50)
    assert row(found, 1, "baseline")["against_first"] is None
    assert row(found, 1, "rho1")["against_first"] is not None and found["num_differences"] == 3
    assert [label(found, point) for point in (0, 1)] == ["a", "b"]


def test_experiments_on_other_tasks_are_refused_by_name(tmp_path):
    members = [member(tmp_path, "a"), member(tmp_path, "b", num_tasks=20)]
    with pytest.raises(DataError, match=r"^a and b were not evaluated on the same tasks"):
        compare(members, {}, 50)


@pytest.mark.parametrize(
    ("differing", "expected"),
    [
        ({STEPS: [1, 2]}, ("training tokens", True)),
        ({"arms.rho1.weighting.keep_frac": [0.5, 1]}, ("arms.rho1.weighting.keep_frac", False)),
        ({"a": [1, None]}, None),
        ({"a": [True, False]}, None),
        ({"a": ["x", "y"]}, None),
        ({"a": [1, 2], "b": [1, 2]}, None),
        ({}, None),
    ],
)
def test_a_curve_has_one_number_to_be_drawn_against(differing, expected):
    found = axis(differing)
    assert (None if found is None else (found["label"], found["is_tokens"])) == expected


def test_whole_trainings_tell_after_how_many_tokens_the_baselines_result_is_reached(comparison):
    """nll does not move between the two lengths, so rho1 is below the baseline's from its first point on."""
    tokens = [row(comparison, point, "rho1")["tokens"] for point in (0, 1)]
    assert comparison["tokens_to_baseline"]["rho1"]["nll"] == {
        "tokens": tokens[0],
        "frac": tokens[0] / tokens[1],
        "is_most": True,
    }
    (line,) = reach_lines(comparison)
    assert line.startswith("rho1 reaches the longest baseline's nll after at most 50 % of its tokens and pass@1 ")
    assert "whole training with a schedule of its own" in note(comparison)
    never = {"tokens_to_baseline": {"x": {"nll": {"tokens": None, "frac": None}}}, "baselines": ["b"]}
    assert reach_lines(never) == ["x reaches the longest b's nll at no length tried (whole trainings)."]


def test_between_two_points_tokens_are_interpolated(pair):
    """The baseline's result lies in the middle of what rho1 has at its two lengths."""
    first, second = pair[1]

    def with_nll(one, values):
        runs = [dataclasses.replace(run, metrics={**run.metrics, "nll": {"head0": values[run.arm]}}) for run in one.inputs.runs]
        return dataclasses.replace(one, inputs=dataclasses.replace(one.inputs, runs=runs))

    members = [with_nll(first, {"baseline": 5.0, "rho1": 3.0}), with_nll(second, {"baseline": 2.0, "rho1": 1.0})]
    found = compare(members, {STEPS: [300, 600]}, 20)["tokens_to_baseline"]["rho1"]["nll"]
    assert found["frac"] == pytest.approx(0.75) and not found["is_most"]


def test_a_baseline_that_solves_nothing_is_no_mark_to_reach(tmp_path):
    members = [member(tmp_path, f"of {steps}", skill=-60.0, overrides=[f"{STEPS}={steps}"]) for steps in (300, 600)]
    found = compare(members, {STEPS: [300, 600]}, 20)
    assert {row["pass@1"]["mean"] for row in found["rows"]} == {0.0}
    assert set(found["tokens_to_baseline"]["rho1"]) == {"nll"} and "pass@1" not in reach_lines(found)[0]


def test_texts_say_the_same_in_every_form(comparison):
    header, rows = table(comparison)
    assert len(rows) == 4 and all(len(one) == len(header) for one in rows)
    assert [one[1] for one in rows] == ["steps=300"] * 2 + ["steps=600"] * 2
    assert markdown(comparison).count("\n|") == 6 and "| second | steps=600 | rho1 | 0." in markdown(comparison)
    shown = terminal(comparison)
    assert "steps=600" in shown and "cannot tell" in shown and max(map(len, shown.splitlines())) <= 150
    flat = flat_rows(comparison)
    assert [one[STEPS] for one in flat] == ["300", "300", "600", "600"]
    assert flat[3]["against_first_mean"] == rows_mean(comparison)
    json.dumps(comparison, allow_nan=False)


def rows_mean(comparison):
    return row(comparison, 1, "rho1")["against_first"]["mean"]


def test_a_difference_is_told_with_what_decides_it():
    alone = {"mean": 0.1, "low": 0.05, "high": 0.15, "joint_low": None, "joint_high": None, "verdict": "unclear"}
    assert difference_text(alone) == "+0.100 [+0.050, +0.150]: cannot tell [+0.050, +0.150]"
    of_seeds = {"seed_low": 0.01, "seed_high": 0.19, "joint_seed_low": -0.1, "joint_seed_high": 0.3}
    assert difference_text({**alone, "joint_low": 0.0, "joint_high": 0.2, **of_seeds}) == (
        "+0.100 [+0.050, +0.150]: cannot tell [-0.100, +0.300]"
    )
    assert difference_text({**alone, "verdict": "single"}) == "+0.100 [+0.050, +0.150]: one run"
    assert difference_text(None) == ""


def of_documents(folder, name, *overrides, better=0.0):
    config = config_of_documents(SEEDS, *overrides)
    write_documents(folder / name, config, better=better)
    return Member(name, config, load_inputs(config, folder / name), {run: f"{name}/{run}" for run in config.runs})


def test_of_documents_the_nats_that_are_saved_are_compared(tmp_path):
    members = [of_documents(tmp_path, "a"), of_documents(tmp_path, "b", f"{STEPS}=600", better=0.3)]
    found = compare(members, {STEPS: [300, 600]}, 300)
    nll = {(one.name, run.arm, run.seed): run.metrics["nll"]["head0"] for one in members for run in one.inputs.runs}

    def saved(ours, others):
        return np.mean([nll[(*others, seed)] - nll[(*ours, seed)] for seed in SEEDS])

    due = saved(("b", "rho1"), ("b", "baseline"))
    assert row(found, 1, "rho1")["against_baseline"]["mean"] == pytest.approx(due) and due == pytest.approx(0.2, abs=0.05)
    due = saved(("b", "rho1"), ("a", "rho1"))
    assert row(found, 1, "rho1")["against_first"]["mean"] == pytest.approx(due) and due == pytest.approx(0.3, abs=0.05)
    assert row(found, 1, "rho1")["against_first"]["verdict"] == "better" and found["num_differences"] == 7
    interval = row(found, 0, "baseline")["nll_interval"]
    assert interval["low"] < interval["mean"] < interval["high"]
    assert row(found, 0, "baseline")["nll"] == pytest.approx(interval["mean"])
    assert set(found["tokens_to_baseline"]["rho1"]) == {"nll"}
    texts = [note(found), markdown(found), terminal(found), json.dumps([flat_rows(found), found], allow_nan=False)]
    for text in texts:
        assert "pass@" not in text and "greedy" not in text and "task_id" not in text
    assert "text: 40 documents. Brackets: 95 % over documents; verdict" in texts[0] and "held-out documents" in texts[0]
    assert "saved against its baseline" in texts[1] and flat_rows(found)[0]["nll_low"] == interval["low"]


def test_nats_per_token_of_other_tokens_are_not_compared(tmp_path):
    members = [of_documents(tmp_path, "a"), of_documents(tmp_path, "b")]
    compare(members, {}, 20)
    meta = tmp_path / "b/artifacts/data/meta.json"
    write_json(meta, json.loads(meta.read_text()) | {"tokenizer_sha256": "1" * 64})
    again = dataclasses.replace(members[1], inputs=load_inputs(members[1].config, tmp_path / "b"))
    with pytest.raises(DataError, match=r"^a and b have the held-out documents in other tokens, .*data\.tokenizer\.path"):
        compare([members[0], again], {}, 20)
    tasks = members[1].inputs.runs[0].tasks
    longer = dataclasses.replace(tasks, num_tokens=tasks.num_tokens + 1)
    runs = [dataclasses.replace(run, tasks=longer) for run in members[1].inputs.runs]
    again = dataclasses.replace(members[1], inputs=dataclasses.replace(members[1].inputs, runs=runs))
    with pytest.raises(DataError, match="in other tokens"):
        compare([members[0], again], {}, 20)


def test_documents_and_tasks_are_not_compared(tmp_path):
    with pytest.raises(DataError, match="were not evaluated on the same tasks"):
        compare([member(tmp_path, "a"), of_documents(tmp_path, "b")], {}, 20)
