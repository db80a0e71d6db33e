"""A step's three regimes leave the gradients of the definition: loops over targets in float64, plain autograd.

The oracle is written from the formulas alone. It sees every row by itself, without padding, and shares with what it
checks the model's logits.
"""

import itertools
import math
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from tests.tables import VOCAB
from tests.unit.waits import waits
from wmtp.config.arms import load_arm
from wmtp.config.training import HeadNumbers, HeadsConfig, ModelConfig, at_step
from wmtp.models.build import build_model
from wmtp.models.token_order import add_token_order
from wmtp.tokens.data import TokenData
from wmtp.training.steps import UNIFORM_ARM, LanguageModelStep
from wmtp.training.weight_report import measure
from wmtp.types import IGNORE_INDEX

HEADS, NUM_ROWS = 3, 24
STEP, NUM_STEPS, SEED = 3, 10, 5
GAMMA, BETA, KEEP, TEMPERATURE = 0.9, 0.7, 0.6, 0.5


@pytest.fixture(scope="module")
def data(tables):
    columns = {"reference_nll": tables / "reference", "value": tables / "value"}
    return TokenData.open(tables / "data", "train", columns=columns)


@pytest.fixture(scope="module")
def rows(data):
    """Examples that start with different tokens: no two targets have one score, and no tie needs to be broken."""
    _, first = np.unique(data.tokens[data.offsets[:-1]], return_index=True)
    return sorted(first.tolist())[:NUM_ROWS]


def make_model():
    """In float64, away from its start, where every head says the same."""
    config = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=4, n_heads=2, n_kv_heads=2, n_future=HEADS)
    model = build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


# --------------------------------------------------------------------------------------- the oracle


@dataclass
class Targets:
    """Of a global batch: (example, position, head) -> nll with its gradient, entropy, and the token it is of."""

    nll: dict = field(default_factory=dict)
    entropy: dict = field(default_factory=dict)
    token: dict = field(default_factory=dict)


def targets_of(model, data, rows):
    found = Targets()
    for i, row in enumerate(rows):
        ids = torch.tensor(data.tokens[data.offsets[row] : data.offsets[row + 1]].astype(np.int64))
        for h, logits in enumerate(model.head_logits(ids[None])):
            logprobs = logits[0].log_softmax(-1)
            for t in range(len(ids) - 1 - h):
                if t + 1 + h >= data.prompt_lens[row]:
                    found.nll[i, t, h] = -logprobs[t, ids[t + 1 + h]]
                    found.entropy[i, t, h] = -(logprobs[t].exp() * logprobs[t]).sum().item()
                    found.token[i, t, h] = t + 1 + h
    return found


def column(data, name, row):
    return data.columns[name][data.offsets[row] : data.offsets[row + 1]].astype(float).tolist()


def surprises(data, rows, targets):
    """nll minus the reference's of the same token."""
    reference = [column(data, "reference_nll", row) for row in rows]
    return {place: nll.item() - reference[place[0]][targets.token[place]] for place, nll in targets.nll.items()}


def top(scores):
    """1 for the ceil(KEEP N) highest of each head, 0 for the others."""
    weights = dict.fromkeys(scores, 0.0)
    for h in range(HEADS):
        mine = sorted((place for place in scores if place[2] == h), key=lambda place: -scores[place])
        weights |= dict.fromkeys(mine[: math.ceil(KEEP * len(mine) - 1e-9)], 1.0)
    return weights


def td_errors(data, row):
    """token -> gamma V(s_t) - V(s_{t-1}), and R - V(s_{T-1}) for the last token."""
    value, prompt = column(data, "value", row), int(data.prompt_lens[row])
    errors = {t: GAMMA * value[t] - (value[t - 1] if t else 0.5) for t in range(prompt, len(value))}
    errors[len(value) - 1] = float(data.is_correct[row]) - value[len(value) - 2]
    return errors


def uniform(data, rows, targets, alignment):
    return dict.fromkeys(targets.nll, 1.0)


