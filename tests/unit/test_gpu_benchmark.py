"""The GPU benchmark, at a size of nothing on a CPU: every variant runs, and the table shows what was found."""

import math

import pytest

from benchmarks.gpu import FOUR_HEADS, ONE_HEAD, Size, measure, table

SIZE = Size({"hidden_size": 16, "intermediate_size": 24, "n_layers": 5, "n_heads": 2, "n_kv_heads": 2}, 12, 64, 2)


@pytest.mark.parametrize("variant", [*ONE_HEAD, *FOUR_HEADS])
def test_every_variant_runs_until_the_largest_batch(world, variant):
    rows = list(measure(world, variant, SIZE, compiled=False, deadline=math.inf))
    assert [row["batch"] for row in rows] == [1, 2]
    assert all(row["tokens_per_s"] > 0 and row["flops_per_s"] > row["tokens_per_s"] for row in rows)


def test_nothing_is_begun_when_the_time_is_over(world):
    assert list(measure(world, "bare", SIZE, compiled=False, deadline=-math.inf)) == []


def test_the_table_has_the_largest_batches_of_all_and_of_each():
    def rows(*batches):
        return [{"batch": b, "tokens_per_s": 1000.0 * b, "flops_per_s": 2e14, "peak_bytes": b * 2.0**30} for b in batches]

    found = {"ntp": rows(1, 2, 4, 8), "titan": rows(1, 2), "bare": [], "baseline": rows(1)}
    assert table(found, 1e15)[2:] == [
        "| ntp | 1 | 2 | 2,000 | 20.0% | 2.0 |",
        "| ntp | 1 | 8 | 8,000 | 20.0% | 8.0 |",
        "| titan | 1 | 2 | 2,000 | 20.0% | 2.0 |",
        "| bare | 1 | did not run | | | |",
        "| baseline | 4 | 1 | 1,000 | 20.0% | 1.0 |",
        "| rho1 | 4 | did not run | | | |",
        "| materialised | 4 | did not run | | | |",
    ]
    assert table({"ntp": rows(1)}, None)[2] == "| ntp | 1 | 1 | 1,000 | - | 1.0 |"
