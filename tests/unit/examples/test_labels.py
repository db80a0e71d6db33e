"""Examples from solutions, with the real sandbox: labels are what programs do, and every solution is accounted for."""

from dataclasses import replace

import pytest

from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.errors import DataError
from wmtp.examples.labels import make_examples
from wmtp.examples.mutate import KINDS
from wmtp.ledger import Ledger
from wmtp.sandbox.pool import run_tests
from wmtp.types import AssertTest, IOTest, Limits, Problem, Program, Solution, Verdict

pytestmark = pytest.mark.slow


def in_sandbox(programs):
    return run_tests(programs, limits=Limits(), num_workers=2)


def make(problems, config, *, execute=in_sandbox, noisy=True, wrong=True):
    """The examples and their account, which adds up."""
    ledger = Ledger()
    account = ledger.account("table/train")
    examples, _ = make_examples(problems, config, execute, table="train", noisy=noisy, wrong=wrong, account=account)
    account.keep([example.problem_id for example in examples])
    ledger.check()
    return examples, account


FILE = DataConfig(source="jsonl", train_path="x", validation_path="x", noise=NoiseConfig(frac=0.0))
TESTS = (AssertTest("assert f(2) == 5"), AssertTest("assert f(0) == 1"))
GOOD, BAD = "def f(x):\n    return x * 2 + 1", "def f(x):\n    return x + 1"


def test_solutions_whose_verdict_contradicts_their_label_are_dropped_and_counted():
    problems = [
        Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True), Solution(BAD, True), Solution(BAD, False))),
        Problem("b", "B.", TESTS, solutions=(Solution(GOOD, True), Solution(GOOD + " ", False))),
    ]
    examples, account = make(problems, replace(FILE, mutants_per_solution=0, pairwise=False))
    assert [(e.problem_id, e.code, e.is_correct) for e in examples] == [("a", GOOD, True), ("a", BAD, False), ("b", GOOD, True)]
    assert str(account.solutions) == "table/train solutions: 5 read = 1 right_that_fail + 1 wrong_that_pass + 3 kept"
    assert str(account.problems) == "table/train problems: 2 read = 2 kept"


def test_a_given_solution_runs_once_where_no_noise_comes_on_top():
    ran = []

    def counting(programs):
        ran.extend(programs)
        return [Verdict("passed" if "x * 2 + 1" in program.source else "wrong_answer", 2, 0) for program in programs]

    problems = [Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True), Solution(BAD, False)))]
    examples, _ = make(problems, replace(FILE, mutants_per_solution=0), execute=counting)
    assert [example.is_correct for example in examples] == [True, False] and len(ran) == 2
    noisy = replace(
        FILE, mutants_per_solution=0, noise=NoiseConfig(frac=1.0, comments=1, boilerplate=0, corrupted=0, mismatched=0)
    )
    examples, _ = make(problems, noisy, execute=counting)
    assert [example.is_correct for example in examples] == [True, False] and len(ran) == 2 + 4


def test_wrong_solutions_are_different_mutants_that_fail():
    config = replace(FILE, mutants_per_solution=3, pairwise=False, max_per_problem=4)
    problem = Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),))
    examples, account = make([problem], config)
    assert [example.is_correct for example in examples] == [True, False, False, False]
    assert len({example.code for example in examples}) == 4
    assert account.solutions.made == {"mutants_wanted": 3}


def test_a_mutant_that_is_not_found_is_counted():
    problems = [
        Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),)),
        Problem("b", "B.", (AssertTest("pass"),), solutions=(Solution("x = 1", True),)),
    ]
    examples, account = make(problems, FILE)
    assert [(e.problem_id, e.is_correct) for e in examples] == [("a", True), ("a", False), ("b", True)]
    assert str(account.solutions) == "table/train solutions: 2 read + 2 mutants_wanted = 1 mutants_not_found + 3 kept"
    assert str(account.problems) == "table/train problems: 2 read = 2 kept"


def test_what_is_made_of_a_solution_does_not_depend_on_the_others():
    """Noise and mutants of a problem are the same alone, among others and in another order; what mismatched noise puts there
    is another problem's, and the same one wherever that stands."""
    names = "abcdefgh"
    texts = {name: GOOD.replace("x", name) for name in names}
    problems = [Problem(name, f"{name}.", TESTS, solutions=(Solution(texts[name], True),)) for name in names]
    config = replace(FILE, noise=NoiseConfig(frac=0.8))

    def made(some):
        found = {}
        for example in make(some, config)[0]:
            found.setdefault(example.problem_id, []).append((example.code, example.is_correct, example.noise_kind))
        return found

    whole = made(problems)
    assert made(problems[::-1]) == whole
    kinds = {kind for rows in whole.values() for _, _, kind in rows}
    assert len(kinds) > 3
    for name, rows in made(problems[:4]).items():
        assert [row for row in rows if row[2] != "mismatched"] == [row for row in whole[name] if row[2] != "mismatched"]


def test_clean_tables_take_the_right_solutions_and_count_the_wrong_ones():
    problems = [
        Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True), Solution(BAD, False))),
        Problem("b", "B.", TESTS, solutions=(Solution(BAD, False),)),
        Problem("c", "C.", TESTS, solutions=(Solution(BAD, True),)),
    ]
    examples, account = make(problems, FILE, noisy=False, wrong=False)
    assert [(e.problem_id, e.is_correct) for e in examples] == [("a", True)]
    assert str(account.solutions) == "table/train solutions: 4 read = 2 wrong_not_used + 1 right_that_fail + 1 kept"
    assert str(account.problems) == "table/train problems: 3 read = 1 wrong_not_used + 1 without_proven_solution + 1 kept"