def verifiable(data, rows, targets, alignment):
    everywhere = [error for row in range(48) for error in td_errors(data, row).values()]
    mean = sum(everywhere) / len(everywhere)
    std = math.sqrt(sum((error - mean) ** 2 for error in everywhere) / len(everywhere))
    errors = [td_errors(data, row) for row in rows]

    def weight(i, token):
        return min(3.0, max(0.1, math.exp((errors[i].get(token, 0.0) - mean) / std / BETA)))

    return {place: weight(place[0], targets.token[place] if alignment == "target" else place[1]) for place in targets.nll}


def rho1(data, rows, targets, alignment):
    return top(surprises(data, rows, targets))


def rho1_soft(data, rows, targets, alignment):
    excess, weights = surprises(data, rows, targets), {}
    for h in range(HEADS):
        exps = {place: math.exp(value / TEMPERATURE) for place, value in excess.items() if place[2] == h}
        weights |= {place: min(5.0, len(exps) * value / sum(exps.values())) for place, value in exps.items()}
    return weights


def entropy(data, rows, targets, alignment):
    return top(targets.entropy)


def hybrid(data, rows, targets, alignment):
    kept, weights = rho1(data, rows, targets, alignment), verifiable(data, rows, targets, alignment)
    return {place: kept[place] * weights[place] for place in kept}


def loss_of(nll, weights, reduction, normalise):
    """(the loss, the weights as it sees them)."""
    groups = {}
    for place in nll:
        groups.setdefault(place[2] if reduction == "head_mean" else place[:2], []).append(place)
    if reduction == "head_mean":
        losses, seen = [], {}
        for mine in groups.values():
            total = sum(weights[p] for p in mine) if normalise == "mean_one" else len(mine)
            losses.append(sum(weights[p] * nll[p] for p in mine) / total)
            seen |= {p: weights[p] * len(mine) / total for p in mine}
        return sum(losses) / len(losses), seen
    total = len(groups)
    if normalise == "mean_one":
        total = sum(sum(weights[p] for p in mine) / len(mine) for mine in groups.values())
    loss = sum(sum(weights[p] * nll[p] for p in mine) / len(mine) for mine in groups.values()) / total
    return loss, {p: weights[p] * len(groups) / total for p in nll}


# --------------------------------------------------------------------------------------- the step

TD = {"gamma": GAMMA, "beta": BETA}
CASES = {
    "uniform": (uniform, {}, {}, "known"),
    "uniform by position": (uniform, {}, {"reduction": "position_mean"}, "known"),
    "verifiable": (verifiable, TD, {}, "known"),
    "verifiable at its source": (verifiable, TD, {"alignment": "source"}, "known"),
    "verifiable by position, raw": (verifiable, TD, {"reduction": "position_mean", "normalise": "none"}, "known"),
    "rho1": (rho1, {"keep_frac": KEEP}, {}, "guessed"),
    "rho1 by position": (rho1, {"keep_frac": KEEP}, {"reduction": "position_mean"}, "guessed"),
    "rho1 raw": (rho1, {"keep_frac": KEEP}, {"normalise": "none"}, "guessed"),
    "rho1_soft": (rho1_soft, {"temperature": TEMPERATURE}, {}, "policy"),
    "entropy": (entropy, {"keep_frac": KEEP}, {}, "policy"),
    "hybrid": (hybrid, TD | {"keep_frac": KEEP}, {"alignment": "source"}, "policy"),
}


def make_step(world, model, data, case):
    weights, keys, options, _ = CASES[case]
    arm = load_arm({"weighting": {"name": weights.__name__, **keys}, **options}, "arm")
    statistics = measure(arm, HEADS, data, seed=SEED, num_steps=NUM_STEPS)
    return LanguageModelStep(world, model, arm, HEADS, num_steps=NUM_STEPS, seed=SEED, statistics=statistics)


