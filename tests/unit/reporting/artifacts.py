"""Made-up but plausible outputs of the stages that `report` reads, drawn from a seeded simulation of skill per arm."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from wmtp.config import Config, compose
from wmtp.ledger import Ledger

SKILL = {"ntp": -1.6, "baseline": -2.0, "filtered": 1.6, "rho1": -0.6, "verifiable": 0.6, "random": -2.6, "shuffled": -1.9}
"""Log-odds of solving a task of middling difficulty."""
FINAL_NLL = {
    "ntp": 0.13,
    "baseline": 0.15,
    "filtered": 0.06,
    "rho1": 0.085,
    "verifiable": 0.08,
    "random": 0.19,
    "shuffled": 0.16,
}
NOISE_WEIGHT = {"rho1": 0.45, "verifiable": 0.62, "random": 1.0, "shuffled": 1.0}
SAVED = {"baseline": 0.0, "rho1": 0.2, "random": -0.1}
"""Nats per token of a document."""
NUM_DOCUMENTS = 40
LIMITS = {"time_limit_s": {"least": 2.0, "most": 4.0}}
KINDS = ("comments", "boilerplate", "corrupted", "mismatched")
REPOSITORY = Path(__file__).parents[3]


def make_config(arms: list[str], seeds: list[int], *overrides: str) -> Config:
    return compose(REPOSITORY, "demo", arms=arms, seeds=seeds, overrides=["report.num_bootstrap=300", *overrides])


def write_artifacts(
    root: Path, config: Config, *, num_tasks: int = 150, skill: dict[str, float] | None = None, seed: int = 0
) -> None:
    """Write what `sample`, training and evaluation of every configured run would leave below `root`."""
    rng = np.random.default_rng(seed)
    difficulty_T = 1 + np.arange(num_tasks) % 3
    ease_T = rng.normal(0, 1.2, num_tasks) - (difficulty_T - 2.0)
    ledger = Ledger()
    account = ledger.account("table/train")
    account.read(6000, 6000)
    account.solutions.make("mutants_wanted", 6000)
    account.drop("too_long", 60, 126)
    account.drop("duplicate", 0, 0)
    account.problems.keep(5940)
    account.solutions.keep(11874)
    statistics = {
        f"{split}/{name}": value
        for split in ("train", "validation")
        for name, value in (("examples", 11874), ("noisy_frac", 0.5))
    }
    meta = {
        "vocab_size": 768,
        "max_length": 192,
        "counts": ledger.counts(),
        "statistics": statistics,
        "tokenizer_sha256": "0" * 64,
    }
    write_json(root / "artifacts/data/meta.json", meta)
    for name, run in config.runs.items():
        run_rng = np.random.default_rng([seed, run.seed, len(run.arm)])
        ability_T = (skill or SKILL)[run.arm] + 0.35 * run_rng.normal() + ease_T
        identity = {"run": name, "arm": run.arm, "seed": run.seed}
        _write_evaluation(root / "artifacts/evaluation" / name, identity, ability_T, difficulty_T, config, run_rng)
        _write_training(root / "artifacts/training" / name, identity, config, run_rng)
    for stage, key in ((stage, f"s{run.upstream}") for stage in ("reference", "critic") for run in config.runs.values()):
        write_json(root / "artifacts/tuning" / stage / key / "summary.json", _stage_summary(stage, rng))


def write_checkpoint(folder: Path, evaluation: Path, **changes: Any) -> None:
    """What `wmtp evaluate` leaves of a model that does as a run's did. `changes`: in metrics.json, by key."""
    shutil.copytree(evaluation, folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    own = {key: metrics[key] for key in metrics if key not in ("run", "arm", "seed", "nll", "token_accuracy")}
    sampling = metrics["sampling"] | {"seed": 7, "num_samples": metrics["num_samples"], "greedy": True}
    write_json(folder / "metrics.json", own | {"model": "org/theirs", "sampling": sampling} | changes)


def config_of_documents(seeds: list[int], *overrides: str) -> Config:
    return compose(
        REPOSITORY, "text", seeds=seeds, overrides=["data.train_path=x.jsonl", "report.num_bootstrap=300", *overrides]
    )


def write_documents(root: Path, config: Config, *, better: float = 0.0) -> dict[str, float]:
    """As `write_artifacts`, with evaluations of documents in the place of solved tasks; every run's NLL.

    rho1 is better than the baseline by about 0.2 nats a token, random worse by 0.1. `better`: how much all are beside that.
    """
    write_artifacts(root, config)
    rng, truth = np.random.default_rng(0), {}
    tokens_T = rng.integers(5, 400, NUM_DOCUMENTS)
    for name, run in config.runs.items():
        nll_T = tokens_T * (2.0 - better - SAVED[run.arm] + 0.02 * run.seed + 0.05 * rng.normal(size=NUM_DOCUMENTS))
        folder = root / "artifacts/evaluation" / name
        with (folder / "per_task.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [[f"x.jsonl:{i}", n, s] for i, (n, s) in enumerate(zip(tokens_T, nll_T, strict=True))]
            csv.writer(file).writerows([["task_id", "num_tokens", "nll_sum"], *rows])
        truth[name] = float(nll_T.sum() / tokens_T.sum())
        identity = {"run": name, "arm": run.arm, "seed": run.seed, "benchmark": "text", "num_tasks": NUM_DOCUMENTS}
        write_json(folder / "metrics.json", {**identity, "nll": {"head0": truth[name], "head1": 3.0}, "perplexity": 7.0})
    return truth


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _write_evaluation(
    folder: Path,
    identity: dict[str, Any],
    ability_T: np.ndarray,
    difficulty_T: np.ndarray,
    config: Config,
    rng: np.random.Generator,
) -> None:
    num_samples = config.evaluate.num_samples
    chance_T = 1 / (1 + np.exp(-1.8 * ability_T))
    correct_T = rng.binomial(num_samples, chance_T)
    greedy_T = chance_T > rng.uniform(0.3, 0.7, len(chance_T))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "per_task.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task_id", "difficulty", "num_samples", "num_correct", "greedy_correct"])
        for index, (difficulty, correct, greedy) in enumerate(zip(difficulty_T, correct_T, greedy_T, strict=True)):
            writer.writerow([f"test/{index:03d}", difficulty, num_samples, correct, int(greedy)])
    num_heads = 1 if identity["arm"] == "ntp" else 4
    mean, spread = correct_T.mean() / num_samples, 1.96 * (correct_T / num_samples).std() / len(correct_T) ** 0.5
    metrics = {
        **identity,
        "benchmark": config.evaluate.benchmark,
        "num_tasks": len(correct_T),
        "num_samples": num_samples,
        "limit": config.evaluate.limit,
        "pass@1": mean,
        "pass@1_low": mean - spread,
        "pass@1_high": mean + spread,
        f"pass@{num_samples}": float((correct_T > 0).mean()),
        "greedy_pass@1": float(greedy_T.mean()),
        "nll": {f"head{h}": FINAL_NLL[identity["arm"]] * (1 + 1.6 * h) for h in range(num_heads)},
        "token_accuracy": {f"head{h}": 0.96 - 0.1 * h for h in range(num_heads)},
        "verdicts": {"passed": int(correct_T.sum()), "wrong_answer": int((num_samples - correct_T).sum()), "runtime_error": 40},
        "sandbox": {"isolation": "namespaces and rlimits", "allow_unsafe": False, "limits": LIMITS},
        "dataset": {"name": "test_problems.jsonl", "md5": "0" * 32},
        "prompt": {"format": "synthetic", "num_shots": 0, "chat_template": False},
        "sampling": {key: getattr(config.evaluate, key) for key in ("seed", "temperature", "top_p", "max_new_tokens")},
        "generation": {"tokens_per_s": 2100.0},
    }
    write_json(folder / "metrics.json", metrics)


