"""Prefect's and MLflow's records in a real PostgreSQL."""

import shutil
import tempfile
from pathlib import Path

import psycopg2
import pytest

from tests.integration.light import LightWorkspace, prefect_server
from tests.integration.one_host import on_one_host
from tests.workspaces import free_port


@pytest.fixture(scope="module")
def postgres():
    """`wmtp@127.0.0.1:port`. Its folder is not pytest's: another user must reach it."""
    folder = Path(tempfile.mkdtemp(prefix="wmtp-postgres-"))
    folder.chmod(0o755)
    port = free_port()
    try:
        with on_one_host("postgres", folder, port):
            yield f"wmtp@127.0.0.1:{port}"
    finally:
        shutil.rmtree(folder)


def rows(postgres, database, query):
    with psycopg2.connect(f"postgresql://{postgres}/{database}") as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_flow_runs_are_recorded_in_postgresql(postgres, tmp_path):
    with prefect_server(tmp_path, PREFECT_SERVER_DATABASE_CONNECTION_URL=f"postgresql+asyncpg://{postgres}/prefect") as url:
        assert "stages: 6 ran" in LightWorkspace(tmp_path / "workspace", url).flow()
    assert rows(postgres, "prefect", "select state_type from flow_run") == [("COMPLETED",)]
    states = rows(postgres, "prefect", "select state_type, count(*) from task_run group by state_type")
    assert states == [("COMPLETED", 7)]  # params, and a task for each stage


def test_a_stage_is_recorded_in_postgresql(postgres, fresh):
    fresh.run("wmtp", "stage", "sample", MLFLOW_TRACKING_URI=f"postgresql+psycopg2://{postgres}/mlflow")
    assert rows(postgres, "mlflow", "select name, status from runs") == [("sample", "FINISHED")]
    (count,) = rows(postgres, "mlflow", "select count(*) from metrics")[0]
    assert count > 3
    fresh.run("dvc", "commit", "--force", "sample")
