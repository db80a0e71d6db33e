"""Prefect flows over the DVC graph."""

import sys
from pathlib import Path

# The `wmtp` that lies beside these flows, whichever clone is installed: see wmtp.orchestration.own_code.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

# pyproject.toml puts Prefect's home at .wmtp/prefect, and Prefect creates the last folder of that path only.
if Path("dvc.yaml").is_file():
    Path(".wmtp/prefect").mkdir(parents=True, exist_ok=True)
