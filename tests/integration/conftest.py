import signal

import pytest

from tests.workspaces import Workspace, kill_all


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A workspace in which `wmtp run compare --profile toy` has come to its end once."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job, and then by all that it starts
    made = Workspace(tmp_path_factory.mktemp("workspace"))
    try:
        made.first_output = made.run("wmtp", "run", "compare", "--profile", "toy")
        yield made
    finally:
        kill_all(made.processes())


@pytest.fixture
def fresh(workspace):
    """The same, everything up to date for the toy profile before the test and nothing left running after it."""
    workspace.run("wmtp", "params", "--profile", "toy")
    assert workspace.stale() == []
    yield workspace
    left = workspace.processes()
    kill_all(left)
    assert not left
