"""What is given from outside makes stale what reads it, and nothing else: for DVC itself and for what the flow asks.

The project's own dvc.yaml, with outputs that are made up: `dvc commit` takes them for what the stages made.
"""

import subprocess

import pytest

from tests.workspaces import Workspace
from wmtp.config import compose, write_params
from wmtp.orchestration.pipeline import judge_all, read_graph, read_spec
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer

pytestmark = pytest.mark.slow

ARMS = ["baseline", "sstoken", "token_cleaning", "contrastive"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace where everything is up to date, a policy's and a reference's model given; the latter lies elsewhere."""
    root, other = tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("elsewhere")
    Workspace(root)
    for folder in (root / "models/policy", other / "reference"):
        save_tokenizer(train_tokenizer(["one two three " * 20], 270), folder, 64)
        (folder / "model.safetensors").write_bytes(b"weights")
    starts = [
        "train_policy.model.pretrained=models/policy",
        f"tune_reference.model.pretrained={other / 'reference'}",
    ]
    config = compose(root, "toy", arms=ARMS, overrides=starts)
    write_params(config, root / "params.yaml")
    graph = read_graph(root, ["report"])
    for name in graph:
        for out in (f"{folder}/x" for folder in read_spec(root, name).outs):
            (root / out).parent.mkdir(parents=True, exist_ok=True)
            (root / out).write_text(out)
    subprocess.run(["dvc", "commit", "--force", "--quiet", *graph], cwd=root, check=True)
    return root, other / "reference", graph


def stale(root, graph):
    """By the flow's judgement, and by DVC's own command."""
    judged = {name for name, verdict in judge_all(root, graph).items() if not verdict.is_fresh}
    status = subprocess.run(["dvc", "status", *graph], cwd=root, check=True, capture_output=True, text=True).stdout
    told = {
        line.rstrip(":") for line in status.splitlines() if line and not line.startswith(("\t", " ")) and line.endswith(":")
    }
    assert told == judged
    return judged


POLICY = {*(f"train_policy@{arm}-s0" for arm in ARMS), "score_start@s0"}
REFERENCE = {"tune_reference@s0", "tune_wrong@s0", "score_base@s0"}


@pytest.mark.parametrize(
    ("where", "name", "expected"),
    [
        ("policy", "tokenizer.json", {"sample", *POLICY}),
        ("reference", "model.safetensors", REFERENCE),
        ("reference", "added_later.json", REFERENCE),
    ],
)
def test_a_file_of_a_given_folder_makes_stale_what_reads_the_folder(made, where, name, expected):
    root, reference, graph = made
    assert stale(root, graph) == set()
    before = {stage: read_spec(root, stage).fingerprint for stage in expected}
    path = (reference if where == "reference" else root / "models/policy") / name
    content = path.read_bytes() if path.exists() else None
    path.write_bytes(b"others")
    try:
        assert stale(root, graph) == expected
        assert not [stage for stage in expected if read_spec(root, stage).fingerprint == before[stage]]
    finally:
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
