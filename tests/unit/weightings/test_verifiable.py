"""TD weights token by token, against the formulas written out."""

import math
import statistics

import pytest

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


def errors_of(inputs, b):
    """{t: TD error} of row b's response tokens."""
    value, reward = inputs.columns["value"][b].tolist(), inputs.is_correct_B[b].item()
    prompt, length = int(inputs.prompt_lens_B[b]), int(inputs.lengths_B[b])
    return {t: (reward if t == length - 1 else value[t]) - value[t - 1] for t in range(prompt, length)}


def expected_weights(inputs, measured):
    def weight(error):
        return min(3.0, max(0.1, math.exp((error - measured.mean) / measured.std / 0.9)))

    return [{t: weight(error) for t, error in errors_of(inputs, b).items()} for b in range(4)]


def test_the_whole_datasets_errors_whiten_and_the_weight_is_their_clipped_exponential():
    weighting, inputs = make("verifiable"), make_inputs()
    measured = weighting.measure([make_inputs(rows=[0, 1]), make_inputs(rows=[2, 3])])
    errors = [error for b in range(4) for error in errors_of(inputs, b).values()]
    assert measured.mean == pytest.approx(statistics.fmean(errors)) and measured.std == pytest.approx(statistics.pstdev(errors))
    weights = target_weights(weighting, make_inputs(statistics=measured))
    for b, by_token in enumerate(expected_weights(inputs, measured)):
        for h in range(3):
            for t, weight in by_token.items():
                if t - 1 - h >= 0:
                    assert weights[b, t - 1 - h, h].item() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("bad", [{"beta": 0.0}, {"clip_min": 4.0}, {"gamma": 0.0}, {"initial_value": "zero"}])
def test_bad_keys_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        make("verifiable", **bad)
