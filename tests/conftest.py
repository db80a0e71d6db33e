"""One thread per process, as the launcher gives a stage: two test processes on two cores must not fight."""

import os

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["DVC_NO_ANALYTICS"] = "1"  # repositories that tests make do not phone home

settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")  # how long an example takes says how busy the machine is, and nothing of the code


SHARE_A_WORKSPACE = (
    "test_experiments",
    "test_files_page",
    "test_library",
    "test_pipeline",
    "test_postgres",
    "test_recovery",
    "test_slurm",
)
"""Files of tests/integration whose tests take turns in one workspace, which takes two minutes to make: every process that
runs one of them makes one."""


def unit_of_work(nodeid):
    """Tests that one process must run: a file's, or those of the files that share the workspace."""
    path = nodeid.partition("::")[0]
    return "workspace" if path.rpartition("/")[2].removesuffix(".py") in SHARE_A_WORKSPACE else path


def pytest_collection_modifyitems(items):
    """The longest first, so that two processes end at the same time."""
    items.sort(key=lambda item: (unit_of_work(item.nodeid) != "workspace", "/integration/" not in item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return unit_of_work(nodeid)

    return Scheduler(config, log)
