"""Pictures of the Prefect UI and of a comparison as they are, taken by headless Chromium (Debian: apt-get install chromium).

    make serve                                   # in one terminal
    prefect deployment run wmtp/full-rho1        # in another; wait until it runs or is done
    python docs/screenshots/take.py

Writes flow_run.png, task_log.png and form.png beside this file, of the newest flow run and of the deployment `full-rho1`. For
comparison.png, a page of `wmtp experiments compare` or `wmtp sweep` is given, and no server is needed:

    python docs/screenshots/take.py .wmtp/comparisons/NAME/index.html
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

HERE = Path(__file__).resolve().parent
WINDOW = "1500,1150"
SHEET = 1450
"""Height of a comparison's page, from its beginning, that is shown."""
RENDER_SECONDS = 8.0
"""Real time: pages load their data and fade in."""


def call(api: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api}/{path}", data=data, headers={"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=10).read())


@contextlib.contextmanager
def browsing(browser: str) -> Iterator[ClientConnection]:
    """A page of a headless browser, driven over the DevTools protocol."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [browser, *options, f"--window-size={WINDOW}", "--remote-debugging-port=0", "about:blank"],
            stderr=subprocess.DEVNULL,
        )
        try:
            announced = Path(profile) / "DevToolsActivePort"
            while not announced.exists() or "\n" not in announced.read_text():
                time.sleep(0.1)
            pages = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{announced.read_text().split()[0]}/json").read())
            address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            with connect(address, max_size=None) as page:
                yield page
        finally:
            process.terminate()
            process.wait()


def command(page: ClientConnection, method: str, **parameters: Any) -> Any:
    page.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    while (answer := json.loads(page.recv())).get("id") != 1:
        pass
    return answer["result"]


def take(page: ClientConnection, url: str, path: Path) -> None:
    command(page, "Page.navigate", url=url)
    time.sleep(RENDER_SECONDS)
    path.write_bytes(base64.b64decode(command(page, "Page.captureScreenshot", format="png")["data"]))
    print(path)


def main() -> None:
    given = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:4200"
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium here: apt-get install chromium")
    with browsing(browser) as page:
        if given.endswith(".html"):
            command(page, "Emulation.setDeviceMetricsOverride", width=1150, height=SHEET, deviceScaleFactor=1, mobile=False)
            take(page, Path(given).resolve(strict=True).as_uri(), HERE / "comparison.png")
        else:
            take_served(page, given)


def take_served(page: ClientConnection, base: str) -> None:
    api = f"{base}/api"
    runs = call(api, "flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    if not runs:
        sys.exit("no flow run yet: prefect deployment run wmtp/full-rho1")
    tasks = call(api, "task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
    trained = [task for task in tasks if task["name"].startswith("train_policy")] or tasks
    deployment = call(api, "deployments/name/wmtp/full-rho1")
    take(page, f"{base}/runs/flow-run/{runs[0]['id']}", HERE / "flow_run.png")
    take(page, f"{base}/runs/task-run/{trained[-1]['id']}", HERE / "task_log.png")
    take(page, f"{base}/deployments/deployment/{deployment['id']}/run", HERE / "form.png")


if __name__ == "__main__":
    main()
