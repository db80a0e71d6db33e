"""A Prefect server that goes away in the middle of a run."""

import time

from tests.integration.light import LightWorkspace, start_server, wait_until_healthy
from tests.workspaces import PATIENCE_S, free_port, wait_for


def test_a_run_outlives_a_restart_of_its_server(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = start_server(tmp_path, port)
    try:
        wait_until_healthy(server, url)
        light = LightWorkspace(tmp_path / "workspace", f"{url}/api")
        light.slow_down(4)
        run = light.start_flow()
        wait_for(lambda: len(light.trace()) >= 1, PATIENCE_S, "a stage")
        server.kill()
        server.wait()
        time.sleep(6)  # stages end and begin meanwhile
        server = start_server(tmp_path, port)
        wait_until_healthy(server, url)
        output, _ = run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 0, output
        assert "stages: 6 ran" in output
        assert light.stale() == []
        assert light.wait_until_gone() == []
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)
