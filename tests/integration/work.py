"""A stage of the light pipeline: outputs are a digest of inputs and parameters. See `light`.

Files of the workspace steer it: `break` makes it fail where params.yaml has that text, `seconds` slow, `say` talkative.
`ran.log`: what came to its end; `trace.log`: when.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import yaml

SECTIONS = {"sample": "data", "train_policy": "train_policy", "evaluate": "evaluate", "report": "report"}
INPUTS = {"train_policy": "artifacts/data", "evaluate": "artifacts/policy/{run}", "report": "artifacts/evaluation"}
OUTPUTS = {
    "sample": "artifacts/data",
    "train_policy": "artifacts/policy/{run}",
    "evaluate": "artifacts/evaluation/{run}",
    "report": "artifacts/report",
}


def note(what):
    with Path("trace.log").open("a") as log:
        log.write(f"{sys.argv[1]} {what} {time.time()} {os.getpid()}\n")


def main():
    name = sys.argv[1]
    stage, _, run = name.partition("@")
    note("begins")
    if Path("break").exists() and Path("break").read_text() in Path("params.yaml").read_text():
        sys.exit(f"error: {name}: broken by the test")
    if Path("say").exists():
        print(Path("say").read_text(), end="", flush=True)
    time.sleep(float(Path("seconds").read_text()) if Path("seconds").exists() else 0)
    params = yaml.safe_load(Path("params.yaml").read_text())
    arm = params["arms"][params["runs"][run]["arm"]] if stage == "train_policy" else {}
    digest = hashlib.sha256(json.dumps([name, params[SECTIONS[stage]], arm], sort_keys=True).encode())
    if stage in INPUTS:
        for path in sorted(Path(INPUTS[stage].format(run=run)).rglob("*.json")):
            digest.update(path.read_bytes())
    out = Path(OUTPUTS[stage].format(run=run))
    out.mkdir(parents=True, exist_ok=True)
    values = {"value": int(digest.hexdigest()[:6], 16)}
    (out / "metrics.json").write_text(json.dumps({"all": values} if stage == "report" else values))
    if stage == "report":
        (out / "report.md").write_text(f"# {digest.hexdigest()}\n")
    with Path("ran.log").open("a") as log:
        log.write(f"{name} {digest.hexdigest()}\n")
    note("ends")


if __name__ == "__main__":
    main()
