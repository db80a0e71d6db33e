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
def after_a_flow(tmp_path_factory, server):
    made = LightWorkspace(tmp_path_factory.mktemp("after-a-flow"), server)
    assert "stages: 6 ran" in made.flow()
    return made


@pytest.fixture
def ended(tmp_path, after_a_flow):
    """A light workspace in which the flow has come to its end."""
    made = after_a_flow.copy(tmp_path / "ended")
    yield made
    kill_all(made.processes())


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, request):
    """A workspace in which `wmtp run compare --profile toy` has come to its end once, without a server of Prefect's."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job, and then by all that it starts
    made = Workspace(tmp_path_factory.mktemp("workspace"))
    try:
        made.first_output = made.run("wmtp", "run", "compare", "--profile", "toy")
        made.toy = (made.root / "params.yaml").read_text()
        made.prefect_url = request.getfixturevalue("server")
        yield made
    finally:
        kill_all(made.processes())


@pytest.fixture
def fresh(workspace):
    """The same, everything up to date for the toy profile before the test and nothing left running after it."""
    (workspace.root / "params.yaml").write_text(workspace.toy)
    if workspace.stale():  # whatever the test before has left
        workspace.run("dvc", "repro")
    yield workspace
    left = workspace.wait_until_gone(60)
    kill_all(workspace.processes())
    assert left == []
