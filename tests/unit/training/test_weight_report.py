"""What the report says of weights, against sums over the table written out in Python."""

import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.distributed.harness import run_on_ranks
from tests.tables import make_tables
from wmtp.config.arms import load_arm
from wmtp.errors import DataError
from wmtp.tokens.data import TokenData
from wmtp.training.weight_report import measure, weight_examples, weight_summary


def weight_of(row, position):
    """Any function of a token: what a weighting might have given it."""
    return (row * 7 + position * 3) % 11 / 5


class Step:
    """A step function whose head 0 gives every token `weight_of` it, as a target."""

    def weights(self, batch, step):
        assert step == 6
        length = batch.input_ids.shape[1]
        return torch.tensor([[[weight_of(row, t + 1)] for t in range(length)] for row in batch.rows_B.tolist()])


def summarise(world, folder):
    return weight_summary(world, Step(), TokenData.open(folder / "data", "train"), 6)


@pytest.mark.parametrize("ranks", [1, 2])
def test_noise_and_signal_weigh_what_their_tokens_weigh_on_average(ranks, tmp_path):
    make_tables(tmp_path)
    found = run_on_ranks(ranks, summarise, tmp_path, tmp_path=tmp_path)
    table = TokenData.open(tmp_path / "data", "train").arrow.to_pylist()
    noise, signal, clean, prompt, tokens = [], [], [], 0, 0
    for row, record in enumerate(table):
        prompt, tokens = prompt + record["prompt_len"], tokens + len(record["input_ids"])
        for t in range(record["prompt_len"], len(record["input_ids"])):
            (noise if record["is_noise"][t] else signal).append((record["noise_kind"], weight_of(row, t)))
            if not record["noise_kind"] and not record["is_noise"][t]:
                clean.append(weight_of(row, t))
    comments = [weight for kind, weight in noise if kind == "comments"]
    for one in found:
        assert one["signal_mean"] == pytest.approx(sum(weight for _, weight in signal) / len(signal))
        assert one["noise_mean"] == pytest.approx(sum(weight for _, weight in noise) / len(noise))
        assert one["prompt_frac"] == pytest.approx(prompt / tokens)
        assert one["by_noise_kind"]["comments"] == pytest.approx(sum(comments) / len(comments))
        assert one["by_noise_kind"]["clean"] == pytest.approx(sum(clean) / len(clean))


def show(world, folder):
    return weight_examples(world, Step(), TokenData.open(folder / "data", "train"), 6, folder / "tokenizer.json")


def test_examples_show_each_kind_and_label_once_with_every_tokens_weight(tmp_path):
    from wmtp.tokens.tokenizer import train_tokenizer

    make_tables(tmp_path)
    train_tokenizer(["some text to learn from"], 300).tokenizer.save(str(tmp_path / "tokenizer.json"))
    one, two = run_on_ranks(2, show, tmp_path, tmp_path=tmp_path)
    assert one == two and len(one) == len({(item["noise_kind"], item["is_correct"]) for item in one}) == 4
    table = TokenData.open(tmp_path / "data", "train").arrow.to_pylist()
    for item in one:
        record, prompt = table[item["row"]], item["prompt_len"]
        expected = [round(weight_of(item["row"], t), 4) for t in range(prompt, len(record["input_ids"]))]
        assert item["weights"][:prompt] == [None] * prompt and item["weights"][prompt:] == pytest.approx(expected, abs=1e-4)
        assert item["is_noise"] == record["is_noise"] and item["is_correct"] == record["is_correct"]


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
