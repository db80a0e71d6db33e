"""Pictures of the Prefect UI as it is, taken by headless Chromium (Debian: apt-get install chromium).

    make serve                                   # in one terminal
    prefect deployment run wmtp/full-rho1        # in another; wait until it runs or is done
    python docs/screenshots/take.py

Writes flow_run.png, task_log.png and form.png beside this file, of the newest flow run and of the deployment `full-rho1`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WINDOW = "1500,1150"
RENDER_MS = 20_000


def call(api: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api}/{path}", data=data, headers={"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=10).read())


def take(browser: str, url: str, path: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        shot = [f"--window-size={WINDOW}", f"--virtual-time-budget={RENDER_MS}", f"--screenshot={path}", url]
        subprocess.run([browser, *options, *shot], check=True, capture_output=True, timeout=120)
    print(path)


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:4200"
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium here: apt-get install chromium")
    api = f"{base}/api"
    runs = call(api, "flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    if not runs:
        sys.exit("no flow run yet: prefect deployment run wmtp/full-rho1")
    tasks = call(api, "task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
    trained = [task for task in tasks if task["name"].startswith("train_policy")] or tasks
    deployment = call(api, "deployments/name/wmtp/full-rho1")
    take(browser, f"{base}/runs/flow-run/{runs[0]['id']}", HERE / "flow_run.png")
    take(browser, f"{base}/runs/task-run/{trained[-1]['id']}", HERE / "task_log.png")
    take(browser, f"{base}/deployments/deployment/{deployment['id']}/run", HERE / "form.png")


if __name__ == "__main__":
    main()
