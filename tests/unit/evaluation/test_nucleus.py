"""Sampling against the definition of the nucleus, and random numbers that belong to a row."""

import numpy as np
import pytest
import torch

from wmtp.evaluation.nucleus import row_key, sample_top_p, uniforms
from wmtp.evaluation.results import GREEDY


def exact_nucleus(logits, temperature, top_p):
    """Holtzman et al., literally: sort, cut after the first token that reaches top_p, renormalise."""
    probabilities = np.exp(logits / temperature - np.max(logits / temperature))
    probabilities /= probabilities.sum()
    kept, mass = np.zeros_like(probabilities), 0.0
    for token in np.argsort(-probabilities, kind="stable"):
        kept[token], mass = probabilities[token], mass + probabilities[token]
        if mass >= top_p:
            break
    return kept / kept.sum()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.5, 0.5), (0.2, 0.95)])
def test_sampling_follows_the_nucleus_distribution(temperature, top_p):
    logits = np.random.default_rng(0).normal(0, 1.5, 12)
    expected = exact_nucleus(logits, temperature, top_p)
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    chosen = sample_top_p(torch.tensor(logits).repeat(len(grid), 1), grid, temperature, top_p)
    shares = np.bincount(chosen.numpy(), minlength=12) / len(grid)
    assert np.abs(shares - expected).max() < 2e-4


def test_random_numbers_are_uniform_and_belong_to_seed_task_sample_and_position():
    keys = np.array([row_key(0, f"t{i}", s) for i in range(200) for s in range(5)], dtype=np.uint64)
    numbers = np.stack([uniforms(keys, position) for position in range(50)])
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((counts - 2500) ** 2 / 2500).sum() < 45
    assert abs(np.corrcoef(numbers[0], numbers[1])[0, 1]) < 0.12
    assert len(np.unique(numbers)) == numbers.size
    assert len({row_key(s, t, n) for s in (0, 1) for t in ("a", "b") for n in (GREEDY, 0, 1)}) == 12


def test_a_number_is_splitmix64_of_the_rows_key_and_place():
    """Vigna's generator, in Python's integers: output number `place` of the state `key`, its upper 53 bits."""

    def splitmix64(state):
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return state ^ (state >> 31)

    keys = [row_key(7, "task", sample) for sample in range(5)] + [0, 2**64 - 1]
    for place in (0, 1, 1000):
        expected = [(splitmix64((key + (place + 1) * 0x9E3779B97F4A7C15) % 2**64) >> 11) / 2**53 for key in keys]
        assert uniforms(np.array(keys, dtype=np.uint64), place).tolist() == expected
    places = np.arange(len(keys))
    single = [uniforms(np.array([key], dtype=np.uint64), place).item() for key, place in zip(keys, places, strict=True)]
    assert uniforms(np.array(keys, dtype=np.uint64), places).tolist() == single


def test_the_most_probable_token_alone_is_the_nucleus_where_it_reaches_top_p():
    logits = torch.tensor([[0.0, 5.0, 1.0], [2.0, 1.9, -9.0]])
    for number in (0.0, 0.5, 1 - 2**-53):
        chosen = sample_top_p(logits, torch.full((2,), number, dtype=torch.float64), 1.0, 0.9)
        assert chosen[0] == 1 and chosen[1] in (0, 1)
    assert sample_top_p(logits, torch.zeros(2, dtype=torch.float64), 1e-4, 0.999).tolist() == [1, 0], (
        "a low temperature is greedy"
    )


def test_every_number_gives_a_token_of_the_nucleus_and_the_ends_give_its_ends():
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
    ends = [sample_top_p(logits, torch.tensor([number], dtype=torch.float64), 1.0, 0.8).item() for number in (0.0, 1 - 2**-53)]
    assert ends == [1, 2], "0.4, 0.3 and 0.2 are the smallest set of 0.8 and more"


def test_a_row_does_not_depend_on_the_others():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(40, 17, generator=generator)
    numbers = torch.rand(40, generator=generator, dtype=torch.float64)
    together = sample_top_p(logits, numbers, 0.8, 0.9)
    alone = [sample_top_p(logits[i : i + 1], numbers[i : i + 1], 0.8, 0.9).item() for i in range(40)]
    assert together.tolist() == alone and len(set(alone)) > 5
    assert not torch.equal(together, logits.argmax(-1))


def sorted_whole(logits_RV, uniforms_R, temperature, top_p):
    """The same by sorting the whole vocabulary."""
    sorted_RV, tokens_RV = (logits_RV.double() / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    chosen = []
    for probabilities, tokens, uniform in zip(sorted_RV, tokens_RV, uniforms_R, strict=True):
        cumulative = probabilities.cumsum(0)
        kept = int((cumulative - probabilities < top_p).sum())
        place = int((cumulative <= uniform * cumulative[kept - 1]).sum())
        chosen.append(int(tokens[min(place, kept - 1)]))
    return chosen


@pytest.mark.parametrize("sharpness", [0.0, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("top_p", [0.1, 0.95, 1.0])
@pytest.mark.parametrize("size", [200, 5000])
def test_tokens_are_those_of_a_sort_of_the_whole_vocabulary_however_large_the_nucleus_and_with_ties(sharpness, top_p, size):
    generator = torch.Generator().manual_seed(size)
    logits_RV = (torch.randn(40, size, generator=generator) * sharpness * 2).bfloat16()  # many ties
    uniforms_R = torch.rand(40, generator=generator, dtype=torch.float64)
    found = sample_top_p(logits_RV, uniforms_R, 0.8, top_p)
    assert found.tolist() == sorted_whole(logits_RV, uniforms_R, 0.8, top_p)


def test_rows_of_narrow_and_of_wide_nuclei_go_together_and_impossible_tokens_are_never_drawn():
    generator = torch.Generator().manual_seed(3)
    logits_RV = torch.randn(30, 4000, generator=generator).double() * torch.tensor([0.2, 2.0, 9.0]).repeat(10)[:, None]
    logits_RV[:, ::3] = -torch.inf
    uniforms_R = torch.rand(30, generator=generator, dtype=torch.float64)
    for top_p in (0.6, 0.99, 1.0):
        found = sample_top_p(logits_RV, uniforms_R, 1.2, top_p)
        assert found.tolist() == sorted_whole(logits_RV, uniforms_R, 1.2, top_p)
        assert bool((found % 3 != 0).all())
    last = sample_top_p(logits_RV, torch.full((30,), 1 - 2**-53, dtype=torch.float64), 1.2, 1.0)
    assert logits_RV.gather(1, last[:, None]).isfinite().all()
