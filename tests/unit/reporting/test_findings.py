"""What the report says follows from the numbers, also where they are bad news."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.reporting.artifacts import make_config, write_artifacts, write_json
from wmtp.reporting.collect import collect
from wmtp.reporting.findings import _single, _weight_sentences, decisive, evidence, signed
from wmtp.reporting.inputs import load_inputs


def report_of(root: Path, arms: list[str], seeds: list[int], *overrides: str, **keys: Any) -> dict[str, Any]:
    config = make_config(arms, seeds, *overrides)
    write_artifacts(root, config, num_tasks=60, **keys)
    return collect(load_inputs(config, root), config)


def text_of(report: dict[str, Any], arm: str) -> str:
    return next(row["text"] for row in report["findings"]["arms"] if row["arm"] == arm)


def test_one_seed_is_no_evidence(tmp_path):
    report = report_of(tmp_path, ["baseline", "verifiable"], [0])
    assert text_of(report, "verifiable").startswith(
        "differs from baseline in this one pair of runs, which says nothing of the method"
    )
    assert report["arms"]["verifiable"]["difference"]["verdict"] == "single"
    assert "n = 1 seed, 60 tasks" in text_of(report, "verifiable")
    assert any(
        text.startswith("One seed is one run, and no evidence of a method effect") for text in report["findings"]["caveats"]
    )
    alone = report_of(tmp_path / "three", ["baseline", "verifiable", "rho1", "random"], [0])
    (pair,) = alone["findings"]["pairs"]
    assert pair.startswith(
        "rho1 (against its control) differs from random in this one pair of runs, which says nothing of the method: "
    )
    assert not any("joint intervals" in text for text in alone["findings"]["caveats"]), "of one seed they decide nothing"


def test_several_seeds_bring_the_interval_over_seeds(tmp_path):
    report = report_of(tmp_path, ["baseline", "verifiable"], [0, 1, 2])
    text = text_of(report, "verifiable")
    assert "over seeds" in text and "n = 3 seeds" in text and "one pair" not in text
    assert text.count("(98 % ") == 1 and "jointly" not in text
    assert any(
        "Whether verifiable beats baseline is decided by the interval over seeds at 98 %" in text
        for text in report["findings"]["caveats"]
    )
    assert not any("One seed" in caveat for caveat in report["findings"]["caveats"])


def test_a_worse_arm_is_called_worse(tmp_path):
    report = report_of(tmp_path, ["baseline", "rho1"], [0, 1, 2], skill={"baseline": 2.0, "rho1": -2.5})
    assert text_of(report, "rho1").startswith("does not beat baseline: it is worse (pass@1 -")


def test_equal_skill_cannot_be_told_apart(tmp_path):
    report = report_of(tmp_path, ["baseline", "rho1"], [0, 1, 2], skill={"baseline": 0.0, "rho1": 0.0})
    assert text_of(report, "rho1").startswith("cannot be told from baseline (pass@1 ")


def test_filtering_that_beats_the_weightings_is_said(tmp_path):
    report = report_of(tmp_path, ["baseline", "filtered", "rho1", "random"], [0, 1, 2])
    pairs = report["findings"]["pairs"]
    assert any(text.startswith("filtered (training on correct solutions only") and "beats rho1" in text for text in pairs)
    assert any(text.startswith("rho1 (against its control)") and "random" in text for text in pairs)
    assert not any("filtered" in text and "random" in text for text in pairs)


def test_without_the_baseline_nothing_is_claimed(tmp_path):
    report = report_of(tmp_path, ["rho1"], [0])
    assert report["findings"]["arms"] == [] and report["baseline"] is None
    assert any("baseline arm is not among these runs" in text for text in report["findings"]["caveats"])


def test_a_baseline_by_another_name(tmp_path):
    report = report_of(tmp_path, ["baseline", "rho1"], [0], "report.baseline_arm=rho1")
    assert report["baseline"] == "rho1" and next(iter(report["arms"])) == "rho1"
    assert "rho1" in text_of(report, "baseline")


def test_the_curve_and_weight_sentences(tmp_path):
    findings = report_of(tmp_path, ["baseline", "rho1", "random"], [0])["findings"]
    assert "random never reached baseline's final validation nll (1 run)." in findings["curves"]
    assert any(text.startswith("rho1 reached baseline's final validation nll after 61 %") for text in findings["curves"])
    assert any(text.startswith("rho1 turns away from noise: mean weight 0.45") for text in findings["weights"])
    assert any(text.startswith("random does not tell noise from signal") for text in findings["weights"])


@pytest.mark.parametrize(("sem", "said"), [(0.005, "puts more weight on noise"), (0.013, "does not tell noise from signal")])
def test_what_a_control_does_by_chance_is_no_finding(tmp_path, sem, said):
    report = report_of(tmp_path, ["baseline", "random"], [0])
    report["arms"]["random"]["weights"] = {"noise_mean": 1.02, "signal_mean": 0.99, "difference_sem": sem}
    assert [said in text for text in _weight_sentences(report)] == [True]


def test_an_arm_that_weighs_nothing_is_called_that(tmp_path):
    report = report_of(tmp_path, ["baseline", "random"], [0])
    report["arms"]["random"]["weights"] = {"noise_mean": 1.0, "signal_mean": 1.0, "difference_sem": 0.0}
    assert _weight_sentences(report) == [
        "random weighs every token that head 0 learns alike, as training without weights does."
    ]


def test_data_without_marks_of_noise_has_no_means_to_compare(tmp_path):
    report = report_of(tmp_path, ["baseline", "random"], [0])
    report["arms"]["random"]["weights"] = {"signal_mean": 1.0, "difference_sem": 0.0}
    (said,) = _weight_sentences(report)
    assert said.startswith("Nothing in this data is marked as noise")
    report["arms"]["random"]["weights"] = None
    assert _weight_sentences(report) == []


@pytest.mark.parametrize(("value", "text"), [(0.1234, "+0.123"), (-0.5, "-0.500"), (-0.0001, "0.000"), (0.0, "0.000")])
def test_signed(value, text):
    assert signed(value) == text


def test_evidence_names_both_intervals():
    values = {"mean": 0.2, "low": 0.1, "high": 0.3, "seed_low": -0.1, "seed_high": 0.5, "num_seeds": 3, "num_tasks": 1}
    assert evidence(values) == "+0.200, 95 % over tasks +0.100 to +0.300, over seeds -0.100 to +0.500, n = 3 seeds, 1 task"


def test_what_decides_is_the_widest_of_all_intervals():
    values = {"low": 0.1, "high": 0.3, "seed_low": -0.1, "seed_high": 0.5, "joint_low": None, "joint_high": None}
    assert decisive(values) == (-0.1, 0.5)
    assert decisive(values | {"joint_low": 0.0, "joint_high": 0.6, "joint_seed_low": -0.4, "joint_seed_high": 0.55}) == (
        -0.4,
        0.6,
    )


def test_of_several_comparisons_the_joint_intervals_are_shown_beside_the_plain_ones(tmp_path):
    report = report_of(tmp_path, ["baseline", "rho1", "random"], [0, 1, 2])
    assert text_of(report, "rho1").count("(jointly ") == 2
    assert any(
        "2 arms are compared with baseline" in text and "joint intervals" in text for text in report["findings"]["caveats"]
    )


def test_what_all_seeds_share_is_said_with_every_claim_that_rests_on_it(tmp_path):
    own = report_of(tmp_path / "own", ["baseline", "verifiable", "rho1"], [0, 1, 2])
    assert not any("share" in caveat for caveat in own["findings"]["caveats"]) and "given" not in text_of(own, "verifiable")
    shared = report_of(tmp_path / "shared", ["baseline", "verifiable", "rho1"], [0, 1, 2], "share_upstream=true")
    assert ", given one reference and one critic (pass@1 " in text_of(shared, "verifiable")
    assert ", given one reference (pass@1 " in text_of(shared, "rho1")
    assert shared["arms"]["baseline"]["given"] == []
    caveat = "All seeds share one reference and one critic (share_upstream): intervals over seeds say nothing of"
    assert any(text.startswith(caveat) for text in shared["findings"]["caveats"])


def test_several_critics_are_told_with_their_spread(tmp_path):
    config = make_config(["baseline", "verifiable"], [0, 1])
    write_artifacts(tmp_path, config, num_tasks=20)
    for key, auc, bins in (("s0", 0.9, [{"p": 0.12, "y": 0.5, "n": 30}]), ("s1", 0.8, [{"p": 0.18, "y": 0.1, "n": 10}])):
        path = tmp_path / "artifacts/tuning/critic" / key / "summary.json"
        record = json.loads(path.read_text())
        write_json(path, record | {"critic": {"auc": auc, "brier": 0.1, "ece": None, "calibration": bins}})
    report = collect(load_inputs(config, tmp_path), config)
    assert report["critic"]["calibration"] == [{"p": pytest.approx(0.135), "y": pytest.approx(0.4), "n": 40}]
    assert "is 0.850 (mean of 2 seeds, 0.800 to 0.900); without reference scores" in report["findings"]["critic"][0]
    assert report["shared_stages"]["train_critic"]["num_trainings"] == 2


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ((0.01, 0.2), "differs from"),
        ((-0.2, -0.01), "differs from"),
        ((-0.01, 0.2), "cannot be told from"),
        ((0.0, 0.0), "cannot be told from"),
        ((0.01, 0.2, -0.02, 0.23), "cannot be told from"),
        ((0.03, 0.2, 0.01, 0.22), "differs from"),
    ],
)
def test_one_pair_of_runs_differs_only_where_its_intervals_exclude_zero(bounds, says):
    names = ("low", "high", "joint_low", "joint_high")
    assert _single({"mean": 0.1} | dict(zip(names, [*bounds, None, None], strict=False))) == says


def test_one_pair_of_runs_of_which_both_solve_nothing_cannot_be_told_apart(tmp_path):
    report = report_of(tmp_path, ["baseline", "verifiable"], [0], skill={"baseline": -99.0, "verifiable": -99.0})
    assert text_of(report, "verifiable").startswith("cannot be told from baseline in this one pair of runs")
