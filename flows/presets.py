"""What `wmtp run NAME` runs; the deployments of the same names in prefect.yaml have the same parameters (a test compares)."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "full-baseline": {"arms": ["baseline"]},
    "full-rho1": {"arms": ["baseline", "rho1"]},
    "full-verifiable": {"arms": ["baseline", "verifiable"]},
    "compare": {},
    "stage": {"only": "report", "force": ["only"]},
}
