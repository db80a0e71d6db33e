"""Prefect flows over the DVC graph."""

from pathlib import Path

# pyproject.toml puts Prefect's home at .wmtp/prefect, and Prefect creates the last folder of that path only.
if Path("dvc.yaml").is_file():
    Path(".wmtp/prefect").mkdir(parents=True, exist_ok=True)
