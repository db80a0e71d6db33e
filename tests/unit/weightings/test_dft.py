"""The policy's own probability, detached."""

import math

import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.weightings.base import target_weights


def test_a_targets_weight_is_its_probability():
    inputs = make_inputs()
    weights = target_weights(make("dft"), inputs)
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        assert math.isclose(weights[b, t, h].item(), math.exp(-inputs.nll_BTH[b, t, h].item()), rel_tol=1e-6)


def test_the_weighted_losss_gradient_is_that_of_the_probability_itself():
    """The paper's point: sg(p) * -log p has the gradient of -p."""
    logits = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    nll = -logits.log_softmax(-1)[3]
    weight = make("dft").weights(make_inputs(nll_BTH=nll.detach().view(1, 1, 1)))
    (with_weight,) = torch.autograd.grad((weight * nll).sum(), logits, retain_graph=True)
    (of_probability,) = torch.autograd.grad(-logits.softmax(-1)[3], logits)
    torch.testing.assert_close(with_weight, of_probability)
