"""Prefect flows over the DVC graph."""

import contextlib
import sys
from pathlib import Path

# The `wmtp` that lies beside these flows, whichever clone is installed: see wmtp.orchestration.own_code.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

# pyproject.toml puts Prefect's home at .wmtp/prefect, and Prefect creates the last folder of that path only. Where it cannot be
# made, those who need it say so (`wmtp run`, `make serve`); a dry run does not.
HOME = Path(".wmtp/prefect")
if Path("dvc.yaml").is_file():
    with contextlib.suppress(OSError):
        HOME.mkdir(parents=True, exist_ok=True)
