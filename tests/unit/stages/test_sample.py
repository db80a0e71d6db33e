"""The whole stage with the real sandbox: labels are what programs do, counts add up, outputs are reproducible."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from wmtp.config import compose
from wmtp.config.schema import DataConfig, NoiseConfig
from wmtp.errors import DataError
from wmtp.examples.labels import make_examples
from wmtp.problems.files import read_problems
from wmtp.sandbox.pool import run_tests
from wmtp.stages import sample
from wmtp.stages.context import StageContext
from wmtp.synthetic.generate import generate
from wmtp.tokens.tables import read_table
from wmtp.tokens.tokenizer import load_tokenizer
from wmtp.types import AssertTest, Limits, Problem, Program, Solution, Verdict

OVERRIDES = (
    "data.num_problems=30",
    "data.num_reference_problems=8",
    "data.num_validation_problems=6",
    "data.num_test_problems=4",
)
TABLES = ("train", "reference", "critic", "validation", "critic_validation")


def execute(programs):
    return run_tests(programs, limits=Limits(), num_workers=4)


def run_stage(root, config, folder):
    context = StageContext(
        name="sample",
        root=root,
        outputs={"artifacts/data": folder},
        resume=folder,
        fingerprint="",
        launch=SimpleNamespace(sandbox_workers=4),
        tracker=SimpleNamespace(),
    )
    return sample.run(config, context)


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    config = compose(request.config.rootpath, "toy", overrides=OVERRIDES)
    return config, folder, run_stage(request.config.rootpath, config, folder)


def test_tables_have_the_columns_and_the_label_of_every_row_is_what_its_program_does(made):
    config, folder, _ = made
    tokenizer = load_tokenizer(folder / "tokenizer").tokenizer
    tests = {problem.problem_id: problem.tests for problems in generate(config.data).values() for problem in problems}
    programs, labels = [], []
    for name in ("train", "reference", "validation", "critic_validation"):
        for row in read_table(folder / f"{name}.arrow").to_pylist():
            code = tokenizer.decode(row["input_ids"][row["prompt_len"] : -1], skip_special_tokens=False)
            programs.append(Program(code, tests[row["problem_id"]], Limits(2.0)))
            labels.append(row["is_correct"])
            assert len(row["is_noise"]) == len(row["input_ids"]) <= config.data.max_length
            assert any(row["is_noise"]) == (row["noise_kind"] != "")
            assert not any(row["is_noise"][: row["prompt_len"]])
    assert [verdict.passed for verdict in execute(programs)] == labels and len(set(labels)) == 2


def test_reference_and_validation_are_clean_and_correct_and_the_critic_sees_the_policys_mix(made):
    _, folder, _ = made
    tables = {name: read_table(folder / f"{name}.arrow") for name in TABLES}
    for name in ("reference", "validation"):
        assert set(tables[name]["noise_kind"].to_pylist()) == {""} and all(tables[name]["is_correct"].to_pylist())
    assert tables["critic"].equals(tables["train"], check_metadata=True)
    ids = {name: set(table["problem_id"].to_pylist()) for name, table in tables.items()}
    assert ids["critic_validation"] <= ids["validation"] and not ids["train"] & (ids["reference"] | ids["validation"])
    assert len({p.problem_id for p in read_problems(folder / "test_problems.jsonl")} - ids["validation"]) == 4


def test_counts_add_up_and_are_written(made):
    config, folder, result = made
    meta = json.loads((folder / "meta.json").read_text())
    counts = meta["counts"]
    assert counts == result.counts and meta["statistics"] == result.metrics
    assert {"vocab_size", "eos_token_id", "pad_token_id", "max_length", "tokenizer_sha256"} < meta.keys()
    for name in TABLES[:2] + TABLES[3:]:
        assert read_table(folder / f"{name}.arrow").num_rows == counts[f"{name}_examples"]
    dropped = ("right_that_fail", "wrong_not_found", "without_partner", "duplicate_examples", "over_correct_ratio", "too_long")
    assert counts["train_examples"] + sum(counts.get(f"train_{name}", 0) for name in dropped) == 2 * config.data.num_problems
    assert counts["train_right_that_fail"] == 0 and counts["test_problems"] == 4


def test_the_same_configuration_gives_the_same_bytes(made, request, tmp_path):
    config, folder, _ = made
    run_stage(request.config.rootpath, config, tmp_path)
    for path in folder.rglob("*.*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_sampling_options_reach_the_table(made, request, tmp_path):
    config, _, _ = made
    data = replace(config.data, curriculum=True, correct_ratio=0.25, num_problems=15)
    run_stage(request.config.rootpath, replace(config, data=data), tmp_path)
    table = read_table(tmp_path / "train.arrow")
    assert sum(table["is_correct"].to_pylist()) / table.num_rows == pytest.approx(0.25, abs=0.05)
    assert table["difficulty"].to_pylist() == sorted(table["difficulty"].to_pylist())


FILE = DataConfig(source="jsonl", train_path="x", validation_path="x", noise=NoiseConfig(frac=0.0))
TESTS = (AssertTest("assert f(2) == 5"), AssertTest("assert f(0) == 1"))
GOOD, BAD = "def f(x):\n    return x * 2 + 1", "def f(x):\n    return x + 1"


def test_solutions_whose_verdict_contradicts_their_label_are_dropped_and_counted():
    problems = [
        Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True), Solution(BAD, True), Solution(BAD, False))),
        Problem("b", "B.", TESTS, solutions=(Solution(GOOD, True), Solution(GOOD + " ", False))),
    ]
    counts = {}
    config = replace(FILE, mutants_per_solution=0, pairwise=False)
    examples = make_examples(problems, config, execute, split="train", noisy=True, wrong=True, counts=counts)
    assert [(e.problem_id, e.code, e.is_correct) for e in examples] == [("a", GOOD, True), ("a", BAD, False), ("b", GOOD, True)]
    assert (counts["train_right_that_fail"], counts["train_wrong_that_pass"]) == (1, 1)


def test_wrong_solutions_are_different_mutants_that_fail():
    config = replace(FILE, mutants_per_solution=3, pairwise=False, max_per_problem=4)
    problem = Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),))
    examples = make_examples([problem], config, execute, split="train", noisy=True, wrong=True, counts={})
    assert [example.is_correct for example in examples] == [True, False, False, False]
    assert len({example.code for example in examples}) == 4


def test_a_solution_without_a_wrong_partner_is_dropped_where_pairs_are_asked_for():
    problems = [
        Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),)),
        Problem("b", "B.", (AssertTest("pass"),), solutions=(Solution("x = 1", True),)),
    ]
    counts = {}
    examples = make_examples(problems, FILE, execute, split="train", noisy=True, wrong=True, counts=counts)
    assert [(e.problem_id, e.is_correct) for e in examples] == [("a", True), ("a", False)]
    assert (counts["train_wrong_not_found"], counts["train_without_partner"]) == (1, 1)


def test_mismatched_noise_takes_another_problems_solution():
    noise = NoiseConfig(frac=1.0, comments=0, boilerplate=0, corrupted=0, mismatched=1)
    problems = [
        Problem("a", "A.", TESTS, solutions=(Solution(GOOD, True),)),
        Problem("b", "B.", (AssertTest("assert g() == 1"),), solutions=(Solution("def g():\n    return 1", True),)),
    ]
    config = replace(FILE, noise=noise)
    examples = make_examples(problems, config, execute, split="train", noisy=True, wrong=False, counts={})
    assert [(e.problem_id, e.code[:5], e.is_correct) for e in examples] == [("a", "def g", False), ("b", "def f", False)]
    assert all(e.noise_spans == ((0, len(e.code)),) for e in examples)


def test_no_solution_that_passes_and_a_broken_sandbox_are_errors():
    problem = Problem("a", "A.", TESTS, solutions=(Solution(BAD, True),))
    with pytest.raises(DataError, match="train: none of the 1 problems has a solution that passes"):
        make_examples([problem], FILE, execute, split="train", noisy=False, wrong=False, counts={})
    with pytest.raises(DataError, match="the sandbox could not run 1 of 1 programs: no fork"):
        broken = [Verdict("sandbox_error", 2, 0, detail="no fork")]
        make_examples([problem], FILE, lambda programs: broken, split="train", noisy=False, wrong=False, counts={})


def test_the_stage_needs_neither_torch_nor_transformers():
    heavy = "{'torch', 'transformers', 'datasets'}"
    script = f"import sys, wmtp.stages.sample, wmtp.sandbox.pool; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