def make_batches(data, rows, num_micro):
    """Micro-batches of different sizes and widths."""
    bounds = [0, NUM_ROWS] if num_micro == 1 else [0, 10, 17, NUM_ROWS]
    return [data.collate(rows[a:b], range(a, b)) for a, b in itertools.pairwise(bounds)]


class Watched(nn.Module):
    """Notes of every forward whether its gradient is recorded, what it is told, and how many targets it has."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, **given):
        told = "scale" if given.get("scale_BTH") is not None else "guess" if given.get("guess") is not None else ""
        self.seen.append((torch.is_grad_enabled(), told, int((given["labels_BTH"] != IGNORE_INDEX).sum())))
        return self.model(**given)


@pytest.mark.parametrize("num_micro", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_gradients_and_loss_are_those_of_the_definition(world, data, rows, case, num_micro):
    model, oracle = make_model(), make_model()
    weighting, _, options, _ = CASES[case]
    metrics = make_step(world, model, data, case)(make_batches(data, rows, num_micro), STEP)
    targets = targets_of(oracle, data, rows)
    weights = weighting(data, rows, targets, options.get("alignment", "target"))
    loss, seen = loss_of(targets.nll, weights, options.get("reduction", "head_mean"), options.get("normalise", "mean_one"))
    loss.backward()
    for (name, ours), theirs in zip(model.named_parameters(), oracle.parameters(), strict=True):
        size = theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=2e-6, atol=1e-6 * size, msg=lambda text, n=name: f"{n}: {text}")
    found = {name: (a / b).item() for name, (a, b) in metrics.ratios.items()}
    assert found["train/loss"] == pytest.approx(loss.item(), rel=1e-6)
    for h in range(HEADS):
        mine = {place: nll.item() for place, nll in targets.nll.items() if place[2] == h}
        assert found[f"train/nll_head{h}"] == pytest.approx(sum(mine.values()) / len(mine), rel=1e-9)
        assert found[f"weight/selected_head{h}"] == pytest.approx(sum(seen[p] > 0 for p in mine) / len(mine))
    assert metrics.maxima["weight/max"].item() == pytest.approx(max(seen.values()), rel=1e-6)
    assert not any(bool(flag) for flag in metrics.broken.values())


@pytest.mark.parametrize(("case", "expected"), [("uniform", 1 + 4), ("rho1", 1 + 3 + 2 + 4 * HEADS)])
def test_the_host_waits_as_often_as_is_written_for_any_number_of_chunks(world, data, rows, case, expected, monkeypatch):
    kernel = sys.modules["wmtp.objectives.linear_nll"]
    monkeypatch.setattr(kernel, "_has_to_wait", lambda tensor: True)
    monkeypatch.setattr(kernel, "CHUNK_BYTES", {"cpu": 1})
    for chunk_rows in (1000, 16):
        monkeypatch.setattr(kernel, "CHUNK_ROWS", chunk_rows)
        step, batches = make_step(world, make_model(), data, case), make_batches(data, rows, 1)
        with waits() as found:
            step(batches, STEP)
        assert found.total() == expected, found


@pytest.mark.parametrize("num_micro", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_report_is_told_the_weights_of_the_loss(world, data, rows, case, num_micro):
    model = make_model()
    weighting, _, options, _ = CASES[case]
    found = make_step(world, model, data, case).weights(make_batches(data, rows, num_micro), STEP)
    targets = targets_of(model, data, rows)
    weights = weighting(data, rows, targets, options.get("alignment", "target"))
    _, seen = loss_of(targets.nll, weights, options.get("reduction", "head_mean"), options.get("normalise", "mean_one"))
    expected = torch.zeros(found.shape, dtype=found.dtype)
    for place, weight in seen.items():
        expected[place] = weight
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("num_micro", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_each_regime_makes_the_forward_passes_that_it_needs(world, data, rows, case, num_micro):
    model = Watched(make_model())
    batches = make_batches(data, rows, num_micro)
    step = make_step(world, model, data, case)
    metrics = step(batches, STEP)
    counts = [int(metrics.ratios[f"train/nll_head{h}"][1]) for h in range(HEADS)]
    regime = CASES[case][3]
    if regime == "known":
        assert [seen[:2] for seen in model.seen] == [(True, "scale")] * num_micro
    elif num_micro == 1:
        assert [seen[:2] for seen in model.seen] == [(True, "guess" if regime == "guessed" else "")]
    else:
        assert [seen[:2] for seen in model.seen] == [(False, "")] * num_micro + [(True, "scale")] * num_micro
        learnt = sum(int(metrics.ratios[f"weight/selected_head{h}"][0]) for h in range(HEADS))
        assert sum(seen[2] for seen in model.seen[num_micro:]) == learnt, "a target without weight has no second pass"
    assert sum(seen[2] for seen in model.seen[:num_micro]) == sum(counts)


@pytest.mark.parametrize("num_micro", [1, 3])
@pytest.mark.parametrize("case", ["uniform", "rho1", "entropy"])
def test_a_model_that_is_nan_is_noticed_and_raises_nothing(world, data, rows, case, num_micro):
    """The loop ends such a run, on every rank at once."""
    model = make_model()
    with torch.no_grad():
        model.norm.weight[0] = torch.nan
    metrics = make_step(world, model, data, case)(make_batches(data, rows, num_micro), STEP)
    loss, _ = metrics.ratios["train/loss"]
    assert not torch.isfinite(loss)
    if case != "uniform":
        assert bool(metrics.broken["an NLL that the weights are made from is NaN or Inf"])


def test_the_reference_is_tuned_as_the_plain_arm_is(world, data, rows):
    first, second = make_model(), make_model()
    make_step(world, first, data, "uniform")(make_batches(data, rows, 1), STEP)
    LanguageModelStep(world, second, UNIFORM_ARM, HEADS, num_steps=NUM_STEPS)(make_batches(data, rows, 1), STEP)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_batchs_own_counts_are_reported(world, data, rows):
    batches = make_batches(data, rows, 3)
    metrics = make_step(world, make_model(), data, "uniform")(batches, STEP)
    tokens, correct = sum(len(data.tokens[data.offsets[r] : data.offsets[r + 1]]) for r in rows), data.is_correct[rows].sum()
    above, below = metrics.ratios["data/valid_token_ratio"]
    assert (above.item(), below.item()) == (tokens, sum(batch.input_ids.numel() for batch in batches))
    above, below = metrics.ratios["data/correct_frac"]
    assert (above.item(), below.item()) == (correct, len(rows))


# --------------------------------------------------------------------------------------- what further heads count for


HEAD_WEIGHTS = [1.0, 0.25, 0.5]


@pytest.mark.parametrize(("name", "num_micro"), [("uniform", 2), ("rho1", 1), ("rho1", 3)])
def test_each_heads_part_of_the_loss_is_scaled_by_its_own_number(world, data, rows, name, num_micro):
    """The mean over heads of number x mean weighted NLL, by hand, at a step in the middle of a ramp."""
    ramp = HeadNumbers(final=[1.0, 0.5, 0.0], start=[1.0, 0.0, 1.0], ramp_steps=6)
    assert [at_step(ramp, step) for step in (STEP, 0, 6, 99)] == [HEAD_WEIGHTS, ramp.start, ramp.final, ramp.final]
    arm = load_arm({"weighting": {"name": name}}, name)
    model = make_model()
    targets = targets_of(model, data, rows)
    chosen = dict.fromkeys(targets.nll, 1.0)
    if name == "rho1":
        scores = surprises(data, rows, targets)
        for h in range(HEADS):
            places = sorted((p for p in scores if p[2] == h), key=lambda p: -scores[p])
            chosen |= {p: float(i < math.ceil(0.6 * len(places))) for i, p in enumerate(places)}
    total = 0.0
    for h in range(HEADS):
        of_head = {p: w for p, w in chosen.items() if p[2] == h}
        total = total + HEAD_WEIGHTS[h] * sum(w * targets.nll[p] for p, w in of_head.items()) / sum(of_head.values()) / HEADS
    total.backward()
    due = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    heads = HeadsConfig(loss_weights=ramp)
    step = LanguageModelStep(world, model, arm, HEADS, num_steps=NUM_STEPS, seed=SEED, heads=heads)
    metrics = step(make_batches(data, rows, num_micro), STEP)
    above, below = metrics.ratios["train/loss"]
    torch.testing.assert_close(above / below, total.detach(), rtol=1e-6, atol=0)
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.grad, due[n], rtol=1e-5, atol=1e-6, msg=n)


# --------------------------------------------------------------------------------------- the order of what is to come


WINDOW, AMOUNT = 4, 0.7


def order_losses(model, data, rows):
    """(example, position) -> the listwise loss of its ranking, over the whole vocabulary's scores."""
    found = {}
    for i, row in enumerate(rows):
        ids = torch.tensor(data.tokens[data.offsets[row] : data.offsets[row + 1]].astype(np.int64))
        hidden = model.head_hidden(ids[None], num_heads=1)[0][0]
        logprobs = (hidden @ model.token_order.lm_head.weight.T).log_softmax(-1)
        for t in range(int(data.prompt_lens[row]) - 1, len(ids) - 1):
            scores = torch.full((VOCAB,), -math.inf, dtype=torch.float64)
            for d in range(min(WINDOW, len(ids) - 1 - t), 0, -1):
                scores[ids[t + d]] = WINDOW - d
            shares = scores.softmax(-1)
            found[i, t] = -(shares * logprobs[t]).sum()
    return found


