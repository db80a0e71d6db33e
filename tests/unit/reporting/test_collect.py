"""The report's numbers by hand, from a few runs on two tasks; the order in which arms are read, and who is compared."""

import json

import numpy as np
import pytest

from tests.unit.reporting.artifacts import make_config
from wmtp.reporting.collect import collect, group_by_arm
from wmtp.reporting.inputs import Inputs, Run, Tasks

PLAIN, CONTROLS, WEIGHTED = ["baseline", "filtered", "ntp"], ["random", "shuffled"], ["rho1", "rho1_soft", "verifiable"]


def make_run(arm, seed, correct, *, greedy=(1, 0), nll=1.0, curve=(3.0, 2.0, 1.0), tokens_per_s=10.0, **summary):
    """A run on two tasks of difficulty 1 and 3 with 4 samples each, `correct` of them right."""
    tasks = Tasks(("t1", "t2"), np.array([1, 3]), np.array([4, 4]), np.array(correct), np.array(greedy))
    metrics = {
        "benchmark": "synthetic",
        "num_tasks": 2,
        "num_samples": 4,
        "pass@1": sum(correct) / 8,
        "greedy_pass@1": sum(greedy) / 2,
        "nll": {"head0": nll, "head1": 2 * nll},
        "verdicts": {"passed": sum(correct), "timeout": seed},
        "generation": {"tokens_per_s": tokens_per_s},
    }
    history = [
        {"step": 10 * (i + 1), "tokens": 100 * (i + 1), "val/nll_head0": value, "train/loss": value + 1}
        for i, value in enumerate(curve)
    ]
    cost = {"steps": 30, "tokens": 300, "result_step": 30, "wall_s": 60.0 + seed, "tokens_per_s": 5.0, "world_size": 2}
    return Run(f"{arm}-s{seed}", arm, seed, metrics, tasks, cost | {"peak_memory_bytes": 2**20} | summary, history, [])


def report_of(runs, *overrides):
    arms, seeds = sorted({run.arm for run in runs}), sorted({run.seed for run in runs})
    given = {each.partition("=")[0] for each in overrides}
    own = [each for each in ("report.k=[1,2]", "evaluate.num_samples=4") if each.partition("=")[0] not in given]
    overrides = (*own, *overrides)
    data = {"counts": {}, "vocab_size": 768, "max_length": 192}
    return collect(Inputs(runs=list(runs), data=data), make_config(arms, seeds, *overrides))


def test_arms_are_read_baseline_first_then_plain_ones_controls_and_weightings():
    arms = PLAIN + CONTROLS + WEIGHTED
    config = make_config(arms, [0, 1])
    runs = [make_run(arm, seed, (1, 2)) for arm in reversed(arms) for seed in (1, 0)]
    groups = group_by_arm(runs, config, "baseline")
    assert list(groups) == PLAIN + CONTROLS + WEIGHTED
    assert all([run.seed for run in group] == [0, 1] for group in groups.values())
    assert list(group_by_arm(runs, config, "rho1"))[:4] == ["rho1", "baseline", "filtered", "ntp"]
    assert list(group_by_arm(runs, config, None)) == PLAIN + CONTROLS + WEIGHTED


def test_filtering_meets_every_weighting_and_a_weighting_its_control():
    arms = PLAIN + CONTROLS + WEIGHTED
    report = report_of([make_run(arm, 0, (1, 2)) for arm in arms])
    pairs = [(pair["kind"], pair["arm"], pair["against"]) for pair in report["pairs"]]
    assert pairs == [
        *(("filtered", "filtered", arm) for arm in WEIGHTED),
        ("control", "rho1", "random"),
        ("control", "verifiable", "shuffled"),
    ]


def test_a_control_without_its_weighting_and_a_weighting_without_its_control_are_no_pair():
    report = report_of([make_run(arm, 0, (1, 2)) for arm in ("baseline", "random", "verifiable")])
    assert report["pairs"] == []


def test_a_pairs_difference_is_of_the_seeds_that_both_have():
    runs = [
        make_run("filtered", 0, (4, 4)),
        make_run("filtered", 1, (4, 2)),
        make_run("rho1", 1, (0, 2)),
        make_run("rho1", 2, (4, 4)),
    ]
    (pair,) = report_of(runs)["pairs"]
    assert pair["difference"]["mean"] == pytest.approx(0.5) and pair["difference"]["num_seeds"] == 1
    runs = [make_run("filtered", 0, (4, 4)), make_run("rho1", 1, (0, 2))]
    (pair,) = report_of(runs)["pairs"]
    assert pair["difference"] is None


def test_scores_are_means_over_seeds_and_tasks():
    report = report_of([make_run("baseline", 0, (1, 2), nll=1.0), make_run("baseline", 1, (3, 4), greedy=(1, 1), nll=2.0)])
    arm = report["arms"]["baseline"]
    at_1, at_2 = arm["pass_at_k"]["1"], arm["pass_at_k"]["2"]
    assert at_1["mean"] == pytest.approx((1 + 2 + 3 + 4) / 16)
    assert (at_1["seed_min"], at_1["seed_max"], at_1["num_seeds"]) == pytest.approx((3 / 8, 7 / 8, 2))
    pass_at_2 = [1 - 3 / 6, 1 - 1 / 6, 1, 1]  # pairs of 4 samples of which none is right: 3, 1, 0 and 0 of 6
    assert at_2["mean"] == pytest.approx(sum(pass_at_2) / 4) and arm["reported_k"] == [1, 2]
    assert set(arm["pass_at_k"]) == {"1", "2", "3", "4"} and arm["pass_at_k"]["4"]["mean"] == 1
    assert arm["greedy"]["mean"] == pytest.approx(3 / 4)
    assert arm["nll"] == {"head0": 1.5, "head1": 3.0}
    assert arm["by_difficulty"] == {
        "1": {"num_tasks": 1, "pass@1": pytest.approx(4 / 8)},
        "3": {"num_tasks": 1, "pass@1": pytest.approx(6 / 8)},
    }
    assert arm["verdicts"] == {"passed": 10, "timeout": 1}
    assert arm["cost"]["wall_s"] == 60.5 and arm["cost"]["generation_tokens_per_s"] == 10.0


