"""A sandbox has of this machine what the interpreter needs, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmtp.sandbox.isolation import MODES
from wmtp.sandbox.system import EXECUTABLE, NOT_OFFERED, libraries_of, python_system
from wmtp.sandbox.worker import Worker
from wmtp.types import IOTest, Program

IMPORTS = """
import json, sys
able = []
for name in json.loads(sys.argv[1] if len(sys.argv) > 1 else input()):
    try: __import__(name); able.append(name)
    except Exception: pass
print(json.dumps(able))
"""
SOME = {"ssl", "sqlite3", "ctypes", "lzma", "decimal", "asyncio", "multiprocessing", "zoneinfo"}


def modules():
    """Of the standard library's, all that can be imported by this interpreter without its site-packages."""
    names = sorted(name for name in sys.stdlib_module_names if name not in ("antigravity", "this", "idlelib"))
    command = [str(EXECUTABLE), "-I", "-S", "-c", IMPORTS, json.dumps(names)]
    able = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [name for name in able if name not in (*NOT_OFFERED, "tkinter", "turtle", "turtledemo")]


@pytest.fixture(scope="module", params=MODES)
def worker(request):
    made = Worker(request.param)
    yield made
    made.close()


def printed(worker, source, stdin=""):
    verdict = worker.run(Program(source, (IOTest(stdin, "nothing"),)))
    assert verdict.status == "wrong_answer", verdict
    return verdict.detail


def test_the_whole_standard_library_can_be_imported(worker):
    wanted = modules()
    assert len(wanted) > 150 and {*wanted} >= SOME
    verdict = worker.run(Program(IMPORTS, (IOTest(json.dumps(wanted), json.dumps(wanted)),)))
    assert verdict.passed, verdict


def test_there_are_no_other_programs_and_no_site_packages(worker):
    source = (
        "import os, sys\nlibrary = os.path.dirname(os.__file__)\nfor folder, folders, names in os.walk('/'):\n"
        "    folders[:] = [f for f in folders if os.path.join(folder, f) not in ('/proc', '/dev', '/tmp', library)]\n"
        "    for name in names:\n"
        "        if '.so' not in name and os.access(os.path.join(folder, name), os.X_OK): print(os.path.join(folder, name))\n"
        "for name in ('site-packages', 'dist-packages'):\n"
        "    if os.path.isdir(f'{library}/{name}'): print(*os.listdir(f'{library}/{name}'))"
    )
    allowed = {str(EXECUTABLE), "/usr/bin/python3", f"/usr/bin/{EXECUTABLE.name}"}
    assert {*printed(worker, source).split("'")[1].split("\\n")} - {""} == allowed


def test_a_program_can_start_the_interpreter_by_its_name(worker):
    source = (
        "import subprocess\nprint(subprocess.run(['python3', '-c', 'print(6 * 7)'], capture_output=True, text=True).stdout)"
    )
    assert printed(worker, source) == "printed '42\\n\\n'"


def test_what_is_needed_is_there_and_no_folder_of_everything_is_among_it():
    system = python_system()
    assert all(Path(path).exists() for path in system.files)
    assert not {"/", "/usr", "/usr/lib", "/usr/bin", os.path.expanduser("~")} & {*system.files}
    assert set(system.folders) >= {str(EXECUTABLE.parent), "/usr/bin"} and "/" not in system.folders
    assert system.folders == tuple(sorted(system.folders))


def test_libraries_are_found_by_the_names_that_the_loader_asks_for():
    names = {Path(path).name for path in libraries_of([])}
    assert {name for name in names if name.startswith("libc.")} == {"libc.so.6"}
    assert "libgcc_s.so.1" in names, "the end of a thread loads it"


def test_threads_that_ask_at_once_are_all_told():
    asked = (
        "import concurrent.futures, sysconfig, time\nfrom wmtp.sandbox.system import python_system\n"
        "real = sysconfig._init_posix\n"  # reads, as slowly as it gets on a busy machine
        "sysconfig._init_posix = lambda found: (time.sleep(1), real(found))\n"
        "with concurrent.futures.ThreadPoolExecutor(8) as pool:\n"
        "    print(len({*pool.map(lambda _: python_system(), range(8))}))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr
