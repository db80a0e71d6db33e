"""Pure tensor functions: the MTP loss, its memory-exact NLL, and what weightings are made of. Imports nothing but types.

The three modules that every stage with a model uses are here; the formulas of single weightings are imported from their own.
"""

from wmtp.objectives.linear_nll import linear_nll
from wmtp.objectives.loss import LossOutput, local_normaliser, mtp_loss, scaled_loss, target_scale
from wmtp.objectives.shift import expand_weights, heads_first, shift_labels

__all__ = [
    "LossOutput",
    "expand_weights",
    "heads_first",
    "linear_nll",
    "local_normaliser",
    "mtp_loss",
    "scaled_loss",
    "shift_labels",
    "target_scale",
]
