"""What every training stage refuses before it trains."""

from types import SimpleNamespace

import pytest
import torch

from tests.tables import make_tables
from wmtp.config.training import OptimConfig, TrainConfig
from wmtp.distributed import World
from wmtp.errors import ConfigError
from wmtp.stages.fitting import fit
from wmtp.tokens.data import TokenData


@pytest.mark.parametrize(
    ("size", "ranks", "message"),
    [
        (64, 1, "^tune_reference.train.global_batch_size=64 is more than the 48 examples there are"),
        (9, 2, "^tune_reference.train.global_batch_size=9 cannot be divided by 1 micro-batches x 2 ranks"),
    ],
)
def test_a_batch_that_the_data_or_the_ranks_cannot_serve_is_refused_in_one_line(tmp_path, size, ranks, message):
    data = TokenData.open(make_tables(tmp_path)[0], "train")
    section = SimpleNamespace(train=TrainConfig(global_batch_size=size, micro_batch_size=size), optim=OptimConfig())
    world = World(rank=0, size=ranks, device=torch.device("cpu"), mesh=None)
    nothing = {"model": None, "step_function": None, "validate": None, "objective": "", "seed": 0, "folder": ""}
    with pytest.raises(ConfigError, match=message) as refused:
        fit(SimpleNamespace(stage="tune_wrong"), world, data=data, section=section, **nothing)
    assert "\n" not in str(refused.value)
