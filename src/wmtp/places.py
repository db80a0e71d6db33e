"""Where workspaces lie. One that was made for side-by-side runs lies in the clone that it was made from, its home."""

from __future__ import annotations

from pathlib import Path

WORKSPACES = Path(".wmtp") / "workspaces"


def workspace_name(root: Path) -> str | None:
    """`NAME` of `HOME/.wmtp/workspaces/NAME`; None for a clone that is its own home."""
    root = root.resolve()
    return root.name if root.parent.parts[-2:] == WORKSPACES.parts else None


def home(root: Path) -> Path:
    """The clone whose Prefect server and MLflow store a workspace uses: the one it was made from, or itself."""
    root = root.resolve()
    return root if workspace_name(root) is None else root.parents[len(WORKSPACES.parts)]
