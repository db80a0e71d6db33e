"""A real process group of one, and a small table of examples."""

import pytest

from tests.tables import make_tables
from wmtp.distributed import join_world


@pytest.fixture(scope="module")
def world():
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in alone.items():
            patch.setenv(name, value)
        with join_world("cpu", seed=0) as world:
            yield world


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """`data`, and the score columns `reference` and `value`."""
    folder = tmp_path_factory.mktemp("tables")
    make_tables(folder)
    return folder