def _write_training(folder: Path, identity: dict[str, Any], config: Config, rng: np.random.Generator) -> None:
    arm, steps = identity["arm"], config.train_policy.train.steps
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "history.jsonl").open("w", encoding="utf-8") as file:
        for step in range(10, steps + 1, 10):
            decay = np.exp(-step / 70)
            row = {"step": step, "tokens": step * 1130, "time_s": step * 0.4}
            row["train/loss"] = float(0.9 + 4.5 * decay + 0.04 * rng.normal())
            if step % 50 == 0:
                row["val/nll_head0"] = float(FINAL_NLL[arm] * (1 + 12 * decay**0.9))
            file.write(json.dumps(row) + "\n")
    summary: dict[str, Any] = {**_cost("train_policy", steps, 850_000, rng), **identity}
    noise = NOISE_WEIGHT.get(arm, 1.0)
    by_kind = {"clean": 1.05, **{kind: noise + 0.1 * index for index, kind in enumerate(KINDS)}}
    summary["weights"] = {
        "signal_mean": 1 + 0.25 * (1 - noise),
        "noise_mean": noise,
        "prompt_frac": 0.55,
        "by_noise_kind": by_kind,
    }
    write_json(folder / "summary.json", summary)
    write_json(folder / "examples.json", [_example(kind, arm, rng) for kind in ("", *KINDS)])


