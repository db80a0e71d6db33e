"""HumanEval+ and MBPP+ (Liu et al. 2023, arXiv 2305.01210) as EvalPlus publishes them: JSON lines, and the hub's tables.

The lines hold inputs and no outputs: what is expected is what the canonical solution answers. It runs where the test runs, in
the sandbox and in another process than the program's, so the program cannot read what is expected of it (ADR 7). The first
test is on the benchmark's own inputs, the second on the extra ones. The tables hold finished tests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from wmtp.errors import DataError
from wmtp.problems.published import evalplus_check
from wmtp.problems.records import Notes, Record, take, take_or_null, take_strings, unix_newlines
from wmtp.types import AssertTest, Problem, Solution

TIME_LIMIT_S = 60.0
"""For a program with all inputs of a task (evalplus, eval/__init__.py: what its four seconds an input may add up to)."""
MEMORY_LIMIT_BYTES = 2**30

_AS_IT_IS = "inp"
_ROWS = "[tuple(item) for item in inp]"
_TABLES = "[[tuple(row) for row in table] for table in inp]"
_FIXED_TABLES = "[tuple(tuple(row) for row in table) for table in inp]"
_FIRST_IS_ROW = "[tuple(inp[0]), *inp[1:]]"
_FIRST_IS_TABLE = "[[tuple(row) for row in inp[0]], inp[1]]"
_DEEP = "(deep := lambda item: tuple(map(deep, item)) if isinstance(item, list) else item)(inp)"
_ARGUMENTS = {
    _ROWS: "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    _TABLES: "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    _FIRST_IS_TABLE: "75 413 444 753",
    "[inp[0], tuple(inp[1])]": "106 750",
    "[[set(item) if isinstance(item, list) and item else {} for item in inp[0]]]": "115",
    "(float(inp[0]), complex(inp[1]))": "124",
    _FIRST_IS_ROW: "250 307 405 446 617 720 763 808",
    _FIXED_TABLES: "259 401 445",
    "[tuple(tuple(item) if isinstance(item, list) else item for item in inp[0])]": "278",
    "[{key: tuple(value) for key, value in inp[0].items()}, *inp[1:]]": "722",
    "[complex(inp[0])]": "252",
    _DEEP: "580 615 791",
}
"""JSON has no tuples, sets and complex numbers: what makes the arguments of a line's input, and MBPP's tasks that need it."""
_BY_TASK = {task: expression for expression, tasks in _ARGUMENTS.items() for task in tasks.split()}


_LISTS_INPUTS = re.compile(r"^[ \t]+inputs = ", re.MULTILINE)
"""What no test of HumanEval's own has, and every finished one of EvalPlus (evalplus, tools/humaneval/to_original_fmt.py)."""


def is_plus(record: Record) -> bool:
    """Whether a record of MBPP or HumanEval carries EvalPlus' tests, in either form."""
    test = record.get("test")
    finished = isinstance(test, str) and ("test_list" in record or _LISTS_INPUTS.search(test) is not None)
    return "plus_input" in record or finished


def humaneval_plus(record: Record, where: str, notes: Notes) -> Problem:
    """A line with inputs; or a row with a finished test, which does not tell base from extra inputs.

    HumanEval's own records are refused: a score on them is none on HumanEval+.
    """
    prompt, name = unix_newlines(take(record, where, "prompt", str)), take(record, where, "entry_point", str)
    body = unix_newlines(take(record, where, "canonical_solution", str))
    if "plus_input" in record:
        tests, num_base = _differential(record, where, "humaneval", name, prompt + body, _AS_IT_IS, notes)
    else:
        test = unix_newlines(take(record, where, "test", str))
        if not is_plus(record):
            raise DataError(f"{where} has a test of HumanEval, and none of HumanEval+: its benchmark is humaneval")
        tests, num_base = (AssertTest(f"{test}\ncheck({name})\n"),), None
    return Problem(
        problem_id=take(record, where, "task_id", str),
        prompt=prompt,
        tests=tests,
        num_base_tests=num_base,
        time_limit_s=TIME_LIMIT_S,
        memory_limit_bytes=MEMORY_LIMIT_BYTES,
        solutions=(Solution(body.rstrip(), True),),
    )


