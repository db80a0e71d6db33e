"""A workspace with files of one's own in it, and models and tokenizers to put there."""

import json
import shutil

import numpy as np
from safetensors.numpy import save_file

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer

OWN = {"data.source": "jsonl", "data.train_path": "a.jsonl", "data.validation_path": "b.jsonl"}


def configured(root, **values):
    overrides = [f"{key}={value}" for key, value in {"train_critic.init": "scratch", **OWN, **values}.items()]
    return compose(root, "toy", overrides=overrides)


def workspace(folder):
    """`folder` with the project's configurations and the two files."""
    shutil.copytree(PROJECT / "configs", folder / "configs")
    for name in ("a.jsonl", "b.jsonl"):
        write_rows(folder / name, 200)
    return folder


def write_rows(path, number):
    """Problems in wmtp's own schema, which are documents too."""
    rows = (
        {"problem_id": f"p{i}", "prompt": f"Print {i}.", "tests": [{"stdin": "", "stdout": f"{i}"}], "text": f"print({i})"}
        for i in range(number)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tokenizer(folder, text="one two three " * 20):
    save_tokenizer(train_tokenizer([text], 270), folder, 64)
    return folder


def model(folder):
    """A whole one, as far as can be told without loading it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_file({"weight": np.zeros(1000, np.float32)}, folder / "model.safetensors")
    return folder
