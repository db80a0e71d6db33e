"""Packages are offered by name, read-only and those alone; values of numpy's are judged as they are natively."""

import sys

import pytest

from wmtp.errors import ConfigError
from wmtp.sandbox.isolation import MODES
from wmtp.sandbox.namespaces import layout
from wmtp.sandbox.packages import PLACE, find_packages
from wmtp.sandbox.pool import run_tests
from wmtp.sandbox.worker import Worker
from wmtp.types import AssertTest, IOTest, Limits, Program

LIMITS = Limits(time_limit_s=30.0)
USES = "import numpy as np\nprint(int(np.linalg.det(np.eye(2) * 3).round()), len(np.random.default_rng(0).random(9)))"


@pytest.fixture(scope="module")
def numpy():
    return find_packages(["numpy"])


@pytest.mark.parametrize("mode", [*MODES, "none"])
def test_a_package_that_is_offered_can_be_used_and_another_cannot(numpy, mode):
    worker = Worker(mode, numpy)
    try:
        used = worker.run(Program(USES, (IOTest("", "9 9\n"),), LIMITS))
        other = worker.run(Program("import yaml", (IOTest("", ""),), LIMITS))
    finally:
        worker.close()
    assert used.passed, used
    assert mode == "none" or (other.status == "runtime_error" and "No module named 'yaml'" in other.detail)


def test_what_is_offered_is_its_own_files_alone_and_nobody_can_write_there(numpy):
    places = [place for _, place in layout(numpy)["files"] if place.startswith(PLACE)]
    assert {f"{PLACE}/numpy"} <= {*places} and all(place.startswith(f"{PLACE}/numpy") for place in places)
    there = sorted(place.rpartition("/")[2] for place in places)
    source = f"import os, numpy\nprint(os.access(numpy.__path__[0], os.W_OK), sorted(os.listdir('{PLACE}')) == {there})"
    (verdict,) = run_tests([Program(source, (IOTest("", "False True"),))], limits=LIMITS, num_workers=1, packages=numpy)
    assert verdict.passed, verdict


def test_the_usual_ones_are_those_that_are_installed():
    assert [package.name for package in find_packages(None, ("surely-not-installed", "numpy"))] == ["numpy"]
    assert find_packages(None) == find_packages([], ("numpy",)) == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("surely-not-installed", "surely-not-installed is not installed here"),
        ("../numpy", r"'\.\./numpy' is no name of a package"),
        ("", "'' is no name"),
        ("wmtp", "wmtp cannot be offered"),
    ],
)
def test_what_cannot_be_offered_is_refused(name, said):
    with pytest.raises(ConfigError, match=said):
        find_packages([name])


def made(folder, name, **files):
    """A distribution in a folder of its own."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    listed = [f"{info.name}/METADATA", f"{info.name}/RECORD", *files]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in listed))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"json/__init__.py": ""}, "its module json is Python's own"),
        ({"sandbox_calls.py": ""}, "its module sandbox_calls is the judge's own"),
        ({"__editable__.thing.pth": "/src"}, "it has no module of its own"),
    ],
)
def test_no_package_takes_the_place_of_another_module(tmp_path, monkeypatch, files, said):
    made(tmp_path, "thing", **files)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(ConfigError, match=f"the package thing cannot be offered to programs: {said}"):
        find_packages(["thing"])


def test_a_folder_a_file_and_what_describes_them_are_offered(tmp_path, monkeypatch):
    made(
        tmp_path, "thing", **{"thing/__init__.py": "", "thing/part.py": "", "other.py": "", "thing.pth": "", "../bin/thing": ""}
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (package,) = find_packages(["thing"])
    assert (package.name, package.version, package.modules, package.libraries) == ("thing", "1.0", ("other", "thing"), ())
    assert [path.rpartition("/")[2] for path in package.files] == ["other.py", "thing", "thing-1.0.dist-info"]


VALUES = {
    "a scalar": ("import numpy as np\ndef f(x): return np.int64(x)", "assert f(3) == 3 and f(2) * 2 == 4", True),
    "a truth": ("import numpy as np\ndef f(x): return np.bool_(x)", "assert f(0) == False and not f(0)", True),
    "an array": (
        "import numpy as np\ndef f(x): return np.arange(x).reshape(2, -1)",
        "import numpy as np\nassert np.array_equal(f(4), [[0, 1], [2, 3]]) and f(6).shape == (2, 3)",
        True,
    ),
    "an array where a list is asked for": ("import numpy as np\ndef f(x): return np.arange(x)", "assert f(2) == [0, 1]", False),
    "a close one": ("def f(x): return x / 3", "import numpy as np\nassert np.allclose(f(1), 0.33333333)", True),
    "a wrong one": ("import numpy as np\ndef f(x): return np.float32(x)", "assert f(0.5) == 0.25", False),
    "an array as an argument, changed": (
        "def f(a):\n    a *= 2\n    return a",
        "import numpy as np\na = np.array([1, 2])\nassert f(a) is a and a.tolist() == [2, 4]",
        True,
    ),
    "equal to everything": (
        "import numpy as np\nclass E(np.ndarray):\n    def __eq__(s, o): return True\ndef f(x): return np.zeros(()).view(E)",
        "assert f(2) == 4",
        False,
    ),
}


@pytest.mark.parametrize("what", VALUES)
def test_values_of_numpys_are_the_tests_to_judge(numpy, what):
    source, test, passes = VALUES[what]
    (verdict,) = run_tests([Program(source, (AssertTest(test),))], limits=LIMITS, num_workers=1, packages=numpy)
    assert verdict.passed == passes and (verdict.status != "suspicious" or "everything" in what), verdict
