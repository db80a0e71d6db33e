"""Sentences made from the numbers. They claim no more than the intervals allow, and say so where an arm is worse."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CLAIM_LEVEL = 0.98
"""Of the interval over seeds that a claim needs, of the comparison's own variance between seeds.

Student's t assumes that differences are symmetric. They are where both arms vary alike. Where one arm alone fails now and
then, a few of its runs that happen not to fail look alike and are better than its mean: of 3 to 10 seeds the interval of 95 %
then holds in 90 %. That of 98 % brings false claims of one comparison down to 6 %, and to 2 % where luck is normal
(`benchmarks/coverage.py`).

Source: Cressie and Whitford 1986, How to use the two sample t-test (unequal skewness is what harms it).
"""

_ONE_PAIR = "in this one pair of runs, which says nothing of the method"
_ONE_CHECKPOINT = "in this one pair, which says nothing of the method"
_AT_CLAIM_LEVEL = f"{100 * CLAIM_LEVEL:.0f} %"


def build_findings(report: dict[str, Any]) -> dict[str, Any]:
    """All generated text of the report.

    Args:
        report: what `collect` has so far.
    Returns:
        {"arms": [{"arm", "verdict", "text"}], "beside": [{"name", "text"}], "pairs": [str], "curves": [str],
        "weights": [str], "critic": [str], "caveats": [str], "limits": str}.
    """
    return {
        "arms": _arm_findings(report),
        "beside": [{"name": name, "text": _beside_text(report, entry)} for name, entry in report["beside"].items()],
        "pairs": [_pair_sentence(pair, report["score"]["noun"]) for pair in report["pairs"] if pair["difference"] is not None],
        "curves": _curve_sentences(report),
        "weights": _weight_sentences(report),
        "critic": _critic_sentences(report["critic"]),
        "caveats": _caveats(report),
        "limits": _limits(report),
    }


def signed(value: float) -> str:
    """+0.123 or -0.123; a value that rounds to nothing has no sign."""
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def evidence(difference: dict[str, Any], noun: str = "task", number: str = "") -> str:
    """`+0.210, 95 % over tasks +0.100 to +0.320, over seeds +0.020 to +0.400 (98 % -0.020 to +0.440), n = 3 seeds, 150 tasks`;
    where there are other comparisons each interval is followed by `(jointly ...)`. `number`: in place of that of seeds."""
    parts = [f"{signed(difference['mean'])}, 95 % over {noun}s {_range(difference, '')}"]
    if difference["seed_low"] is not None:
        parts.append(f"over seeds {_range(difference, 'seed_')}")
    number = number or plural(difference["num_seeds"], "seed")
    return ", ".join([*parts, f"n = {number}", plural(difference["num_tasks"], noun)])


def _range(difference: dict[str, Any], kind: str) -> str:
    text = f"{signed(difference[f'{kind}low'])} to {signed(difference[f'{kind}high'])}"
    low, high = difference.get(f"joint_{kind}low"), difference.get(f"joint_{kind}high")
    return text if low is None or high is None else f"{text} ({_beside(difference)} {signed(low)} to {signed(high)})"


def _beside(difference: dict[str, Any]) -> str:
    """What the intervals that a claim needs besides the plain ones are called."""
    return _AT_CLAIM_LEVEL if difference.get("joint_low") is None else "jointly"


def decisive(difference: Mapping[str, Any]) -> tuple[float, float]:
    """From the least to the greatest end of all intervals that a claim needs: it is made where zero is outside."""
    kinds = ("", "seed_", "joint_", "joint_seed_")
    low, high = ([difference.get(f"{kind}{end}") for kind in kinds] for end in ("low", "high"))
    return min(one for one in low if one is not None), max(one for one in high if one is not None)


def _arm_findings(report: dict[str, Any]) -> list[dict[str, str]]:
    baseline = report["baseline"]
    if baseline is None:
        return []
    rows = []
    for arm, entry in report["arms"].items():
        difference = entry["difference"]
        if arm == baseline:
            continue
        if difference is None:
            rows.append(
                {"arm": arm, "verdict": "unclear", "text": f"has no seed in common with {baseline}, so no paired difference."}
            )
            continue
        says = {
            "better": f"beats {baseline}",
            "worse": f"does not beat {baseline}: it is worse",
            "unclear": f"cannot be told from {baseline}",
            "single": f"{_single(difference)} {baseline} {_ONE_PAIR}",
        }[difference["verdict"]]
        given = f", given {' and '.join(entry['given'])}" if entry["given"] else ""
        score = report["score"]
        text = f"{says}{given} ({score['name']} {evidence(difference, score['noun'])}). {_greedy_clause(entry)}"
        rows.append({"arm": arm, "verdict": difference["verdict"], "text": text.rstrip()})
    return rows


def _beside_text(report: dict[str, Any], entry: dict[str, Any]) -> str:
    """Of a checkpoint that no run here has trained."""
    what, baseline, difference = (
        f"is one checkpoint, not a run of ours ({entry['model']})",
        report["baseline"],
        entry["difference"],
    )
    if difference is None:
        return f"{what}."
    number = f"1 checkpoint against {plural(len(report['arms'][baseline]['seeds']), 'seed')} of {baseline}"
    says = f"it {_single(difference)} {baseline} {_ONE_CHECKPOINT}"
    return f"{what}: {says} (pass@1 {evidence(difference, 'task', number)}). {_greedy_clause(entry)}"


def _greedy_clause(entry: dict[str, Any]) -> str:
    greedy, sampled = entry.get("greedy_difference"), entry["difference"]
    if greedy is None:
        return ""
    text = f"Greedy pass@1: {signed(greedy['mean'])} ({signed(greedy['low'])} to {signed(greedy['high'])} over tasks)"
    if greedy["mean"] * sampled["mean"] < 0:
        return f"{text}: the opposite direction."
    return f"{text}."


def _single(difference: dict[str, Any]) -> str:
    """By the intervals over tasks: one pair of runs has no others."""
    low, high = decisive(difference)
    return "differs from" if low > 0 or high < 0 else "cannot be told from"


def _pair_sentence(pair: dict[str, Any], noun: str) -> str:
    difference = pair["difference"]
    says = {
        "better": f"beats {pair['against']}",
        "worse": f"is below {pair['against']}",
        "unclear": f"cannot be told from {pair['against']}",
        "single": f"{_single(difference)} {pair['against']} {_ONE_PAIR}",
    }[difference["verdict"]]
    why = {
        "filtered": "training on correct solutions only, with no weights at all",
        "control": "against its control",
    }[pair["kind"]]
    return f"{pair['arm']} ({why}) {says}: {evidence(difference, noun)}."


def _curve_sentences(report: dict[str, Any]) -> list[str]:
    rows = []
    for arm, entry in report["arms"].items():
        reach = entry.get("tokens_to_baseline")
        if arm == report["baseline"] or not reach or not reach["num_runs"]:
            continue
        runs = plural(reach["num_runs"], "run")
        if reach["mean_frac"] is None:
            rows.append(f"{arm} never reached {report['baseline']}'s final validation nll ({runs}).")
            continue
        share = f"{100 * reach['mean_frac']:.0f} % of {report['baseline']}'s tokens"
        rows.append(
            f"{arm} reached {report['baseline']}'s final validation nll after {share} ({reach['num_reached']} of {runs})."
        )
    return rows


def _weight_sentences(report: dict[str, Any]) -> list[str]:
    rows = []
    weighted = [entry["weights"] for entry in report["arms"].values() if entry["is_weighted"] and entry["weights"]]
    if weighted and not any("noise_mean" in weights for weights in weighted):
        return ["Nothing in this data is marked as noise, so there are no means to compare; below is each token's weight."]
    for arm, entry in report["arms"].items():
        weights = entry["weights"] or {}
        if not entry["is_weighted"] or "noise_mean" not in weights or "signal_mean" not in weights:
            continue
        noise, signal = weights["noise_mean"], weights["signal_mean"]
        means = f"mean weight {noise:.2f} on noise tokens, {signal:.2f} on signal tokens"
        if noise == signal and weights.get("difference_sem") == 0:
            rows.append(f"{arm} weighs every token that head 0 learns alike, as training without weights does.")
            continue
        by_chance = 3 * weights.get("difference_sem", 0.0)  # several arms are looked at; older experiments have none
        if abs(noise - signal) <= max(0.02 * max(signal, noise), by_chance):
            rows.append(f"{arm} does not tell noise from signal: {means}.")
        elif noise < signal:
            rows.append(f"{arm} turns away from noise: {means}.")
        else:
            rows.append(f"{arm} puts more weight on noise than on signal: {means}.")
    return rows


def _critic_sentences(critic: dict[str, Any] | None) -> list[str]:
    if critic is None:
        return []
    auc, control = critic.get("auc"), critic.get("auc_max_reference_nll")
    if auc is None:
        return ["The critic's AUC could not be measured: its validation examples are all right or all wrong."]
    subject = f"The critic's AUC on unseen problems is {auc:.3f}"
    if "auc_min" in critic:
        subject += f" (mean of {critic['num_critics']} seeds, {critic['auc_min']:.3f} to {critic['auc_max']:.3f})"
    if control is None:
        return [f"{subject}; without reference scores there is no control to compare with."]
    if auc > control:
        gain = f"{auc - control:.3f} above"
    else:
        gain = "no better than" if auc == control else f"{control - auc:.3f} below"
    return [f"{subject}, {gain} the raw maximum reference nll ({control:.3f}), a control that has seen no label."]


def _caveats(report: dict[str, Any]) -> list[str]:
    noun = report["score"]["noun"]
    num_seeds = min(len(entry["seeds"]) for entry in report["arms"].values())
    given = {what for entry in report["arms"].values() for what in entry["given"]}
    rows = seed_caveats(num_seeds, noun, given, _seed_spread(report))
    if report["baseline"] is None:
        rows.append("The baseline arm is not among these runs, so nothing here says whether an arm beats it.")
    if report["baseline"] is not None and num_seeds > 1:
        rows += _what_decides(report["baseline"], [arm for arm in report["arms"] if arm != report["baseline"]])
    rows += power([entry["difference"] for entry in report["arms"].values() if entry.get("difference") is not None], noun)
    setting = report["setting"]
    if setting["limit"] is not None:
        rows.append(
            f"Evaluation was limited to {plural(setting['num_tasks'], 'task')} of {setting['benchmark']}: "
            "not the benchmark's score."
        )
    if setting["allow_unsafe"]:
        rows.append("Programs ran without a sandbox (allow_unsafe).")
    return rows


def seed_caveats(num_seeds: int, noun: str, given: Iterable[str] = (), spread: str = "") -> list[str]:
    """What so few seeds do not say.

    Args:
        given: what they all have in common, of `shared_upstream`.
        spread: a sentence on how far they are apart.
    """
    rows = []
    varies = "Greedy scores in particular vary by seed. " if noun == "task" else ""
    if num_seeds == 1:
        rows.append(
            "One seed is one run, and no evidence of a method effect: the intervals cover the choice of "
            f"{noun}s, not how training varies. {varies}Run at least three seeds before you claim anything."
        )
    elif num_seeds < 5:
        rows.append(
            f"{num_seeds} seeds are few: a difference counts only where both its intervals, over {noun}s and over seeds, "
            f"exclude zero. {spread}".rstrip()
        )
    shared = sorted(given, reverse=True)
    if shared:
        rows.append(
            f"All seeds share {' and '.join(shared)} (share_upstream): intervals over seeds say nothing of how these vary."
        )
    return rows


def _what_decides(baseline: str, others: list[str]) -> list[str]:
    if len(others) > 1:
        return [
            f"{len(others)} arms are compared with {baseline}: whether one beats it is decided by the joint intervals, which "
            "hold for all of them together."
        ]
    return [
        f"Whether {arm} beats {baseline} is decided by the interval over seeds at {_AT_CLAIM_LEVEL}: where one of the two "
        "fails now and then, that at 95 % holds less often than it says."
        for arm in others
    ]


def power(found: Sequence[Mapping[str, Any]], noun: str) -> list[str]:
    """Which difference would be found, by the spreads that were measured: the median over those that were compared."""
    if not found:
        return []
    needed = statistics.median(one["detectable"] for one in found)
    seeds, tasks = (
        plural(min(one["num_seeds"] for one in found), "seed"),
        plural(found[0]["num_tasks"], noun),
    )
    of_runs = " between these runs" if any(one["num_seeds"] == 1 for one in found) else ""
    return [
        f"With {seeds} and {tasks} a true difference{of_runs} of {needed:.3f} or more would be found in four of five such "
        "comparisons (median over all that is compared); a smaller one is likely to go unseen."
    ]


def _seed_spread(report: dict[str, Any]) -> str:
    """How far the arm whose greedy score varies most moves between seeds; nothing of documents, which have none."""
    if any(entry["greedy"] is None for entry in report["arms"].values()):
        return ""
    arm, entry = max(report["arms"].items(), key=lambda item: item[1]["greedy"]["seed_max"] - item[1]["greedy"]["seed_min"])
    greedy, sampled = entry["greedy"], entry["pass_at_k"]["1"]
    return (
        f"Greedy scores vary by seed: {arm}'s from {greedy['seed_min']:.3f} to {greedy['seed_max']:.3f} "
        f"(sampled pass@1 {sampled['seed_min']:.3f} to {sampled['seed_max']:.3f})."
    )


def _shared_order(report: dict[str, Any]) -> str:
    apart = [arm for arm, entry in report["arms"].items() if entry["solutions"] != "all"]
    if not apart:
        return "all see the same rows in the same order"
    return f"those that train on all solutions see the same rows in the same order, {' and '.join(apart)} other rows and tokens"


def _limits(report: dict[str, Any]) -> str:
    setting = report["setting"]
    sizes = list(dict.fromkeys(f"{size / 1e6:.2f}" for size in setting["num_parameters"]))
    if not sizes:
        model = "one model"
    elif len(sizes) == 1:
        model = f"a model of {sizes[0]} M parameters"
    else:
        model = f"models of {sizes[0]} to {sizes[-1]} M parameters"
    data = "problems that a generator composes" if setting["is_generated"] else f"problems of {setting['source']}"
    if report["score"]["noun"] == "document":
        data = "the documents of data.train_path"
    steps, batch = plural(setting["steps"], "step"), plural(setting["global_batch_size"], "example")
    text = (
        f"These numbers hold for {model}, {steps} of {batch} and {data}; they say nothing about larger models or other text. "
        f"Arms share steps and settings that were not tuned for each arm; {_shared_order(report)}."
    )
    if report["shared_stages"]:
        wall = sum(stage["wall_s"] or 0 for stage in report["shared_stages"].values())
        what = (
            "documents of its own"
            if report["score"]["noun"] == "document"
            else "data selected as clean or labelled by running it"
        )
        text += (
            f" Arms that use a reference or a critic also profit from training that is not in their own cost "
            f"({wall:.0f} s for each here, on {what})."
        )
    return text
