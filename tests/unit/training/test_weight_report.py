"""What the report says of weights, against sums over the table written out in Python."""

import math
import statistics
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.distributed.harness import run_on_ranks
from tests.tables import make_tables
from wmtp.config.arms import load_arm
from wmtp.distributed import join_world
from wmtp.errors import DataError
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.weight_report import measure, weight_report


def weight_of(row, position):
    """Any function of a token: what a weighting might have given it."""
    return (row * 7 + position * 3) % 11 / 5


class Step:
    """A step function whose head 0 gives every token `weight_of` it, as a target, and which remembers what it was shown."""

    def __init__(self, needs_forward=False):
        self.needs = SimpleNamespace(policy=needs_forward)
        self.seen = []

    def weights(self, batches, step):
        assert step == 6
        self.seen += [batch.rows_B.tolist() for batch in batches]
        length = max(batch.input_ids.shape[1] for batch in batches)
        rows = [row for batch in batches for row in batch.rows_B.tolist()]
        return torch.tensor([[[weight_of(row, t + 1)] for t in range(length)] for row in rows])


def loader_of(world, folder, **options):
    data = TokenData.open(folder / "data", "train")
    return TrainLoader(data, seed=0, rank=world.rank, world_size=world.size, **options)


def report(world, folder):
    loader = loader_of(world, folder, batch_size=16, num_micro=2)
    return weight_report(world, Step(), loader, folder / "tokenizer.json", step=6, num_trained=64, say=lambda line: None)


@pytest.fixture
def folder(tmp_path):
    from wmtp.tokens.tokenizer import train_tokenizer

    make_tables(tmp_path)
    train_tokenizer(["some text to learn from"], 300).tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def jackknifed_sem(table):
    """The standard error of the mean weight on noise minus that on signal, by leaving out each of the rows."""

    def difference(rows):
        tokens = [(table[r]["is_noise"][t], weight_of(r, t)) for r in rows for t in range(*span(table[r]))]
        return statistics.fmean(w for is_noise, w in tokens if is_noise) - statistics.fmean(w for n, w in tokens if not n)

    def span(record):
        return record["prompt_len"], len(record["input_ids"])

    found = [difference([r for r in range(len(table)) if r != left_out]) for left_out in range(len(table))]
    return math.sqrt((len(table) - 1) * statistics.pvariance(found))


@pytest.mark.parametrize("ranks", [1, 2])
def test_noise_and_signal_weigh_what_their_tokens_weigh_on_average(ranks, folder):
    found = run_on_ranks(ranks, report, folder, tmp_path=folder)
    table = TokenData.open(folder / "data", "train").arrow.to_pylist()
    noise, signal, prompt, tokens = [], [], 0, 0
    for row, record in enumerate(table):
        prompt, tokens = prompt + record["prompt_len"], tokens + len(record["input_ids"])
        for t in range(record["prompt_len"], len(record["input_ids"])):
            (noise if record["is_noise"][t] else signal).append((record["noise_kind"], weight_of(row, t)))
    comments = [weight for kind, weight in noise if kind == "comments"]
    clean = [weight for kind, weight in signal if not kind]
    for one, _ in found:
        assert one["num_examples"] == len(table) == 48
        assert one["signal_mean"] == pytest.approx(sum(weight for _, weight in signal) / len(signal))
        assert one["noise_mean"] == pytest.approx(sum(weight for _, weight in noise) / len(noise))
        assert one["difference_sem"] == pytest.approx(jackknifed_sem(table), rel=0.03)  # two approximations of the same
        assert one["prompt_frac"] == pytest.approx(prompt / tokens)
        assert one["by_noise_kind"]["comments"] == pytest.approx(sum(comments) / len(comments))
        assert one["by_noise_kind"]["clean"] == pytest.approx(sum(clean) / len(clean))


def test_examples_show_each_kind_and_label_once_with_every_tokens_weight(folder):
    (_, one), (_, two) = run_on_ranks(2, report, folder, tmp_path=folder)
    assert one == two and len(one) == len({(item["noise_kind"], item["is_correct"]) for item in one}) == 4
    assert [item["row"] for item in one] == sorted(item["row"] for item in one)
    table = TokenData.open(folder / "data", "train").arrow.to_pylist()
    for item in one:
        record, prompt = table[item["row"]], item["prompt_len"]
        expected = [round(weight_of(item["row"], t), 4) for t in range(prompt, len(record["input_ids"]))]
        assert item["weights"][:prompt] == [None] * prompt and item["weights"][prompt:] == pytest.approx(expected, abs=1e-4)
        assert item["is_noise"] == record["is_noise"] and item["is_correct"] == record["is_correct"]
        same = [r for r, other in enumerate(table) if all(other[k] == record[k] for k in ("noise_kind", "is_correct"))]
        assert item["row"] == same[0]


@pytest.mark.parametrize(
    ("needs_forward", "num_trained", "num_examples"),
    [(False, 8, 48), (True, 8, 8), (True, 100, 24), (True, 10_000, 48)],
)
def test_the_report_is_bounded_by_what_training_read(folder, needs_forward, num_trained, num_examples):
    step, lines = Step(needs_forward), []
    with join_world("cpu", seed=0) as world:
        loader, tokenizer = loader_of(world, folder, batch_size=8, num_micro=4), folder / "tokenizer.json"
        found, _ = weight_report(world, step, loader, tokenizer, step=6, num_trained=num_trained, say=lines.append)
    assert found["num_examples"] == num_examples and sum(map(len, step.seen)) == num_examples
    assert all(len(rows) == 2 for rows in step.seen)  # the training's own micro-batches
    assert lines[0] == f"weights for the report: 0/{num_examples} examples looked at"


def test_statistics_are_of_all_the_examples_that_are_trained_on(tmp_path):
    """The TD errors' mean and deviation, token by token, over the rows that the arm trains on."""
    data_folder, _, values = make_tables(tmp_path)
    arm = load_arm({"solutions": "correct", "weighting": {"name": "verifiable", "gamma": 0.9}}, "arm")
    data = TokenData.open(data_folder, "train", columns={"value": values}, solutions="correct")
    errors = []
    for row in range(48):
        if data.is_correct[row]:
            value, prompt = (
                data.columns["value"][data.offsets[row] : data.offsets[row + 1]].astype(float),
                data.prompt_lens[row],
            )
            errors += [0.9 * value[t] - value[t - 1] for t in range(prompt, len(value) - 1)] + [1.0 - value[-2]]
    found = measure(arm, 3, data, seed=0, num_steps=10)
    assert (found.mean, found.std) == pytest.approx((statistics.fmean(errors), statistics.pstdev(errors)), rel=1e-5)


def test_a_critic_that_says_nothing_is_refused_with_the_table_and_the_weighting(tmp_path):
    data_folder, *_ = make_tables(tmp_path)
    data = TokenData.open(data_folder, "train", solutions="wrong")
    data = replace(data, columns={"value": np.zeros(len(data.tokens), np.float32)})  # and every reward is 0
    with pytest.raises(DataError, match=r"train\.arrow with weighting verifiable: the TD errors' standard deviation is 0"):
        measure(load_arm({"weighting": {"name": "verifiable"}}, "arm"), 3, data, seed=0, num_steps=10)
    assert measure(load_arm({"weighting": {"name": "rho1"}}, "arm"), 3, data, seed=0, num_steps=10) is None
