import pytest
import torch

from tests.unit.models.tiny import VOCAB


@pytest.fixture
def ids():
    return torch.randint(2, VOCAB, (3, 12), generator=torch.Generator().manual_seed(1))