def test_mismatched_noise_takes_another_problems_solution():
    noise = NoiseConfig(frac=1.0, comments=0, boilerplate=0, corrupted=0, mismatched=1)
    problems = [
        Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),)),
        Problem("b", "B.", (AssertTest("assert g() == 1"),), solutions=(Solution("def g():\n    return 1", True),)),
    ]
    config = replace(FILE, noise=noise)
    examples, _ = make(problems, config, wrong=False)
    assert [(e.problem_id, e.code[:5], e.is_correct) for e in examples] == [("a", "def g", False), ("b", "def f", False)]
    assert all(e.noise_spans == ((0, len(e.code)),) for e in examples)


def test_no_solution_that_passes_and_a_broken_sandbox_are_errors():
    problem = Problem("a", "A.", TESTS, solutions=(Solution(BAD, True),))
    with pytest.raises(DataError, match="train: none of the 1 problems has a solution that passes"):
        make([problem], FILE, noisy=False, wrong=False)
    with pytest.raises(DataError, match="the sandbox could not run 1 of 1 programs: no fork"):
        broken = [Verdict("sandbox_error", 2, 0, detail="no fork")]
        make([problem], FILE, execute=lambda programs: broken, noisy=False, wrong=False)
    only_wrong = Problem("a", "A.", TESTS, solutions=(Solution(BAD, True), Solution(BAD + " ", False)))
    with pytest.raises(DataError, match="train: none of the 1 problems has a solution that passes"):
        make([only_wrong], replace(FILE, mutants_per_solution=0))


def test_a_mutant_that_fails_a_later_test_is_preferred_where_that_is_asked_for():
    """Of `x * 2 + 1`, mutants that fail only the second test are rarer; without one the first that fails is taken."""
    problem = Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),))

    def tests_passed(examples):
        texts = [e.code for e in examples if not e.is_correct]
        return [verdict.num_passed for verdict in in_sandbox([Program(text, TESTS) for text in texts])]

    late = [replace(FILE, mutants="late", seed=seed) for seed in range(6)]
    assert all(tests_passed(make([problem], config)[0]) == [1] for config in late)
    assert {n for c in late for n in tests_passed(make([problem], replace(c, mutants="any"))[0])} == {0, 1}
    impossible = replace(problem, tests=TESTS[:1])
    examples, _ = make([impossible], late[0])
    assert [e.is_correct for e in examples] == [True, False]


def test_limits_have_the_configured_margin():
    limits = []

    def recording(programs):
        limits.extend((program.limits.time_limit_s, program.limits.memory_limit_bytes) for program in programs)
        return in_sandbox(programs)

    problem = Problem("a", "A.", TESTS, time_limit_s=2.0, memory_limit_bytes=10**8, solutions=(Solution(GOOD, True),))
    make([problem], replace(FILE, limit_margin=1.5), execute=recording, wrong=False)
    assert set(limits) == {(3.0, 150_000_000)}


def test_a_cap_on_tests_takes_the_same_ones_of_a_problem_whatever_the_seed():
    tests = tuple(IOTest(f"{i}\n", f"{i * i}\n") for i in range(40))
    seen = {}

    def recording(programs):
        for program in programs:
            seen.setdefault(program.name, set()).add(program.tests)
        return in_sandbox(programs)

    square = (Solution("print(int(input()) ** 2)", True), Solution("n = int(input())\nprint(n * n)", True))
    problems = [Problem(name, "Square.", tests, solutions=square) for name in "ab"]
    for seed in (0, 1):
        examples, _ = make(problems, replace(FILE, max_tests=7, seed=seed), execute=recording)
        assert {example.is_correct for example in examples} == {True, False}
    for name in "ab":
        (chosen,) = seen[name]
        assert len(chosen) == 7 and sorted(chosen, key=tests.index) == list(chosen)
    assert seen["a"] != seen["b"]


def test_every_example_tells_where_it_comes_from_and_what_it_did():
    places = [f"solutions[{i}]" for i in range(2)]
    problems = [
        Problem(name, "P.", TESTS, solutions=(Solution(code, True, places[i]),), file="f.jsonl", row=i)
        for i, (name, code) in enumerate((("a", GOOD), ("b", GOOD.replace("x", "y"))))
    ]
    examples, _ = make(problems, FILE)
    assert [(e.history.file, e.history.row, e.history.solution, e.history.origin) for e in examples] == [
        ("f.jsonl", i, places[i], origin) for i in range(2) for origin in ("right", "mutant")
    ]
    for right, mutant in (examples[:2], examples[2:]):
        assert (right.history.status, right.history.num_passed, right.history.edit) == ("passed", 2, "")
        assert mutant.history.status in ("wrong_answer", "runtime_error") and mutant.history.edit in KINDS
    swapped = replace(
        FILE,
        mutants_per_solution=0,
        pairwise=False,
        noise=NoiseConfig(1.0, comments=0, boilerplate=0, corrupted=0, mismatched=1),
    )
    assert [e.history.text_of for e in make(problems, swapped)[0]] == ["b", "a"]


def test_a_label_that_is_trusted_has_no_outcome():
    config = replace(FILE, labels="trusted", mutants_per_solution=0, pairwise=False)
    (example,), _ = make([Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),))], config)
    assert (example.history.status, example.history.num_passed) == ("", -1)