@pytest.mark.parametrize("num_micro", [1, 3])
@pytest.mark.parametrize("case", ["uniform", "verifiable by position, raw", "rho1", "rho1 by position", "entropy"])
def test_the_order_loss_weighs_what_the_next_token_does(world, data, rows, case, num_micro):
    """Added to the loss: the arm's number x the mean over positions of weight x listwise loss, as if head 0 were alone."""
    weighting, keys, options, _ = CASES[case]
    tree = {"weighting": {"name": weighting.__name__, **keys}, **options}
    arm = load_arm({**tree, "token_order": AMOUNT, "token_order_window": WINDOW}, "arm")
    model, oracle = make_model(), make_model()
    generator = torch.Generator().manual_seed(2)
    for one in (model, oracle):
        add_token_order(one)
        with torch.no_grad():
            one.token_order.lm_head.weight.copy_(torch.randn(VOCAB, 16, generator=generator.manual_seed(2)))
    statistics = measure(arm, HEADS, data, seed=SEED, num_steps=NUM_STEPS)
    step = LanguageModelStep(world, model, arm, HEADS, num_steps=NUM_STEPS, seed=SEED, statistics=statistics)
    metrics = step(make_batches(data, rows, num_micro), STEP)
    targets = targets_of(oracle, data, rows)
    weights = weighting(data, rows, targets, options.get("alignment", "target"))
    shape = (options.get("reduction", "head_mean"), options.get("normalise", "mean_one"))
    loss, _ = loss_of(targets.nll, weights, *shape)
    order = {(*place, 0): value for place, value in order_losses(oracle, data, rows).items()}
    assert order.keys() == {place for place in targets.nll if place[2] == 0}
    added, _ = loss_of(order, weights, *shape)
    (loss + AMOUNT * added).backward()
    for (name, ours), theirs in zip(model.named_parameters(), oracle.parameters(), strict=True):
        size = theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=2e-6, atol=1e-6 * size, msg=lambda text, n=name: f"{n}: {text}")
    found = {name: (a / b).item() for name, (a, b) in metrics.ratios.items()}
    assert found["train/loss"] == pytest.approx((loss + AMOUNT * added).item(), rel=1e-6)
    assert found["train/token_order"] == pytest.approx(sum(v.item() for v in order.values()) / len(order), rel=1e-6)
