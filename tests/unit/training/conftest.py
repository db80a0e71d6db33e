import pytest

from tests.tables import make_tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A small table of examples in `data`, and its score columns in `reference` and `value`."""
    folder = tmp_path_factory.mktemp("tables")
    make_tables(folder)
    return folder
