import signal

import pytest

from tests.integration.light import LightWorkspace, prefect_server
from tests.workspaces import Workspace, kill_all


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a Prefect server's API: a run that need not start one is seconds shorter."""
    with prefect_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def light(tmp_path, server):
    made = LightWorkspace(tmp_path, server)
    yield made
    kill_all(made.processes())


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, request):
    """A workspace in which all arms of the toy profile have come to their end once, without a server of Prefect's."""
    yield from made(tmp_path_factory.mktemp("workspace"), request, "compare")


@pytest.fixture(scope="session")
def baseline_workspace(tmp_path_factory, request):
    """The same with the baseline alone, for tests that disturb its training."""
    yield from made(tmp_path_factory.mktemp("baseline"), request, "full-baseline")


def made(root, request, preset):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job, and then by all that it starts
    workspace = Workspace(root)
    try:
        workspace.first_output = workspace.run("wmtp", "run", preset, "--profile", "toy")
        workspace.prefect_url = request.getfixturevalue("server")
        yield workspace
    finally:
        kill_all(workspace.processes())


@pytest.fixture
def fresh(workspace):
    """`workspace`, everything up to date before the test and nothing left running after it."""
    yield from up_to_date(workspace)


@pytest.fixture
def baseline(baseline_workspace):
    """`baseline_workspace`, everything up to date before the test and nothing left running after it."""
    yield from up_to_date(baseline_workspace, "--arms", "baseline")


def up_to_date(workspace, *options):
    workspace.run("wmtp", "params", "--profile", "toy", *options)
    assert workspace.stale() == []
    yield workspace
    left = workspace.processes()
    kill_all(left)
    assert not left
