"""`wmtp score` and `wmtp evaluate` on small benchmark files, with the real sandbox."""

import gzip
import json
import subprocess
import sys

import pytest

from wmtp.cli import main
from wmtp.evaluation import submissions

HUMANEVAL = [
    {
        "task_id": f"HumanEval/{i}",
        "prompt": f'def plus(x):\n    """Add {i}."""\n',
        "entry_point": "plus",
        "canonical_solution": f"    return x + {i}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {1 + i}\n    assert candidate(-5) == {i - 5}\n",
    }
    for i in range(3)
]
MBPP = [
    {
        "task_id": 11 + i,
        "text": f"Write a function to add {i}.",
        "code": f"def plus(x):\n    return x + {i}",
        "test_list": [f"assert plus(1) == {1 + i}", f"assert plus(2) == {2 + i}"],
        "test_setup_code": "",
        "challenge_test_list": [],
    }
    for i in range(2)
]
GSM8K = [{"question": f"What is {i} plus 1,000?", "answer": f"Adding gives 1,00{i}.\n#### 1,00{i}"} for i in range(2)]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def files(tmp_path):
    return {
        "humaneval": write(tmp_path / "humaneval.jsonl", HUMANEVAL),
        "mbpp": write(tmp_path / "mbpp.jsonl", MBPP),
        "gsm8k": write(tmp_path / "gsm8k.jsonl", GSM8K),
    }


def score(files, name, answers, tmp_path, *more):
    samples = write(tmp_path / "samples.jsonl", answers)
    out = tmp_path / "out"
    code = main(["score", name, "--data", str(files[name]), "--samples", str(samples), "--out", str(out), *more])
    return code, json.loads((out / "metrics.json").read_text()) if (out / "metrics.json").exists() else None


