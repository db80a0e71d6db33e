"""Checkers in C++: compiled in the sandbox with a header of the user's, and asked as testlib's are asked."""

import os
import shutil

import pytest

from wmtp.errors import ConfigError, EvaluationError
from wmtp.sandbox import testlib as built
from wmtp.sandbox.isolation import MODES
from wmtp.sandbox.pool import run_tests
from wmtp.sandbox.testlib import COMPILERS, Checkers, find_testlib
from wmtp.types import IOTest, Limits, Problem, Program

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler on this machine")
HEADER = """\
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
enum Found { _ok = 0, _wa = 1, _pe = 2, _fail = 3, _points = 7 };
static std::ifstream inf, ouf, jury;
inline void registerTestlibCmd(int count, char* names[]) {
    if (count != 4) std::exit(_fail);
    inf.open(names[1]); ouf.open(names[2]); jury.open(names[3]);
}
inline void quitf(Found found, const char* said) { std::cerr << said << std::endl; std::exit(found); }
"""
DIVISOR = """\
#include "testlib.h"
int main(int argc, char* argv[]) {
    registerTestlibCmd(argc, argv);
    long n, printed, expected;
    if (!(inf >> n) || !(jury >> expected) || n % expected) quitf(_fail, "a bad test");
    std::string word;
    if (!(ouf >> word)) quitf(_pe, "nothing printed");
    if (word == "points") quitf(_points, "some of it");
    if (word == "crash") std::abort();
    if (word == "forever") for (volatile long i = 0;; ++i) {}
    if (word == "better") quitf(_fail, "better than the jury's");
    printed = std::atol(word.c_str());
    if (printed < 2 || n % printed) quitf(_wa, "no divisor");
    std::cout << "0 1" << std::endl;
    quitf(_ok, "a divisor");
}
"""
TESTS = (IOTest("6\n", "2\n"), IOTest("35\n", "5\n"))
PROBLEM = Problem("task", "", TESTS, testlib_checker=DIVISOR)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "wmtp" / "checkers"


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "testlib.h"
    path.write_text(HEADER)
    return path


@pytest.fixture(scope="module")
def testlib(header):
    return find_testlib(header.parent, [PROBLEM])


def verdicts(testlib, *sources, checker=DIVISOR, tests=TESTS, **how):
    programs = [Program(source, tests, Limits(4.0), name="task", testlib_checker=checker) for source in sources]
    return run_tests(programs, limits=Limits(), num_workers=2, testlib=testlib, **how)


@needs_compiler
def test_a_checker_decides_and_is_compiled_once(testlib, cache, monkeypatch):
    sources = ("print(input())", "print(1)", "print()", "print('points')", "print(1 / 0)", "print('crash')")
    found = verdicts(testlib, *sources)
    assert [(verdict.status, verdict.num_passed) for verdict in found] == [
        ("passed", 2),
        *3 * [("wrong_answer", 0)],
        ("runtime_error", 0),
        ("wrong_answer", 0),
    ]
    said = ("no divisor", "nothing printed", "some of it")
    assert all(verdict.detail.endswith(f"it says: {text}") for verdict, text in zip(found[1:4], said, strict=True))
    monkeypatch.setattr(built.Checkers, "_compile", None)  # it is kept
    assert verdicts(testlib, "print(input())")[0].passed
    kept = sorted(cache.iterdir())
    kept[0].write_text("damaged")
    with pytest.raises(TypeError):
        for checker in (DIVISOR, built._PROBE):
            Checkers(testlib).compiled(checker)


@needs_compiler
def test_a_program_finds_no_compiler_and_nothing_of_a_checker(testlib):
    places = "'/usr/bin/g++', '/usr/bin/clang++', '/usr/include', 'checker', 'expected.txt', '/tmp/testlib.h'"
    source = f"import os\nprint(2 + sum(map(os.path.exists, ({places}))))"
    (found,) = verdicts(testlib, source, tests=2 * (IOTest("2\n", "2\n"),))
    assert found.passed, found


@needs_compiler
@pytest.mark.parametrize(
    ("source", "checker", "said"),
    [
        ("print('better')", DIVISOR, "task: the checker fails; it says: better than the jury's"),
        (
            "print(1)",
            DIVISOR.replace("if (printed < 2", "if (true"),
            "does not accept the test's own output; it says: no divisor",
        ),
        ("print(1)", "int main() { return }", "task: the checker does not compile: checker.cpp:1:"),
        ("print(1)", "#include </dev/zero>\nint main() {}", "task: the checker does not compile: the compiler ended by "),
        ("print(1)", "#include </etc/passwd>\nint main() {}", "task: the checker does not compile: .*No such file"),
    ],
)
def test_what_is_the_checkers_fault_names_the_task_and_is_no_programs(testlib, source, checker, said):
    with pytest.raises(EvaluationError, match=said):
        verdicts(testlib, source, checker=checker)


@needs_compiler
def test_a_checker_that_never_ends_is_ended(testlib, monkeypatch):
    monkeypatch.setattr("wmtp.sandbox.worker.CHECKER_LIMITS", Limits(0.5))
    (found,) = verdicts(testlib, "print('forever')")
    assert (found.status, found.detail) == ("wrong_answer", "printed 'forever\\n'; it says: the checker ended by timeout")


@needs_compiler
@pytest.mark.parametrize("mode", [*MODES, "none"])
def test_every_isolation_compiles_and_asks(testlib, monkeypatch, tmp_path, mode):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for module in ("pool", "testlib"):
        monkeypatch.setattr(f"wmtp.sandbox.{module}.isolation", lambda allow_unsafe=False: mode)
    found = verdicts(testlib, "print(input())", "print(0)")
    assert [verdict.status for verdict in found] == ["passed", "wrong_answer"], found


@needs_compiler
def test_a_user_without_a_place_to_write_has_no_cache(testlib, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert Checkers(testlib).compiled(built._PROBE)


def test_a_header_is_asked_for_where_it_is_needed_and_there_alone(tmp_path, monkeypatch):
    assert find_testlib(None, [Problem("plain", "", TESTS)]) is None
    with pytest.raises(
        ConfigError, match=r"task has a checker in C\+\+: name testlib\.h by --testlib .*MikeMirzayanov/testlib"
    ):
        find_testlib(None, [PROBLEM])
    with pytest.raises(ConfigError, match=r"testlib\.h cannot be read as testlib\.h \(No such file or directory\)"):
        find_testlib(tmp_path, [PROBLEM])
    (tmp_path / "testlib.h").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        find_testlib(tmp_path, [PROBLEM])
    (tmp_path / "testlib.h").write_text(HEADER)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no C\+\+ compiler here: apt-get install g\+\+"):
        find_testlib(tmp_path, [PROBLEM])


@needs_compiler
def test_a_header_of_something_else_is_refused(tmp_path):
    (tmp_path / "testlib.h").write_text("int registerTestlibCmd;")
    with pytest.raises(ConfigError, match=r"testlib\.h: a checker that includes it does not compile with .*error"):
        find_testlib(tmp_path, [PROBLEM])


def test_without_a_header_a_program_with_such_a_checker_is_an_error():
    with pytest.raises(EvaluationError, match=r"task has a checker in C\+\+, and there is no testlib\.h"):
        verdicts(None, "print(2)")
