"""A built wheel in an environment that is not a clone: what works there without configs/ and dvc.yaml."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.library.conftest import EXAMPLES, model
from tests.unit.models import meta
from tests.workspaces import PROJECT
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer

TASKS = [
    {"task_id": n, "text": f"Add {n}.", "code": f"def f(x):\n    return x + {n}", "test_list": [f"assert f(1) == {1 + n}"] * 3}
    for n in (11, 12)
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel and this one's packages, but not its wmtp; and a function that runs things there."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command, code=0):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    for name in ("pyproject.toml", "README.md", "LICENSE"):  # a build writes beside its sources
        shutil.copy(PROJECT / name, folder)
    shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "built", ".")
    run(sys.executable, "-m", "venv", "fresh")
    (wheel,) = (folder / "built").glob("*.whl")
    binaries = folder / "fresh/bin"
    run(str(binaries / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", str(wheel))
    (site,) = (folder / "fresh/lib").glob("python3*/site-packages")
    (site / "packages.pth").write_text(
        sysconfig.get_paths()["purelib"] + "\n"
    )  # a line, so that its own .pth files do not count
    return folder, lambda *command, **how: run(str(binaries / command[0]), *command[1:], **how)


def test_the_library_is_the_wheels(installed):
    folder, run = installed
    assert str(folder) in run("python", "-c", "import wmtp; print(wmtp.load_model, wmtp.__file__)")


def test_score_evaluate_and_export_work_outside_of_a_clone(installed):
    folder, run = installed
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    lines = [json.dumps({"task_id": task["task_id"], "completion": task["code"]}) + "\n" for task in TASKS]
    (folder / "answers.jsonl").write_text("".join(lines))
    run("wmtp", "score", "mbpp", "--data", "tasks.jsonl", "--samples", "answers.jsonl", "--out", "scored")
    assert json.loads((folder / "scored/metrics.json").read_text())["pass@1"] == 1.0

    text = train_tokenizer([example.prompt + example.solution for example in EXAMPLES] * 3, 270)
    policy = model(text, 1, 3)
    policy.save_pretrained(folder / "policy")
    save_tokenizer(text, folder / "policy", 512)
    run("wmtp", "evaluate", "mbpp", "--data", "tasks.jsonl", "--model", "policy", "--out", "evaluated", "--max-new-tokens", "8")
    assert json.loads((folder / "evaluated/metrics.json").read_text())["num_tasks"] == 2

    run("wmtp", "export", "policy", "plain")
    assert torch.equal(
        load_file(folder / "plain/model.safetensors")["model.embed_tokens.weight"], policy.model.embed_tokens.weight
    )


def test_convert_works_outside_of_a_clone_there_and_back(installed):
    folder, run = installed
    found = meta.tensors()
    meta.write(folder / "theirs", found)
    assert "3 heads" in run("wmtp", "convert", "meta-mtp", "theirs", "ours", "--without-tokenizer")
    run("python", "-c", "import wmtp.models, transformers as t; t.AutoModelForCausalLM.from_pretrained('ours')")
    run("wmtp", "convert", "to-meta-mtp", "ours", "back", "--without-tokenizer")
    again = torch.load(folder / "back/consolidated.pth", weights_only=True)
    assert again.keys() == found.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in found.items())


def test_what_needs_a_clone_says_so(installed):
    _, run = installed
    run("wmtp", "run", "compare", code=2)