def test_reference_solutions_pass_and_mutated_ones_fail(files, tmp_path, capsys):
    right = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in HUMANEVAL]
    wrong = [{"task_id": task["task_id"], "completion": "    return x - 1\n"} for task in HUMANEVAL]
    code, metrics = score(files, "humaneval", right + wrong, tmp_path, "--k", "1,2")
    assert code == 0
    assert (metrics["pass@1"], metrics["pass@2"]) == (0.5, 1.0)
    assert metrics["verdicts"]["passed"] == 3 and sum(metrics["verdicts"].values()) == 6
    assert "pass@2" in capsys.readouterr().out
    lines = gzip.decompress((tmp_path / "out/samples.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(line)["verdict"] == "passed" for line in lines] == [True] * 3 + [False] * 3
    assert not list(tmp_path.glob(".out*"))


def test_mbpp_tasks_go_by_their_number_and_what_is_submitted_is_what_runs_and_what_is_kept(files, tmp_path):
    """Stop strings end generation; a submission is not cut at them."""
    tails = ("\nprint(plus(1))\nplus = lambda x: x", "\nprint(plus(1))")
    answers = [{"task_id": task["task_id"], "completion": task["code"] + tail} for task, tail in zip(MBPP, tails, strict=True)]
    code, metrics = score(files, "mbpp", answers, tmp_path)
    assert (code, metrics["pass@1"], metrics["num_tasks"]) == (0, 1.0, 2)
    lines = gzip.decompress((tmp_path / "out/samples.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(line)["completion"] for line in lines] == [answer["completion"] for answer in answers]
    wrong = [answer | {"completion": answer["completion"] + "\nplus = None"} for answer in answers]
    assert score(files, "mbpp", wrong, tmp_path)[1]["pass@1"] == 0.0


def test_gsm8k_is_judged_strictly_and_flexibly(files, tmp_path):
    answers = [{"task_id": 0, "completion": "#### 1000"}, {"task_id": 1, "completion": "that makes 1,001 in all"}]
    code, metrics = score(files, "gsm8k", answers, tmp_path)
    assert (code, metrics["pass@1"], metrics["flexible_pass@1"]) == (0, 0.5, 1.0)


def test_greedy_completions_are_no_draws(files, tmp_path):
    answers = [
        {"task_id": task["task_id"], "sample": sample, "completion": code}
        for task in HUMANEVAL
        for sample, code in ((0, "    return None\n"), ("greedy", task["canonical_solution"]))
    ]
    _, metrics = score(files, "humaneval", answers, tmp_path)
    assert (metrics["pass@1"], metrics["greedy_pass@1"]) == (0.0, 1.0)


def test_a_limit_is_named_in_the_result(files, tmp_path, capsys):
    answers = [{"task_id": "HumanEval/0", "completion": HUMANEVAL[0]["canonical_solution"]}]
    code, metrics = score(files, "humaneval", answers, tmp_path, "--limit", "1")
    assert (code, metrics["limit"], metrics["num_tasks"]) == (0, 1, 1)
    assert "the first 1 only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"task_id": "HumanEval/0", "completion": 3}], "samples.jsonl:1: field 'completion'"),
        ([{"task_id": "HumanEval/0"}], "samples.jsonl:1: field 'completion'"),
        ([{"completion": "x"}], "samples.jsonl:1: field 'task_id' must be"),
        ([{"task_id": "HumanEval/99", "completion": "x"}], "humaneval has no task 'HumanEval/99'"),
        (
            [{"task_id": "HumanEval/0", "completion": "x"}],
            "2 of 3 tasks have fewer than 1 completions, the first is HumanEval/1",
        ),
        ([{"task_id": "HumanEval/0", "completion": "x", "sample": 0}] * 2, "samples.jsonl:2: field 'sample': 0"),
        ([{"task_id": "HumanEval/0", "completion": "x", "sample": -1}], "field 'sample' must be"),
    ],
)
def test_a_broken_submission_is_refused_by_file_line_and_field(files, tmp_path, capsys, answers, said):
    code, metrics = score(files, "humaneval", answers, tmp_path)
    assert code != 0 and metrics is None
    assert said in capsys.readouterr().err


def test_a_broken_line_and_tasks_that_are_there_twice_are_refused(files, tmp_path, capsys):
    files["humaneval"].write_text(files["humaneval"].read_text() * 2)
    assert score(files, "humaneval", [], tmp_path)[0] != 0
    assert "duplicate id 'HumanEval/0'" in capsys.readouterr().err
    files["mbpp"].write_text('{"task_id": 11,\n')
    assert score(files, "mbpp", [], tmp_path)[0] != 0
    assert "mbpp.jsonl:1: not valid JSON" in capsys.readouterr().err


def test_empty_and_huge_completions_are_counted_verdicts(files, tmp_path):
    answers = [
        {"task_id": "HumanEval/0", "completion": ""},
        {"task_id": "HumanEval/1", "completion": "    return 1" + " + 1" * 300_000},
        {"task_id": "HumanEval/2", "completion": "    return (\x00"},
    ]
    code, metrics = score(files, "humaneval", answers, tmp_path)
    assert code == 0 and metrics["pass@1"] == 0.0 and sum(metrics["verdicts"].values()) == 3


def test_a_killed_scoring_goes_on_without_running_what_was_finished(files, tmp_path, monkeypatch):
    answers = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in HUMANEVAL]
    monkeypatch.setattr(submissions, "CHUNK", 1)
    real, started = submissions.run_tests, []

    def dies_at_the_third(programs, **options):
        started.append(programs)
        if len(started) == 3:
            raise KeyboardInterrupt
        return real(programs, **options)

    monkeypatch.setattr(submissions, "run_tests", dies_at_the_third)
    assert score(files, "humaneval", answers, tmp_path) == (1, None)
    code, metrics = score(files, "humaneval", answers, tmp_path)
    assert (code, metrics["pass@1"], len(started)) == (0, 1.0, 4)


def test_any_causal_language_model_is_evaluated_by_one_command(files, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path / "model"
    plain = Tokenizer(models.BPE(vocab={chr(i): i for i in range(128)} | {"<eos>": 128}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<eos>").save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=129, num_key_value_heads=2, **sizes)).save_pretrained(folder)
    command = [
        "evaluate",
        "humaneval",
        "--model",
        str(folder),
        "--data",
        str(files["humaneval"]),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "wmtp.cli", *command, "--k", "1,2", "--max-new-tokens", "6"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["pass@1"], metrics["num_samples"], metrics["num_tasks"]) == (0.0, 2, 3)
    assert len((tmp_path / "out.samples.jsonl").read_text().splitlines()) == 3 * 3
