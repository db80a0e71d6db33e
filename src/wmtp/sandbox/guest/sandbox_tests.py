"""What a test's own text says: its code, the names that it takes from the program, and what it asks for and cannot have.

Runs inside the sandbox with nothing but the standard library, in the examiner's process.
"""

import ast
import builtins
import functools
import importlib.util
import symtable
from collections.abc import Iterable
from types import CodeType, ModuleType

TEST_FILE = "test.py"
REFERENCE_FILE = "reference.py"
"""Of code that a test compares the program with: its errors are the benchmark's."""
OUR_FILES = "sandbox_"
"""What the names of the sandbox's own files begin with: an error that comes through them is the program's."""


class UnfitTest(BaseException):
    """The test asks for what cannot be had this way: the benchmark's defect, never the program's."""


@functools.lru_cache(maxsize=256)
def prepared(source: str) -> tuple[CodeType, list[str]]:
    """A test's code and its free names; many samples in a row have the same tests.

    Raises:
        UnfitTest: it is no Python.
    """
    try:
        return compile(source, TEST_FILE, "exec", dont_inherit=True), free_names(source)
    except (SyntaxError, ValueError) as error:
        raise UnfitTest(f"the test is no Python: {error}") from error


def free_names(source: str) -> list[str]:
    """Names that a test takes from elsewhere: not defined in it and no builtins.

    A test that names nothing else is about a program's own `sum` or `max`: then, and only then, builtins count.
    """
    top = symtable.symtable(source, TEST_FILE, "exec")
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    free = sorted(used - own)
    return [name for name in free if not hasattr(builtins, name)] or free


def bound_names(source: str) -> set[str]:
    """Names that a test gives a meaning, wherever in it."""
    names: set[str] = set()
    tables = [symtable.symtable(source, TEST_FILE, "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names |= {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    return names


def defect(error: BaseException, defines: Iterable[str] | None, sources: Iterable[str]) -> str:
    """What the tests themselves ask for and cannot have, whatever the program is; empty where the error is the program's.

    Args:
        defines: names of a right program's; None where nobody knows them.
        sources: what has been executed of the tests.
    """
    place, depth = error.__traceback__, -1
    while place is not None:
        name = place.tb_frame.f_code.co_filename
        if name == REFERENCE_FILE:
            return f"the test's reference fails: {type(error).__name__}: {error}"
        if name == TEST_FILE:
            depth = 0
        elif depth >= 0:
            depth += 1
        if name.rpartition("/")[2].startswith(OUR_FILES):
            depth = -1
        place = place.tb_next
    if depth < 0:
        return ""
    if isinstance(error, ModuleNotFoundError):
        return f"the test imports {error.name}, which is not in the sandbox"
    if isinstance(error, ImportError):
        return f"the test imports what is not there: {error}"
    if isinstance(error, AttributeError) and type(error.obj) is ModuleType:
        return f"the test asks for {error.obj.__name__}.{error.name}, which is not there"
    if type(error) is NameError and error.name and depth == 0:
        return unknown(error.name, defines, sources)
    return ""


def unknown(name: str, defines: Iterable[str] | None, sources: Iterable[str]) -> str:
    """Why a name can have no meaning; empty where it could have one."""
    if defines is None or name in {*defines, *(bound for source in sources for bound in bound_names(source))}:
        return ""
    return f"the test asks for {name}, which nobody defines"


def visible_defect(defines: Iterable[str] | None, sources: list[str]) -> str:
    """The same of tests that were not executed here: no Python, a missing module that they import in any case, or a name that
    nobody defines.
    """
    try:
        names = {name for source in sources for name in prepared(source)[1] if not hasattr(builtins, name)}
    except UnfitTest as error:
        return str(error)
    for source in sources:
        for module in _imported([part for top in ast.parse(source).body for part in _always(top)]):
            if importlib.util.find_spec(module) is None:
                return f"the test imports {module}, which is not in the sandbox"
    return next((reason for name in sorted(names) if (reason := unknown(name, defines, sources))), "")


def _imported(statements: list[ast.stmt]) -> list[str]:
    """Modules, by the first part of their names."""
    names = [alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in statements if isinstance(node, ast.ImportFrom) and not node.level]
    return [name.partition(".")[0] for name in names]


def _always(node: ast.stmt) -> list[ast.stmt]:
    """A statement, or what a function executes that is defined by it, without what stands under a condition."""
    inside = node.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []
    return [node, *(part for top in inside for part in _always(top))]
