"""Small benchmark files, and what is done to a command and read of its results."""

import gzip
import json

from wmtp.evaluation import run

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


def benchmark_files(folder):
    """One of each, by the benchmark's name."""
    return {
        "humaneval": write(folder / "humaneval.jsonl", HUMANEVAL),
        "mbpp": write(folder / "mbpp.jsonl", MBPP),
        "gsm8k": write(folder / "gsm8k.jsonl", GSM8K),
    }


def one_line(capsys):
    """What was said, which is no more than that."""
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def dies_at(number, monkeypatch):
    """Once, when as many verdicts as this have come; all that came, and what came after that."""
    real, calls = run.SampleJournal.append, []

    def append(journal, samples):
        calls.append(samples)
        if len(calls) == number:
            raise KeyboardInterrupt
        real(journal, samples)

    monkeypatch.setattr(run.SampleJournal, "append", append)
    return calls


def read_samples(out):
    return [json.loads(line) for line in gzip.decompress((out / "samples.jsonl.gz").read_bytes()).decode().splitlines()]
