"""A candidate's life: the program as `python3 program.py` would run it, from `__main__` to the interpreter's shutdown.

Runs inside the sandbox with nothing but the standard library, in the process that untrusted code shares: no exit code and no
message of it is a pass.

The shutdown takes the interpreter's own steps in their order (CPython's `Py_FinalizeEx`), over all that the program made:
threads are joined, exit handlers run, streams are flushed, its modules are dropped, collected and cleared. What the spawner had
made is left alone and the process ends: freeing that too would copy most of its pages, twice the cost of a short program.
"""

import _weakref
import atexit
import builtins
import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, NoReturn

import sandbox_calls
import sandbox_candidate
import sandbox_tests

FILE_NAME = "program.py"
MEMORY_STATUS, FLUSH_STATUS = 97, 120
"""Exit codes: out of memory; the streams could not be flushed (CPython's own)."""
CHANNEL, SOURCE = 3, 4
SCRIPT, ASKED, NATIVE = range(3)
"""What a program is run as."""
EXEC_COUNTS = int(sys.version_info < (3, 12))
"""Whether a call of C's is a step of the recursion limit's."""
ASKED_FRAMES = 8
"""Between a function that is asked and the bottom of the stack there is more than a test; a program is not to notice."""
LIBC = ctypes.CDLL(None, use_errno=True)
MODULES = frozenset(sys.modules)
"""Those that the interpreter and the sandbox came with."""
SYS_NAMES = ("path", "argv", "last_type", "last_value", "last_traceback", "path_hooks", "path_importer_cache", "meta_path")
"""Of those attributes of sys that the interpreter drops first, the ones that may hold a program's objects."""
NAMES = {module: frozenset(vars(module)) for module in (builtins, sys)}


def read_source() -> bytes:
    """The program's text; its descriptor is closed."""
    parts = []
    while chunk := os.read(SOURCE, 2**20):
        parts.append(chunk)
    os.close(SOURCE)
    return b"".join(parts)


def say(message: dict) -> None:
    """To whom watches this process."""
    sandbox_calls.write_message(CHANNEL, message)


