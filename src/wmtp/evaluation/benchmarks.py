"""What each benchmark asks of a model and how an answer is scored. Problems come from `wmtp.problems`, in one form.

The prompt of every benchmark is `wmtp.problems.render.render_prompt(problem)`, the same text that training uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wmtp.errors import EvaluationError
from wmtp.problems.render import program_source
from wmtp.types import IOTest, Limits, Problem, Program, Verdict

AnswerJudge = Callable[[Problem, str], dict[str, bool]]
"""Problem and completion -> named scores; `passed` is the one that counts."""


@dataclass(frozen=True)
class Benchmark:
    """`stop`: strings that end a completion. `own_limits`: the problem's limits hold, however wide; else the configured
    ones are an upper bound to them.

    `judge`: for benchmarks whose answers are texts, not programs.
    """

    name: str
    source: str
    stop: tuple[str, ...] = ()
    own_limits: bool = False
    judge: AnswerJudge | None = None

    def completion(self, text: str) -> str:
        """What of a model's text is the answer (completions made elsewhere may run past the stop strings)."""
        return before_stop(text, self.stop)

    def program(self, problem: Problem, completion: str, limits: Limits) -> Program:
        """The completed program and every test of the problem.

        Raises:
            EvaluationError: a problem without tests.
        """
        if not problem.tests:
            raise EvaluationError(f"{problem.problem_id} has no tests: a completion of it cannot be scored")
        time_limit_s, memory_limit_bytes = problem.time_limit_s, problem.memory_limit_bytes
        if not self.own_limits:
            time_limit_s = min(time_limit_s, limits.time_limit_s)
            memory_limit_bytes = min(memory_limit_bytes, limits.memory_limit_bytes)
        own = Limits(time_limit_s, memory_limit_bytes, limits.output_limit_bytes)
        return Program(program_source(problem, completion), problem.tests, own)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """`text` before the first stop string in it."""
    return text[: min((text.index(string) for string in stop if string in text), default=len(text))]


# ------------------------------------------------------------------------------- GSM8K

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def judge_gsm8k(problem: Problem, completion: str) -> dict[str, bool]:
    """`strict`: the number after the first `####`; `flexible`: the last number of the text. Strict is what counts.

    Source: lm-evaluation-harness, tasks/gsm8k (filters strict-match and flexible-extract).
    """
    test = problem.tests[0]
    assert isinstance(test, IOTest)
    expected = plain_number(test.stdout)
    strict, numbers = _STRICT.search(completion), _NUMBER.findall(completion)
    is_strict = strict is not None and plain_number(strict.group(1)) == expected
    return {"passed": is_strict, "flexible": bool(numbers) and plain_number(numbers[-1]) == expected}


def plain_number(text: str) -> str:
    """Without currency signs, thousands separators and a final full stop; `7.0` is `7`."""
    text = re.sub(r"[$,\s]", "", text).rstrip(".")
    try:
        return str(int(text)) if re.fullmatch(r"-?[0-9]+", text) else repr(float(text)).removesuffix(".0")
    except ValueError:
        return text


# ------------------------------------------------------------------------------- the table

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("synthetic", "wmtp.synthetic.generate: the completion is the program"),
        Benchmark(
            "mbpp",
            "Austin et al. 2021, arXiv 2108.07732; stop strings of bigcode-evaluation-harness, tasks/mbpp.py",
            stop=("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```"),
        ),
        Benchmark(
            "humaneval",
            "Chen et al. 2021, arXiv 2107.03374, section 2.2 (stop sequences)",
            stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
        ),
        Benchmark("codecontests", "Li et al. 2022, arXiv 2203.07814", own_limits=True),
        Benchmark("gsm8k", "Cobbe et al. 2021, arXiv 2110.14168", stop=("\nQuestion:",), judge=judge_gsm8k),
    )
}


def get_benchmark(name: str) -> Benchmark:
    """By name.

    Raises:
        EvaluationError: there is none of that name.
    """
    if name not in BENCHMARKS:
        raise EvaluationError(f"unknown benchmark {name!r}: known are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def answer_verdict(scores: dict[str, bool]) -> Verdict:
    """A text answer's scores in the form that programs have."""
    passed = scores["passed"]
    return Verdict("passed" if passed else "wrong_answer", 1, int(passed))
