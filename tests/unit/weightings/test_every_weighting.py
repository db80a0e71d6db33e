"""What holds for every weighting there is: its seam, and the invariances that make arms comparable."""

import dataclasses
import re

import pytest
import torch
import yaml

from tests.unit.weightings.inputs import make, make_inputs
from tests.workspaces import PROJECT
from wmtp.config.arms import load_weighting, plain
from wmtp.errors import ConfigError
from wmtp.weightings import kind, names
from wmtp.weightings.base import target_weights

WEIGHTED = [name for name in names() if kind(name).level != "same"]


def columns_of(weighting):
    return [column.name for column in weighting.needs.columns]


def with_statistics(weighting, **options):
    """Inputs with what the weighting needs and has measured."""
    columns = columns_of(weighting)
    whole = make_inputs(columns=columns, batch=16, seed=11)
    measured = weighting.measure([whole])
    return lambda **more: make_inputs(columns=columns, statistics=measured, **options, **more)


def test_every_weighting_has_an_arm_and_a_test_of_its_own():
    arms = [yaml.safe_load(path.read_text())["weighting"]["name"] for path in (PROJECT / "configs/arms").glob("*.yaml")]
    assert set(arms) == set(names())
    assert all((PROJECT / f"tests/unit/weightings/test_{name}.py").exists() for name in names())


@pytest.mark.parametrize("name", names())
def test_the_method_page_has_every_weightings_formula_and_names_its_oracle(name):
    page = (PROJECT / "docs/method.md").read_text()
    formula, oracle = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
    assert re.search(r"\b\d{4}\.\d{5}\b", formula) or name in ("random", "shuffled", "hybrid", "rho1_soft")
    tests = (PROJECT / f"tests/unit/weightings/test_{name}.py").read_text()
    quoted = re.findall(r"`(test_\w+)`", oracle)
    assert quoted and all(f"def {test}(" in tests for test in quoted)


@pytest.mark.parametrize("name", names())
def test_keys_are_frozen_and_survive_yaml(name):
    weighting = load_weighting({"name": name}, "weighting")
    assert weighting.name == name and load_weighting(plain(weighting), "weighting") == weighting
    for field in dataclasses.fields(weighting):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(weighting, field.name, None)
    with pytest.raises(ConfigError, match="nonsense"):
        load_weighting({"name": name, "nonsense": 1}, "weighting")


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_are_finite_non_negative_and_zero_where_ignored(name):
    weighting = make(name)
    inputs = with_statistics(weighting)()
    weights = target_weights(weighting, inputs)
    assert weights.shape == inputs.labels_BTH.shape and torch.isfinite(weights).all() and (weights >= 0).all()
    assert (weights[~inputs.valid_BTH] == 0).all() and weights.sum() > 0 and not weights.requires_grad


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_do_not_depend_on_how_the_batch_is_dealt_out(name):
    """Two ranks, with the gather played back from the whole batch's values in rank order."""
    weighting = make(name)
    inputs = with_statistics(weighting)
    expected = target_weights(weighting, inputs())
    ranks = [torch.tensor([0, 2]), torch.tensor([1, 3])]
    calls = [[], []]
    for rank, rows in enumerate(ranks):
        target_weights(weighting, inputs(rows=rows, gather=lambda x, r=rank: calls[r].append(x) or x))
    for rows in ranks:
        turn = iter(range(10**6))

        def gather(_, turn=turn):
            return torch.cat([calls[0][i := next(turn)], calls[1][i]])

        # the values gathered must be the same in the second pass, so this plays back exactly what ranks exchange
        weights = target_weights(weighting, inputs(rows=rows, gather=gather))
        torch.testing.assert_close(weights, expected[rows])


@pytest.mark.parametrize("name", WEIGHTED)
def test_an_nll_that_is_nan_ends_in_no_other_error(name):
    """Such a step is ended by the loop, with its checkpoint, and not by an exception on one rank."""
    weighting = make(name)
    inputs = with_statistics(weighting)()
    broken = dataclasses.replace(inputs, nll_BTH=inputs.nll_BTH * torch.nan, entropy_BTH=inputs.entropy_BTH * torch.nan)
    assert target_weights(weighting, broken).shape == inputs.labels_BTH.shape


@pytest.mark.parametrize("name", WEIGHTED)
def test_alignment_makes_a_difference_just_where_it_is_allowed(name):
    weighting = make(name)
    inputs = with_statistics(weighting)
    target, source = (target_weights(weighting, inputs(alignment=one)) for one in ("target", "source"))
    assert torch.equal(target, source) != weighting.has_alignment


def test_only_a_plain_selection_by_the_loss_is_guessed():
    inputs, counts_H = make_inputs(), torch.ones(3)
    from wmtp.weightings.base import LossShape

    guessed = {n for n in names() if make(n).guess(inputs, counts_H, LossShape("head_mean", "mean_one")) is not None}
    assert guessed == {"rho1"}


def test_an_unknown_weighting_is_told_the_nearest():
    with pytest.raises(ConfigError, match="did you mean rho1"):
        kind("rho2")
