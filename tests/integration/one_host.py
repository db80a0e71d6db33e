"""What a cluster has and a machine alone has not, started on this one by the project's scripts."""

import subprocess
from contextlib import contextmanager

import pytest

from tests.workspaces import PROJECT

CANNOT_START = 3
"""Exit code of a script that says what this machine lacks."""


@contextmanager
def on_one_host(name, folder, port):
    """`scripts/NAME-on-one-host` at work; the test is skipped where it cannot be."""
    script = PROJECT / f"scripts/{name}-on-one-host"
    started = subprocess.run([script, "start", folder, str(port)], capture_output=True, text=True)
    if started.returncode == CANNOT_START:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr + started.stdout
    try:
        yield
    finally:
        subprocess.run([script, "stop", folder], check=True)
