"""What the plots draw is what the report says: their lines, bars and labels are read back from the figure."""

import copy
import io

import matplotlib as mpl
import numpy as np
import pytest

from tests.unit.reporting.artifacts import make_config, write_artifacts
from wmtp.reporting.collect import collect
from wmtp.reporting.figures import FIGURES, _mean_curve, draw_figures, short_number
from wmtp.reporting.inputs import load_inputs
from wmtp.reporting.layout import NARROW, WIDE
from wmtp.reporting.style import BACKGROUND, arm_styles

mpl.use("Agg")
ARMS = ["baseline", "ntp", "rho1", "verifiable"]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    root, config = tmp_path_factory.mktemp("figures"), make_config(ARMS, [0, 1])
    write_artifacts(root, config, num_tasks=30)
    return collect(load_inputs(config, root), config)


@pytest.fixture
def report(full):
    return copy.deepcopy(full)


@pytest.fixture(params=[WIDE, NARROW], ids=lambda layout: layout.name)
def draw(report, request):
    import matplotlib.pyplot as plt

    yield lambda name: FIGURES[name](report, request.param)
    plt.close("all")


def lines(axes, color):
    """Of one colour, as (x, y) lists."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if line.get_color() == color]


def heights(axes):
    """Bars by label, from left to right."""
    return {one.get_label(): [bar.get_height() for bar in one] for one in axes.containers}


def test_pass_at_1_shows_both_means_their_intervals_and_every_seed(report, draw):
    (axes,) = draw("pass_at_1").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ARMS
    styles = arm_styles(ARMS, "baseline")
    for arm in ARMS:
        entry, drawn = report["arms"][arm], [x for x, _ in lines(axes, styles[arm].color)]
        sampled, greedy = entry["pass_at_k"]["1"], entry["greedy"]
        assert [sampled["low"], sampled["high"]] in drawn and [sampled["mean"]] in drawn
        assert [greedy["low"], greedy["high"]] in drawn
    hollow = [line.get_xdata()[0] for line in axes.lines if line.get_markerfacecolor() == "none" and line.get_marker() == "o"]
    assert hollow == [report["arms"][arm]["greedy"]["mean"] for arm in ARMS]
    seeds = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
    assert seeds == [[row["pass@1"] for row in report["runs"] if row["arm"] == arm] for arm in ARMS]


def test_differences_are_against_the_baseline_with_both_intervals(report, draw):
    (axes,) = draw("difference").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ARMS[1:]
    for arm in ARMS[1:]:
        found, drawn = report["arms"][arm]["difference"], [x for x, _ in lines(axes, arm_styles(ARMS, "baseline")[arm].color)]
        whiskers = [found["joint_seed_low"], found["joint_seed_high"]]
        assert drawn == [[found["seed_low"], found["seed_high"]], whiskers, [found["low"], found["high"]], [found["mean"]]]
        assert whiskers[0] < min(found["seed_low"], found["joint_low"]) and whiskers[1] > max(
            found["seed_high"], found["joint_high"]
        )
    assert "baseline" in axes.get_title()
    for entry in report["arms"].values():
        entry["difference"] = None
    assert draw("difference") is None


def test_pass_at_k_rises_with_k_as_the_report_says(report, draw):
    (axes,) = draw("pass_at_k").axes
    for arm, line in zip(ARMS, axes.lines, strict=True):
        entry = report["arms"][arm]["pass_at_k"]
        assert line.get_label() == arm
        assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == {int(k): row["mean"] for k, row in entry.items()}
        assert list(line.get_ydata()) == sorted(line.get_ydata())
    for entry in report["arms"].values():
        entry["pass_at_k"] = {"1": entry["pass_at_k"]["1"]}
    assert draw("pass_at_k") is None


def test_bars_by_difficulty_and_head_leave_a_gap_where_there_is_nothing(report, draw):
    (axes,) = draw("by_difficulty").axes
    assert heights(axes) == {arm: [report["arms"][arm]["by_difficulty"][level]["pass@1"] for level in "123"] for arm in ARMS}
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"difficulty {level}\n(10 tasks)" for level in "123"]
    (axes,) = draw("nll_per_head").axes
    assert heights(axes) == {arm: list(report["arms"][arm]["nll"].values()) for arm in ARMS}
    assert [len(bars) for bars in heights(axes).values()] == [4, 1, 4, 4]
    for entry in report["arms"].values():
        entry["by_difficulty"] = {level: {"num_tasks": 1, "pass@1": 0.0} for level in "12"}
    (axes,) = draw("by_difficulty").axes
    assert axes.get_ylim()[0] == 0, "a share is not negative, where none is above 0 either"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["difficulty 1\n(1 task)", "difficulty 2\n(1 task)"]
    for entry in report["arms"].values():
        entry["by_difficulty"] = {"1": entry["by_difficulty"]["1"]}
    assert draw("by_difficulty") is None


def test_learning_curves_are_thin_for_seeds_and_thick_for_their_mean(report, draw):
    validation, training = draw("learning_curves").axes
    styles = arm_styles(ARMS, "baseline")
    for arm in ARMS:
        for axes, key in ((validation, "validation"), (training, "train")):
            curves = [[point["value"] for point in report["curves"][f"{arm}-s{seed}"][key]] for seed in (0, 1)]
            drawn = [y for _, y in lines(axes, styles[arm].color)]
            assert drawn[:2] == curves and drawn[2] == pytest.approx(np.mean(curves, axis=0))
            mean = axes.lines[3 * ARMS.index(arm) + 2]
            assert (mean.get_marker(), mean.get_linestyle()) == (styles[arm].marker, styles[arm].dash)
    for run in report["curves"].values():
        run["train"], run["validation"] = [], []
    assert draw("learning_curves") is None


def test_a_legend_of_many_arms_stays_inside_of_its_figure(report, draw):
    arms = {f"an_arm_with_a_long_name_{i}": report["arms"]["rho1"] for i in range(30)}
    report["arms"] = report["arms"] | arms
    for name in ("pass_at_k", "nll_per_head", "learning_curves", "weights"):
        figure = draw(name)
        figure.canvas.draw()
        (legend,) = figure.legends or [figure.axes[0].get_legend()]
        box, page = legend.get_window_extent(), figure.bbox
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1, name


def test_weights_are_of_weighted_arms_alone(report, draw):
    means, kinds = draw("weights").axes
    shown = {arm: report["arms"][arm]["weights"] for arm in ("rho1", "verifiable")}
    assert heights(means) == {arm: [w["signal_mean"], w["noise_mean"]] for arm, w in shown.items()}
    names = [label.get_text() for label in kinds.get_xticklabels()]
    assert names == ["clean", "boilerplate", "comments", "corrupted", "mismatched"]
    assert heights(kinds) == {arm: [w["by_noise_kind"][name] for name in names] for arm, w in shown.items()}
    report["arms"]["rho1"]["weights"]["noise_mean"] = None
    assert len(heights(draw("weights").axes[0])["rho1"]) == 1
    report["arms"]["verifiable"]["weights"]["noise_mean"] = None
    assert draw("weights") is None, "nothing is marked as noise"
    for arm in shown:
        report["arms"][arm]["weights"] = None
    assert draw("weights") is None


def test_calibration_is_drawn_in_order_of_the_prediction(report, draw):
    report["critic"]["calibration"] = [{"p": 0.9, "y": 0.8, "n": 10}, {"p": 0.1, "y": 0.3, "n": 40}]
    (axes,) = draw("calibration").axes
    assert (list(axes.lines[1].get_xdata()), list(axes.lines[1].get_ydata())) == ([0.1, 0.9], [0.3, 0.8])
    assert "n = 50" in axes.get_title() and "Brier 0.071" in axes.get_title()
    low, high = axes.collections[0].get_sizes()
    assert low > high, "the larger bin first, with the larger dot"
    report["critic"] = None
    assert draw("calibration") is None


def test_a_mean_curve_is_at_the_first_runs_tokens():
    first = [{"tokens": 0, "value": 4.0}, {"tokens": 100, "value": 2.0}]
    other = [{"tokens": 0, "value": 2.0}, {"tokens": 200, "value": 0.0}]
    tokens, values = _mean_curve([first, other])
    assert tokens.tolist() == [0, 100] and values.tolist() == [3.0, 1.5]


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (999, "999"), (1500, "1.5k"), (2e6, "2M"), (3.5e9, "3.5G")])
def test_large_numbers_are_short(value, text):
    assert short_number(value, 0) == text


def test_a_figure_is_a_picture_on_its_background_and_repeats_itself(report, monkeypatch):
    chosen = {name: FIGURES[name] for name in ("pass_at_1", "calibration")}
    monkeypatch.setattr("wmtp.reporting.figures.FIGURES", chosen)
    drawn = draw_figures(report)
    assert list(drawn) == list(chosen)
    pixels = mpl.image.imread(io.BytesIO(drawn["pass_at_1"]), format="png")
    corner = tuple(round(255 * part) for part in pixels[0, 0, :3])
    assert corner == tuple(int(BACKGROUND[i : i + 2], 16) for i in (1, 3, 5))
    for form in ("png", "svg"):
        assert draw_figures(report, form=form) == draw_figures(report, form=form)
    report["critic"] = None
    assert list(draw_figures(report)) == ["pass_at_1"]


def test_one_seed_has_no_line_of_its_own(tmp_path):
    config = make_config(["baseline", "rho1"], [0])
    write_artifacts(tmp_path, config, num_tasks=9)
    report = collect(load_inputs(config, tmp_path), config)
    validation, _ = FIGURES["learning_curves"](report, WIDE).axes
    assert len(validation.lines) == 2
    assert not [line for line in FIGURES["pass_at_1"](report, WIDE).axes[0].lines if line.get_marker() == "|"]
