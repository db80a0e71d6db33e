"""The commands that score, as they are typed; what they do is tested in evaluation/."""

import pytest

from tests.unit.evaluation.benchmarks import one_line
from wmtp.cli import main

EVALUATE = ["evaluate", "mbpp", "--model", "m", "--data", "d", "--out", "o"]
SCORE = ["score", "mbpp", "--samples", "s", "--data", "d", "--out", "o"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*EVALUATE, "--seed", "-1"], "argument --seed: must be 0 or more, not -1"),
        ([*EVALUATE, "--limit", "-1"], "argument --limit: must be 1 or more, not -1"),
        ([*EVALUATE, "--limit", "0"], "argument --limit: must be 1 or more, not 0"),
        ([*EVALUATE, "--batch-size", "0"], "argument --batch-size: must be 1 or more, not 0"),
        ([*EVALUATE, "--max-new-tokens", "0"], "argument --max-new-tokens: must be 1 or more, not 0"),
        ([*EVALUATE, "--num-samples", "0"], "argument --num-samples: must be 1 or more, not 0"),
        ([*EVALUATE, "--num-samples", "2", "--k", "1,5"], "--num-samples 2 is too few for pass@5"),
        ([*EVALUATE, "--num-drafts", "-1"], "argument --num-drafts: must be 0 or more, not -1"),
        ([*EVALUATE, "--temperature", "-1"], "argument --temperature: must be a finite number of 0 or more"),
        ([*EVALUATE, "--temperature", "nan"], "argument --temperature: must be a finite number of 0 or more"),
        ([*EVALUATE, "--top-p", "0"], "argument --top-p: must be a finite number above 0, at most 1"),
        ([*EVALUATE, "--model="], "argument --model: is empty"),
        ([*SCORE, "--k", "0"], "argument --k: must be 1 or more, not 0"),
        ([*SCORE, "--workers", "0"], "argument --workers: must be 1 or more, not 0"),
        ([*SCORE, "--seed", "-1"], "argument --seed: must be 0 or more, not -1"),
        ([*SCORE, "--data="], "argument --data: is empty"),
        ([*SCORE, "--out="], "argument --out: is empty"),
    ],
)
def test_a_mistake_is_exit_code_2_and_one_line_before_anything_is_read(argv, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert message in one_line(capsys)
    assert not list(tmp_path.iterdir())