def test_a_difference_is_paired_by_task_and_seed():
    report = report_of(
        [
            make_run("baseline", 0, (0, 2)),
            make_run("baseline", 1, (1, 3)),
            make_run("rho1", 0, (2, 4)),
            make_run("rho1", 1, (4, 3)),
        ]
    )
    assert report["arms"]["baseline"]["difference"] is None
    found = report["arms"]["rho1"]["difference"]
    by_seed = [(2 / 4 + 2 / 4) / 2, (3 / 4 + 0) / 2]
    assert found["mean"] == pytest.approx(sum(by_seed) / 2) and (found["num_seeds"], found["num_tasks"]) == (2, 2)
    half = 12.706204736 * abs(by_seed[0] - by_seed[1]) / 2  # Student's t of one degree of freedom
    assert (found["seed_low"], found["seed_high"]) == pytest.approx((found["mean"] - half, found["mean"] + half))
    assert found["verdict"] == "unclear"
    assert report["arms"]["rho1"]["greedy_difference"]["mean"] == 0


def test_weights_are_means_over_the_seeds_that_could_measure_them():
    def weights(signal, noise, **kinds):
        return {"signal_mean": signal, "noise_mean": noise, "prompt_frac": 0.5, "by_noise_kind": kinds}

    runs = [
        make_run("rho1", 0, (1, 1), weights=weights(1.2, None, clean=1.0, comments=None)),
        make_run("rho1", 1, (1, 1), weights=weights(1.0, 0.5, clean=1.4, comments=0.5)),
        make_run("ntp", 0, (1, 1)),
    ]
    arms = report_of(runs)["arms"]
    assert arms["rho1"]["weights"] == {
        "signal_mean": pytest.approx(1.1),
        "noise_mean": 0.5,
        "prompt_frac": 0.5,
        "by_noise_kind": {"clean": pytest.approx(1.2), "comments": 0.5},
    }
    assert arms["ntp"]["weights"] is None and arms["rho1"]["is_weighted"] and not arms["ntp"]["is_weighted"]


def test_tokens_to_the_baseline_are_counted_from_the_same_seeds_result():
    runs = [
        make_run("baseline", 0, (1, 1), curve=(3.0, 2.0, 2.5), result_step=20),
        make_run("baseline", 1, (1, 1), curve=(3.0, 2.0, 1.0)),
        make_run("rho1", 0, (1, 1), curve=(4.0, 2.0, 1.0)),
        make_run("rho1", 1, (1, 1), curve=(3.0, 2.0, 1.5)),
        make_run("rho1", 2, (1, 1)),
    ]
    reach = report_of(runs)["arms"]["rho1"]["tokens_to_baseline"]
    assert [(row["seed"], row["target_nll"], row["tokens"]) for row in reach["runs"]] == [(0, 2.0, 200.0), (1, 1.0, None)]
    assert (reach["num_reached"], reach["num_runs"], reach["mean_frac"]) == (1, 2, 1.0)


def test_without_a_baseline_nothing_is_compared_with_it():
    report = report_of([make_run("rho1", 0, (1, 1)), make_run("ntp", 0, (1, 1))])
    assert report["baseline"] is None and list(report["arms"]) == ["ntp", "rho1"]
    assert not {"difference", "greedy_difference", "tokens_to_baseline"} & set(report["arms"]["rho1"])


def test_no_more_is_reported_of_k_than_there_are_samples():
    report = report_of([make_run("ntp", 0, (1, 1))], "evaluate.num_samples=8", "report.k=[1,4,8]")
    assert report["arms"]["ntp"]["reported_k"] == [1, 4] and max(map(int, report["arms"]["ntp"]["pass_at_k"])) == 4


def test_the_report_is_json_and_does_not_depend_on_the_runs_order():
    runs = [make_run(arm, seed, (1, seed)) for arm in ("baseline", "rho1") for seed in (0, 1)]
    first, again = report_of(runs), report_of(runs[::-1])
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert first | {"curves": None, "examples": None} == again | {"curves": None, "examples": None}
    assert first["curves"] == again["curves"]
    assert [row["run"] for row in first["runs"]] == ["baseline-s0", "baseline-s1", "rho1-s0", "rho1-s1"]


def test_where_isolation_was_missing_it_is_said():
    runs = [make_run("ntp", 0, (1, 1)), make_run("ntp", 1, (1, 1))]
    runs[1].metrics["sandbox"] = {"allow_unsafe": True, "isolation": "none"}
    setting = report_of(runs)["setting"]
    assert setting["allow_unsafe"] is True and setting["isolation"] == ["none", "not recorded"]
