"""Every module has its tests where one looks for them: src/wmtp/PACKAGE/MODULE.py in tests/unit/PACKAGE/test_MODULE.py."""

import re

import pytest

from tests.conftest import SHARE_A_WORKSPACE
from tests.workspaces import PROJECT

SOURCES, TESTS = PROJECT / "src/wmtp", PROJECT / "tests"

WIRING = "wiring: which tables, which model, which output. What it joins has its tests; as a stage it runs in"
GUEST = (
    "runs in a process of its own inside of the sandbox, on file descriptors that it inherits: programs are run through it in"
)
USED = "one part of what runs a program, and seen by what programs can do, in"
ELSEWHERE = {
    "models/slices.py": ("needs several ranks:", "distributed/test_slices.py"),
    "models/token_order.py": ("needs several ranks:", "distributed/test_token_order.py"),
    "stages/evaluate_documents.py": (WIRING, "integration/test_documents.py"),
    "stages/score_base.py": (WIRING, "distributed/test_scoring.py"),
    "stages/score_reference.py": (WIRING, "distributed/test_determinism.py"),
    "stages/score_start.py": (WIRING, "distributed/test_scoring.py"),
    "stages/score_values.py": (WIRING, "distributed/test_determinism.py"),
    "stages/score_wrong.py": (WIRING, "distributed/test_scoring.py"),
    "stages/train_policy.py": (WIRING, "distributed/test_result_row.py"),
    "stages/tune_reference.py": (WIRING, "distributed/test_determinism.py"),
    "stages/tune_wrong.py": (WIRING, "distributed/test_scoring.py"),
    "stages/tuning.py": (WIRING, "distributed/test_determinism.py"),
    "sandbox/guest/sandbox_candidate.py": (GUEST, "unit/sandbox/test_asserts.py"),
    "sandbox/guest/sandbox_clock.py": (GUEST, "unit/sandbox/test_busy.py"),
    "sandbox/guest/sandbox_memory.py": (GUEST, "unit/sandbox/test_pool.py"),
    "sandbox/guest/sandbox_program.py": (GUEST, "unit/sandbox/test_script.py"),
    "sandbox/guest/sandbox_root.py": (GUEST, "unit/sandbox/test_conformance.py"),
    "sandbox/guest/sandbox_seccomp.py": (GUEST, "unit/sandbox/test_abuse.py"),
    "sandbox/guest/sandbox_server.py": (GUEST, "unit/sandbox/test_pool.py"),
    "sandbox/guest/sandbox_spawner.py": (GUEST, "unit/sandbox/test_abuse.py"),
    "sandbox/guest/sandbox_watch.py": (GUEST, "unit/sandbox/test_pool.py"),
    "sandbox/isolation.py": (USED, "unit/sandbox/test_pool.py"),
    "sandbox/machine.py": (USED, "unit/sandbox/test_pool.py"),
    "sandbox/worker.py": (USED, "unit/sandbox/test_pool.py"),
}
"""Module -> why it has no file of tests of its name, and the file in which it is tested."""

OF_MANY = {
    "config/test_every_key_is_read.py": "all sections, and whatever reads them",
    "evaluation/test_evaluate_command.py": "evaluation/commands.py, where it asks a model",
    "examples/test_fitting.py": "examples/sources.py, where a row has a length",
    "library/test_make_concepts.py": "docs/make_concepts.py",
    "library/test_names.py": "`import wmtp`",
    "models/test_auto_classes.py": "the package, and what importing it does to transformers",
    "orchestration/test_dvc_yaml.py": "dvc.yaml against the stages' imports",
    "orchestration/test_given.py": "dvc.yaml and what the configuration names from outside",
    "reporting/test_make_figures.py": "docs/make_figures.py",
    "sandbox/test_abuse.py": "attacks on the whole sandbox",
    "sandbox/test_asserts.py": "assert tests against what the field's harnesses make of them",
    "sandbox/test_busy.py": "time limits on a busy machine",
    "sandbox/test_script.py": "programs against what they do by hand",
    "tasksets/test_tasksets.py": "the package, and what holds for every task set",
    "reporting/test_of_checkpoints.py": "a checkpoint that stands beside the arms, from files to page",
    "reporting/test_of_documents.py": "a report on documents, from files to page",
    "training/test_packed_steps.py": "packed rows, from the loader to gradients and scores",
    "weightings/test_foreign.py": "weightings of other packages",
    "weightings/test_own_files.py": "the package, while a file of it is being written",
    "weightings/test_every_weighting.py": "the package, and what holds for every weighting",
    "test_dependencies.py": "pyproject.toml against what the code imports",
    "test_docs.py": "the documentation",
    "test_gpu_benchmark.py": "benchmarks/gpu.py",
    "test_narration.py": "flows/narration.py",
    "test_layout.py": "this",
}
"""Files of tests that are not of one module, and what they are about."""


def modules():
    return {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if not path.name.startswith("__")}


def module_of(path):
    """The module that a file of tests is named after."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.removeprefix('test_')}".lstrip("/")


def files():
    """Of tests, by the module that they are named after."""
    unit = TESTS / "unit"
    return {module_of(path): path for path in (str(path.relative_to(unit)) for path in unit.rglob("test_*.py"))}


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_has_its_tests_under_its_own_name_or_a_reason(module):
    folder, _, name = module.rpartition("/")
    assert (module in files()) != (module in ELSEWHERE), f"tests/unit/{folder}/test_{name}: write it, or give a reason here"


def test_reasons_are_of_modules_and_files_that_there_are():
    assert ELSEWHERE.keys() <= modules()
    assert [path for _, path in ELSEWHERE.values() if not (TESTS / path).is_file()] == []


def test_a_file_of_tests_is_named_after_its_module_or_says_what_it_is_about():
    named = {path for module, path in files().items() if module in modules()}
    assert set(files().values()) - named == OF_MANY.keys()


def test_wiring_has_no_logic_that_a_test_of_its_own_would_find():
    """Three functions at most: whoever puts more into such a stage writes its test."""
    for module, (reason, _) in ELSEWHERE.items():
        if reason == WIRING:
            functions = re.findall(r"^ *def (\w+)", (SOURCES / module).read_text(), re.MULTILINE)
            assert len(functions) <= 3, f"{module} has {', '.join(functions)}: test them"


def test_one_process_runs_all_that_needs_the_workspace_of_the_toy_profile():
    """Each that runs a part of it spends two minutes on one of its own."""
    texts = {path.stem: path.read_text() for path in (TESTS / "integration").glob("test_*.py")}
    asks = re.compile(r"^(def test_|@pytest\.fixture.*\ndef )\w+\(.*\b(workspace|fresh)\b.*\):$", re.MULTILINE)
    own = re.compile(r"^@pytest\.fixture.*\ndef workspace\(", re.MULTILINE)
    assert sorted(name for name, text in texts.items() if asks.search(text) and not own.search(text)) == [*SHARE_A_WORKSPACE]
