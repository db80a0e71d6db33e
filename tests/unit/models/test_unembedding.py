"""What a family does to its logits is done to every head's, in logits, NLL and entropy alike."""

import pytest
import torch
from transformers import (
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    GraniteConfig,
    InklingTextConfig,
    LlamaConfig,
)

from wmtp.models.unembedding import LogitRule, TokenOrder, Unembedding
from wmtp.objectives import shift_labels
from wmtp.objectives.token_order import order_targets

RULES = [LogitRule(), LogitRule(divisor=3.0), LogitRule(factor=0.3), LogitRule(cap=1.5), LogitRule(2.0, 0.7, 4.0)]


def test_a_configuration_says_the_rule():
    assert LogitRule.of(LlamaConfig()) == LogitRule()
    assert LogitRule.of(GraniteConfig(logits_scaling=8)) == LogitRule(divisor=8.0)
    assert LogitRule.of(CohereConfig(logit_scale=0.0625)) == LogitRule(factor=0.0625)
    assert LogitRule.of(FalconH1Config(lm_head_multiplier=0.5)).factor == 0.5
    assert LogitRule.of(Gemma2Config(final_logit_softcapping=30.0)) == LogitRule(cap=30.0)
    assert LogitRule.of(Gemma2Config(final_logit_softcapping=None)) == LogitRule()
    assert LogitRule.of(InklingTextConfig(logits_mup_width_multiplier=24.0)).divisor == 24.0


@pytest.mark.parametrize("rule", RULES)
def test_nll_and_entropy_are_those_of_the_logits(rule):
    torch.manual_seed(0)
    unembedding = Unembedding(torch.nn.Linear(6, 11, bias=False), rule)
    torch.nn.init.normal_(unembedding.lm_head.weight)
    hidden, ids = [torch.randn(2, 5, 6) for _ in range(3)], torch.randint(11, (2, 5))
    labels = shift_labels(ids, 3)
    nll = unembedding.nll(hidden, labels)
    for h, states in enumerate(hidden):
        logits = (states @ unembedding.lm_head.weight.T) / rule.divisor * rule.factor
        logits = logits if rule.cap is None else rule.cap * torch.tanh(logits / rule.cap)
        torch.testing.assert_close(unembedding(states), logits)
        due = torch.nn.functional.cross_entropy(logits.mT, labels[..., h], reduction="none")
        torch.testing.assert_close(nll[..., h], due, rtol=1e-5, atol=1e-5)
        p = logits.softmax(-1)
        torch.testing.assert_close(unembedding.entropy(states, rows=3), -(p * p.log()).sum(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", [LogitRule(), LogitRule(cap=1.5)])
def test_no_gradient_is_made_for_an_unembedding_that_rests(rule):
    torch.manual_seed(0)
    unembedding = Unembedding(torch.nn.Linear(6, 11, bias=False), rule)
    hidden, labels = torch.randn(2, 5, 6, requires_grad=True), shift_labels(torch.randint(11, (2, 5)), 1)
    resting, moving = (unembedding.nll([hidden], labels, frozen=frozen) for frozen in (True, False))
    assert torch.equal(resting, moving)
    (theirs,) = torch.autograd.grad(moving.sum(), hidden)
    resting.sum().backward()
    assert torch.equal(hidden.grad, theirs) and unembedding.lm_head.weight.grad is None


@pytest.mark.parametrize("rule", [LogitRule(), LogitRule(divisor=3.0), LogitRule(factor=0.3)])
def test_the_order_of_tokens_is_ranked_by_a_copy_of_the_unembedding_with_its_rule(rule):
    torch.manual_seed(0)
    lm_head = torch.nn.Linear(6, 11, bias=False)
    order = TokenOrder(lm_head, rule)
    assert order.lm_head.weight is not lm_head.weight and torch.equal(order.lm_head.weight, lm_head.weight)
    hidden, targets = torch.randn(2, 5, 6), order_targets(torch.randint(11, (2, 5)), 3)
    logprobs = ((hidden @ lm_head.weight.T) / rule.divisor * rule.factor).log_softmax(-1)
    due = -(targets.shares_BTW * logprobs.gather(-1, targets.tokens_BTW)).sum(-1)
    torch.testing.assert_close(order(hidden, targets)[:, :-1], due[:, :-1])
    assert (order(hidden, targets)[:, -1] == 0).all(), "nothing comes after the end"
