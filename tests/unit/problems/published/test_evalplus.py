"""HumanEval+ and MBPP+ in both of their published forms, and what programs are told apart by."""

import json

import pytest

from tests.unit.tasksets.plus import HUMANEVAL, HUMANEVAL_ROW, MBPP, MBPP_ROW, read, verdicts
from wmtp import tasksets
from wmtp.errors import DataError, EvaluationError
from wmtp.problems.files import read_problems, write_problems
from wmtp.problems.published.evalplus import is_plus


@pytest.mark.parametrize("name", ["humanevalplus", "humaneval"])
def test_base_inputs_are_the_first_test_and_the_extra_ones_the_second(tmp_path, name):
    problem = read(name, tmp_path / "p.jsonl", HUMANEVAL)
    assert (problem.problem_id, problem.prompt, len(problem.tests), problem.num_base_tests) == (
        "HumanEval/0",
        HUMANEVAL["prompt"],
        2,
        1,
    )
    right, base_only, wrong = "    return 0.5 * x\n", "    return abs(x) / 2 if x != 1 else 0\n", "    return x\n"
    almost = "    return x / 2 + 1e-9\n"
    assert verdicts(name, problem, right, base_only, wrong, almost) == [
        ("passed", 2),
        ("wrong_answer", 1),
        ("wrong_answer", 0),
        ("passed", 2),
    ]


@pytest.mark.parametrize("name", ["mbppplus", "mbpp"])
def test_mbpp_plus_lines_are_asked_as_they_stand_and_have_tuples(tmp_path, name):
    problem = read(name, tmp_path / "p.jsonl", MBPP)
    assert tasksets.get(name).prompt(problem) == MBPP["prompt"] and problem.num_base_tests == 1
    right = "def similar_elements(a, b):\n    assert type(a) is tuple\n    return [x for x in a if x in b] * 2"
    assert verdicts(name, problem, right, "similar_elements = lambda a, b: [4]") == [("passed", 2), ("wrong_answer", 1)]


def test_a_program_decides_nothing_but_its_answers(tmp_path):
    problem = read("humanevalplus", tmp_path / "p.jsonl", HUMANEVAL | {"entry_point": "sum", "prompt": "def sum(x):\n"})
    equal = "    class Equal(float):\n        def __eq__(self, other): return True\n    return Equal(9)\n"
    taken = "    return 0\nexec = compile = eval = set = type = isinstance = all = zip = abs = lambda *a, **k: True\n"
    patched = "    return 0\nimport builtins, json\nbuiltins.exec = lambda *a: 0\njson.loads = lambda t: {'inputs': []}\n"
    stolen = "    import sys\n    return [sys._getframe(i).f_locals['expected'] for i in range(9)][0]\n"
    right = "    return x / 2\n"
    found = verdicts("humanevalplus", problem, right, equal, taken, patched, stolen)
    assert found[0] == ("passed", 2) and all(status not in ("passed", "unverified") for status, _ in found[1:])


def test_a_reference_that_fails_is_the_benchmarks_error_and_names_the_task(tmp_path):
    for change in ({"canonical_solution": "    return x.nothing\n"}, {"canonical_solution": "    return (\n"}):
        problem = read("humanevalplus", tmp_path / "p.jsonl", HUMANEVAL | change)
        with pytest.raises(EvaluationError, match="HumanEval/0: the test's reference fails: "):
            verdicts("humanevalplus", problem, "    return x / 2\n")


SHAPES = [
    ("Mbpp/116", [[1, 2]], [(1, 2)]),
    ("Mbpp/63", [[[1, 2], [3]]], [[(1, 2), (3,)]]),
    ("Mbpp/75", [[[1, 2]], 3], [[(1, 2)], 3]),
    ("Mbpp/106", [[1], [2]], [[1], (2,)]),
    ("Mbpp/115", [[[1, 1], [], {}]], [[{1}, {}, {}]]),
    ("Mbpp/124", ["1.5", "2j"], (1.5, 2j)),
    ("Mbpp/250", [[1], 2], [(1,), 2]),
    ("Mbpp/259", [[[1], [2]], [[3]]], [((1,), (2,)), ((3,),)]),
    ("Mbpp/278", [[1, [2], 3]], [(1, (2,), 3)]),
    ("Mbpp/307", [[1, []], 2, 3], [(1, []), 2, 3]),
    ("Mbpp/722", [{"a": [1]}, 2.0, 3], [{"a": (1,)}, 2.0, 3]),
    ("Mbpp/252", ["1+2j"], [1 + 2j]),
    ("Mbpp/580", [[1, [2, [3]]]], ((1, (2, (3,))),)),
    ("Mbpp/3", [[1]], [[1]]),
]


@pytest.mark.parametrize(("task", "inp", "arguments"), SHAPES, ids=[task for task, _, _ in SHAPES])
def test_arguments_are_what_json_cannot_say(tmp_path, task, inp, arguments):
    reference = "def g(*args):\n    return repr(args)"
    record = MBPP | {"task_id": task, "entry_point": "g", "canonical_solution": reference}
    record |= {"base_input": [inp], "plus_input": []}
    problem = read("mbppplus", tmp_path / "p.jsonl", record)
    assert len(problem.tests) == problem.num_base_tests == 1
    seen = []
    exec(problem.tests[0].code, {"g": lambda *args: seen.append(args) or repr(args)})
    assert [repr(args) for args in seen] == [repr(tuple(arguments))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_input": []}, "field 'base_input' is empty"),
        ({"base_input": [1]}, r"field 'base_input'\[0\] must be a list of arguments, found int"),
        ({"plus_input": "x"}, "field 'plus_input' must be list, found str"),
        ({"plus_input": None}, "field 'plus_input' must be list, found NoneType"),
        ({"entry_point": "f(); g"}, "field 'entry_point' is no name"),
        ({"atol": "0"}, "field 'atol' must be int or float, found str"),
        ({"prompt": "no docstring"}, "field 'prompt' is no docstring that ends in an assert"),
        ({"canonical_solution": None}, "field 'canonical_solution' must be str, found NoneType"),
    ],
)
def test_a_bad_record_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=rf"p\.jsonl:1: {message}"):
        read("mbppplus", tmp_path / "p.jsonl", MBPP | changes)


def test_a_record_says_whether_it_has_extra_tests():
    assert all(map(is_plus, (HUMANEVAL, MBPP, HUMANEVAL_ROW, MBPP_ROW)))
    assert not is_plus({"task_id": 1, "test_list": [], "text": ""}) and not is_plus({"prompt": "", "test": ""})


def test_tests_that_are_written_and_read_again_are_the_same(tmp_path):
    problems = [read("mbppplus", tmp_path / "a.jsonl", MBPP), read("humanevalplus", tmp_path / "b.jsonl", HUMANEVAL)]
    write_problems(tmp_path / "p.jsonl", problems)
    assert read_problems(tmp_path / "p.jsonl") == problems
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])["num_base_tests"] == 1
