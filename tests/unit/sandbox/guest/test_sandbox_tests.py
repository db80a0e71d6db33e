"""Which names of a test are the program's, and what of its errors are its own."""

import pytest
from sandbox_tests import TEST_FILE, UnfitTest, bound_names, defect, free_names, prepared, visible_defect


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("assert add(1, 2) == 3", ["add"]),
        ("W = 5\nassert add(W, 0) == sum([5])", ["add"]),
        ("import math\nassert area(1) == math.pi", ["area"]),
        ("def check(candidate):\n    assert candidate(helper) == 1\ncheck(one)", ["helper", "one"]),
        ("assert [f(x) for x in range(3)] == [0, 1, 2]", ["f"]),
        ("assert sum([1, 2]) == max(3, 1)", ["max", "sum"]),
        ("assert True", []),
    ],
)
def test_names_that_a_test_takes_from_the_program(source, names):
    assert free_names(source) == names
    code, found = prepared(source)
    assert found == names and code.co_filename == "test.py"


def test_a_test_that_is_no_python_is_the_benchmarks_defect():
    with pytest.raises(UnfitTest, match="the test is no Python"):
        prepared("assert (")


def test_names_that_a_test_binds_itself_are_never_unknown():
    source = "try:\n    r = f()\nexcept ValueError as e:\n    pass\ndef g(x):\n    y = x\nfor i in []: pass\nimport a.b as c"
    assert bound_names(source) == {"r", "e", "g", "y", "i", "c"}


def of_test(source, **names):
    """The error that a test ends with."""
    try:
        exec(compile(source, TEST_FILE, "exec"), names)
    except Exception as error:
        return error
    raise AssertionError("it passed")


def raise_deeper(kind):
    raise kind("of the program")


OURS = {}
exec(compile("def ask(kind):\n    raise kind('of the program')", "/wmtp/sandbox_calls.py", "exec"), OURS)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import surely_not_there", "imports surely_not_there, which is not in the sandbox"),
        ("def check():\n    import surely_not_there.part\ncheck()", "imports surely_not_there"),
        ("from math import square", "imports what is not there: cannot import name 'square'"),
        ("import math\nmath.square(2)", "asks for math.square"),
        ("misspelt(2)", "asks for misspelt, which nobody defines"),
        ("def check():\n    return misspelt\ncheck()", "asks for misspelt"),
        ("answer(2)", ""),
        ("try:\n    r = 1 / 0\nexcept ZeroDivisionError:\n    pass\nassert r", ""),
        ("def check():\n    if 0: r = 1\n    assert r\ncheck()", ""),
        ("'a'.misspelt", ""),
        ("assert 0", ""),
        ("ask(ImportError)", ""),
        ("ask(NameError)", ""),
        ("deeper(NameError)", ""),
    ],
)
def test_a_defect_is_what_no_program_can_mend(source, found):
    error = of_test(source, ask=OURS["ask"], deeper=raise_deeper)
    reason = defect(error, ["answer", "ask", "deeper"], [source])
    assert found in reason and bool(reason) == bool(found)


def test_where_nobody_knows_what_a_program_defines_every_name_may_be_its():
    assert defect(of_test("misspelt(2)"), None, ["misspelt(2)"]) == ""


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (["import math\nassert f(1)"], ""),
        (["import surely_not_there"], "imports surely_not_there"),
        (["def check():\n    from surely_not_there.part import x\ncheck()"], "imports surely_not_there"),
        (["try:\n    import surely_not_there\nexcept ImportError:\n    pass"], ""),
        (["assert g(1)"], "asks for g"),
        (["def g(x): return x", "assert g(f(1))"], ""),
        (["assert f(1)", "assert ("], "no Python"),
    ],
)
def test_defects_that_can_be_seen_without_executing(sources, found):
    reason = visible_defect(["f"], sources)
    assert found in reason and bool(reason) == bool(found)
