"""Pure tensor functions: the MTP loss, its memory-exact NLL, and every arm's weights."""

from wmtp.objectives.linear_nll import linear_nll
from wmtp.objectives.loss import LossOutput, local_normaliser, mtp_loss, scaled_loss, target_scale
from wmtp.objectives.returns import lambda_returns, td_errors
from wmtp.objectives.shift import expand_weights, heads_first, shift_labels
from wmtp.objectives.weighting import ARMS, WeightInputs, compute_weights, guess_weights

__all__ = [
    "ARMS",
    "LossOutput",
    "WeightInputs",
    "compute_weights",
    "expand_weights",
    "guess_weights",
    "heads_first",
    "lambda_returns",
    "linear_nll",
    "local_normaliser",
    "mtp_loss",
    "scaled_loss",
    "shift_labels",
    "target_scale",
    "td_errors",
]