def _cost(stage: str, steps: int, num_parameters: int, rng: np.random.Generator) -> dict[str, Any]:
    wall_s = float(60 + 5 * rng.uniform())
    cost = {"stage": stage, "num_parameters": num_parameters, "steps": steps, "tokens": steps * 1130, "world_size": 2}
    cost |= {"result_step": steps}
    return {**cost, "wall_s": wall_s, "tokens_per_s": steps * 1130 / wall_s, "peak_memory_bytes": 612 * 2**20}


def _stage_summary(stage: str, rng: np.random.Generator) -> dict[str, Any]:
    summary = _cost(stage, 220 if stage == "reference" else 300, 210_000, rng)
    if stage == "critic":
        bins = [
            {"p": 0.05 + 0.1 * i, "y": float(np.clip(0.05 + 0.1 * i + 0.05 * np.sin(3 * i), 0, 1)), "n": 20 + (i - 5) ** 2 * 9}
            for i in range(10)
        ]
        scores = {
            "auc": 0.965,
            "brier": 0.071,
            "ece": 0.034,
            "pairwise_accuracy": 0.94,
            "explained_variance": 0.7,
            "auc_max_reference_nll": 0.941,
        }
        summary["critic"] = {**scores, "calibration": bins}
    return summary


def _example(kind: str, arm: str, rng: np.random.Generator) -> dict[str, Any]:
    prompt = ["Given", " a list", " of", " integers", ", (1)", " keep", " the even", " numbers", ".", "\n"]
    code = [
        "xs",
        " =",
        " list(",
        "map(int",
        ", input()",
        ".split()))",
        "\n",
        "ys",
        " =",
        " [x for",
        " x in xs",
        " if x %",
        " 2 ==",
        " 0]",
        "\n",
    ]
    noise = [] if not kind else ["# subscribe", " to our", " newsletter", "\n"]
    tokens = [*prompt, *code, *noise, "print(", "sum(ys)", ")"]
    is_noise = [False] * (len(prompt) + len(code)) + [True] * len(noise) + [False] * 3
    weights: list[float | None] = [None] * len(prompt)
    for noisy in is_noise[len(prompt) :]:
        if arm in ("rho1", "random"):
            weights.append(float(rng.random() < (0.15 if noisy and arm == "rho1" else 0.65)) / 0.6)
        else:
            weights.append(float(np.clip(np.exp(rng.normal(-1.2 if noisy else 0.1, 0.6)), 0.1, 3.0)))
    return {
        "tokens": tokens,
        "weights": weights,
        "is_noise": is_noise,
        "prompt_len": len(prompt),
        "is_correct": kind == "",
        "noise_kind": kind,
    }
