"""Random targets."""

import torch

from wmtp.types import IGNORE_INDEX


def random_labels(generator, batch, length, vocab, ignored=0.3):
    labels = torch.randint(vocab, (batch, length), generator=generator)
    return labels.masked_fill(torch.rand(batch, length, generator=generator) < ignored, IGNORE_INDEX)