def mbpp_plus(record: Record, where: str, notes: Notes) -> Problem:
    """A line with inputs; or a row with MBPP's asserts and a finished test of all inputs."""
    if "plus_input" in record:
        task = take(record, where, "task_id", str)
        prompt = take(record, where, "prompt", str)
        text, shown = _statement(prompt, where)
        code = unix_newlines(take(record, where, "canonical_solution", str))
        name, arguments = take(record, where, "entry_point", str), _BY_TASK.get(task.rpartition("/")[2], _AS_IT_IS)
        tests, num_base = _differential(record, where, "mbpp", name, unix_newlines(prompt) + code, arguments, notes)
        asserts: tuple[str, ...] = (shown,)
    else:
        task, text = f"Mbpp/{take(record, where, 'task_id', (int, str))}", take(record, where, "prompt", str)
        code = unix_newlines(take(record, where, "code", str))
        asserts = tuple(unix_newlines(line) for line in take_strings(record, where, "test_list"))
        imports = {"test_imports": take_or_null(record, where, "test_imports", list, [], notes)}
        head = "".join(f"{line}\n" for line in take_strings(imports, where, "test_imports"))
        tests = tuple(AssertTest(head + line) for line in (*asserts, unix_newlines(take(record, where, "test", str))))
        num_base = len(asserts)
    if not asserts:
        raise DataError(f"{where}: field 'test_list' is empty")
    return Problem(
        problem_id=task,
        prompt=text,
        asserts=asserts,
        tests=tests,
        num_base_tests=num_base,
        time_limit_s=TIME_LIMIT_S,
        memory_limit_bytes=MEMORY_LIMIT_BYTES,
        solutions=(Solution(code.strip("\n"), True),),
    )


def _statement(prompt: str, where: str) -> tuple[str, str]:
    """Of a docstring, the text and the assert that ends it."""
    text, found, shown = prompt.strip().removeprefix('"""').removesuffix('"""').strip("\n").rpartition("\nassert ")
    if not found:
        raise DataError(f"{where}: field 'prompt' is no docstring that ends in an assert")
    return text, f"assert {shown}"


def _differential(
    record: Record, where: str, dataset: str, name: str, reference: str, arguments: str, notes: Notes
) -> tuple[tuple[AssertTest, ...], int]:
    """A test on the base inputs, and one on the extra ones where there are any; how many are the base's."""
    if not name.isidentifier():
        raise DataError(f"{where}: field 'entry_point' is no name: {name!r}")
    about = {"reference": reference, "entry_point": name, "dataset": dataset, "arguments": arguments}
    about["atol"] = take_or_null(record, where, "atol", (int, float), 0, notes)
    base, plus = (take(record, where, field, list) for field in ("base_input", "plus_input"))
    if not base:
        raise DataError(f"{where}: field 'base_input' is empty")
    for field, inputs in (("base_input", base), ("plus_input", plus)):
        for i, inp in enumerate(inputs):
            if not isinstance(inp, list):
                raise DataError(f"{where}: field {field!r}[{i}] must be a list of arguments, found {type(inp).__name__}")
    return tuple(_test(about | {"inputs": inputs}, name) for inputs in (base, plus) if inputs), 1


_CHECK = Path(evalplus_check.__file__).read_text(encoding="utf-8")


def _test(about: dict[str, object], name: str) -> AssertTest:
    """The comparison in a namespace of its own: the one name that the test takes from the program is the function's."""
    return AssertTest(
        "import builtins as _builtins\n"
        '_space = {"__name__": "check"}\n'
        f"_builtins.exec({_CHECK!r}, _space)\n"
        f'_space["check"]({name}, {json.dumps(about)!r})\n'
    )
