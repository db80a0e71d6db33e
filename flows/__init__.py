"""Prefect flows over the DVC graph."""

import sys
from pathlib import Path

# The `wmtp` that lies beside these flows, whichever clone is installed: see wmtp.orchestration.own_code.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

HOME = Path(".wmtp/prefect")
"""As pyproject.toml says. Prefect, when it is imported, creates the last folder of that path only and warns if it cannot: who
starts it makes both, and so does the flow, which Prefect's own commands load."""