def _compiled(path: str) -> CodeType:
    """The program's code; where it is no Python, that is said and the process ends."""
    try:
        return compile(read_source(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        say({"failed": f"{type(error).__name__}: {error}"[:500], "status": "compile_error"})
    os._exit(1)


def message_of(error: BaseException) -> str:
    """An exception in one line, also where its text cannot be had."""
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except BaseException:
        return type(error).__name__


def run(folder: str, kind: int) -> NoReturn:
    """The program to the end of its process: as a script, as a library that is asked, or with its tests in one namespace.

    The last two are executed as their benchmarks execute them, in a namespace that has no `__main__`.
    """
    path = os.path.join(folder, FILE_NAME)
    code = _compiled(path)
    for name in [name for name in sys.modules if name.startswith("sandbox_")]:
        del sys.modules[name]  # a program finds what an interpreter comes with, and its own folder first on the path
    sys.path[0] = folder
    sys.argv = [FILE_NAME]
    _deepen(ASKED_FRAMES if kind == ASKED else 0)
    if kind == ASKED:
        _run_asked(code, {})
    if kind == NATIVE:
        _run_natively(code, {})
    main = _main_module(path)
    status = _run_script(code, main)
    del main
    _shut_down(status)


def _deepen(more: int) -> None:
    """A script's recursion limit counts from its own first frame."""
    depth, frame = 1 + EXEC_COUNTS + more, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(sys.getrecursionlimit() + depth)


def _main_module(path: str) -> ModuleType:
    main = ModuleType("__main__")
    vars(main).update(
        __loader__=SourceFileLoader("__main__", path), __builtins__=builtins, __annotations__={}, __file__=path, __cached__=None
    )
    sys.modules["__main__"] = main
    return main


def _run_asked(code: CodeType, namespace: dict[str, Any]) -> NoReturn:
    """Execute, then answer the examiner; there is no shutdown: it has had its answers."""
    exit_now = os._exit
    flush = sys.stdout.flush
    try:
        candidate = sandbox_candidate.Candidate(CHANNEL, namespace)
        exec(code, namespace)
        flush()
        candidate.serve()
        exit_now(0)
    except BaseException as error:
        _fail(error, exit_now)


def _run_natively(code: CodeType, namespace: dict[str, Any]) -> NoReturn:
    """Execute, then its tests in the same namespace: what it says of them is a claim, and a failure is one."""
    exit_now = os._exit
    try:
        tests = [
            compile(test, sandbox_tests.TEST_FILE, "exec", dont_inherit=True) for test in sandbox_calls.read_message(CHANNEL)
        ]
        exec(code, namespace)
        for test in tests:
            exec(test, namespace)
        say({"done": True})
        exit_now(0)
    except BaseException as error:
        _fail(error, exit_now)


def _fail(error: BaseException, exit_now: Callable[[int], NoReturn]) -> NoReturn:
    status = "runtime_error"
    try:
        raise error  # to ask what it is without a function that the program may have replaced
    except MemoryError:
        exit_now(MEMORY_STATUS)
    except SystemExit as left:
        exit_now(_exit_code(left.code))
    except AssertionError:
        status = "wrong_answer"
    except BaseException:
        pass
    try:
        say({"failed": message_of(error), "status": status})
    finally:
        exit_now(1)


def _run_script(code: CodeType, main: ModuleType) -> int:
    """Execute; the exit code."""
    try:
        exec(code, vars(main))
    except SystemExit as error:
        return _exit_code(error.code)
    except BaseException as error:
        with contextlib.suppress(OSError):  # it has closed the channel
            say({"failed": message_of(error)})
        with contextlib.suppress(BaseException):
            sys.excepthook(type(error), error, error.__traceback__)
        return MEMORY_STATUS if type(error) is MemoryError else 1
    return 0


def _exit_code(code: Any) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    with contextlib.suppress(BaseException):
        print(code, file=sys.stderr)
    return 1


def _shut_down(status: int) -> NoReturn:
    threading = sys.modules.get("threading")
    for step in (getattr(threading, "_shutdown", None), atexit._run_exitfuncs):
        try:
            if step is not None:
                step()
        except BaseException:
            pass  # the interpreter reports it, and goes on
    is_flushed = _flush()
    gc.collect()
    with contextlib.suppress(BaseException):  # a program that has taken sys.modules apart
        _drop_modules()
    is_flushed = _flush() and is_flushed
    LIBC.exit(status if is_flushed else FLUSH_STATUS)
    os._exit(1)


def _flush() -> bool:
    is_flushed = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except BaseException:
            is_flushed = False
    return is_flushed


def _drop_modules() -> None:
    """All that the program made goes, objects with finalizers too."""
    vars(builtins).pop("_", None)
    for name in SYS_NAMES:
        setattr(sys, name, None)
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, f"__{name}__", None))
    alive_ones = []
    for name in [name for name in sys.modules if name == "__main__" or name not in MODULES]:
        if isinstance(sys.modules[name], ModuleType):
            alive_ones.append(_weakref.ref(sys.modules[name]))
        sys.modules[name] = None  # type: ignore[assignment]
    gc.collect()
    for alive in alive_ones:
        module = alive()
        if module is not None:
            _clear(vars(module))
        del module
    for module, names in NAMES.items():
        for name in set(vars(module)) - names:
            vars(module).pop(name, None)
    gc.collect()


def _clear(names: dict[str, Any]) -> None:
    """A module's objects, those with one leading underscore first, as the interpreter does it."""
    for private in (True, False):
        for name in list(names):
            is_private = isinstance(name, str) and name.startswith("_") and not name.startswith("__")
            if name != "__builtins__" and is_private >= private:
                names[name] = None
