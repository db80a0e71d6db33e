"""The whole stage with the real sandbox: labels are what programs do, counts add up, outputs are reproducible."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wmtp.config import compose
from wmtp.config.data import DataConfig, TokenizerConfig
from wmtp.problems.files import read_problems
from wmtp.sandbox.pool import run_tests
from wmtp.stages import sample
from wmtp.stages.context import StageContext
from wmtp.synthetic.generate import generate
from wmtp.tokens.tables import read_table
from wmtp.tokens.tokenizer import load_tokenizer
from wmtp.types import Limits, Program

pytestmark = pytest.mark.slow

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
        outputs={"artifacts/data": folder, "artifacts/card": folder.with_name(f"{folder.name}-card")},
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


def test_what_went_and_what_had_run_before_is_said_once(made, request, tmp_path, capsys):
    config, _, result = made
    capsys.readouterr()
    run_stage(request.config.rootpath, config, tmp_path / "again")
    lines = capsys.readouterr().out.splitlines()
    before = [line for line in lines if line.endswith("programs have run before")]
    known, asked = (int(before[0].split()[at]) for at in (1, 3))
    assert len(before) == 1 and known == asked > 30
    dropped = {name.split("/problems/")[0] for name, number in result.counts.items() if "/problems/dropped/" in name and number}
    said = [
        line.removeprefix("sample: ").split(" problems: ")[0] for line in lines if " problems: " in line and " kept" in line
    ]
    assert sorted(said) == sorted(dropped) and said


def test_reference_and_validation_are_clean_and_correct_and_the_critic_sees_the_policys_mix(made):
    _, folder, _ = made
    tables = {name: read_table(folder / f"{name}.arrow") for name in TABLES}
    for name in ("reference", "validation"):
        assert set(tables[name]["noise_kind"].to_pylist()) == {""} and all(tables[name]["is_correct"].to_pylist())
    assert tables["critic"].equals(tables["train"], check_metadata=True)
    ids = {name: set(table["problem_id"].to_pylist()) for name, table in tables.items()}
    assert ids["critic_validation"] <= ids["validation"] and not ids["train"] & (ids["reference"] | ids["validation"])
    assert len({p.problem_id for p in read_problems(folder / "test_problems.jsonl")} - ids["validation"]) == 4


def lines_that_add_up(folder):
    """meta.json's counts as (name, unit) -> {"read", "dropped/...", "kept", ...}, each equation worked out here."""
    lines = {}
    for key, number in json.loads((folder / "meta.json").read_text())["counts"].items():
        room, name, unit, part = key.split("/", 3)
        lines.setdefault((f"{room}/{name}", unit), {})[part] = number
    for line in lines.values():
        came = sum(number for part, number in line.items() if part == "read" or part.startswith("made/"))
        assert came == sum(number for part, number in line.items() if part == "kept" or part.startswith("dropped/"))
    return lines


def assert_tables_are_what_was_kept(folder, lines):
    for name in ("train", "reference", "validation", "critic_validation"):
        table, split = read_table(folder / f"{name}.arrow"), name.removeprefix("critic_")
        assert table.num_rows == lines[f"table/{name}", "solutions"]["kept"]
        assert len(set(table["problem_id"].to_pylist())) == lines[f"table/{name}", "problems"]["kept"]
        for unit in ("problems", "solutions"):
            assert lines[f"table/{name}", unit]["read"] == lines[f"split/{split}", unit]["kept"]
    assert len(read_problems(folder / "test_problems.jsonl")) == lines["split/test", "problems"]["kept"]


def test_counts_add_up_and_are_written(made):
    config, folder, result = made
    meta, lines = json.loads((folder / "meta.json").read_text()), lines_that_add_up(folder)
    assert meta["counts"] == result.counts and meta["statistics"] == result.metrics
    assert {"vocab_size", "eos_token_id", "pad_token_id", "max_length", "tokenizer_sha256"} < meta.keys()
    rows = [row for path in folder.glob("*.arrow") for row in read_table(path)["input_ids"].to_pylist()]
    assert meta["largest_token_id"] == max(map(max, rows)) < meta["vocab_size"]
    assert_tables_are_what_was_kept(folder, lines)
    for split, number in (("train", 30), ("reference", 8), ("validation", 6), ("test", 4)):
        made_up = lines[f"source/{split}", "problems"]
        assert made_up["kept"] == number == lines[f"split/{split}", "problems"]["read"]
        redrawn = made_up.get("dropped/constant_answer", 0) + made_up.get("dropped/repeated_statement", 0)
        assert made_up["made/drawn"] == number + redrawn
    train = lines["table/train", "solutions"]
    assert train["read"] == train["made/mutants_wanted"] == config.data.num_problems
    assert train["dropped/right_that_fail"] == 0
    assert lines["source/train", "depths"] == {"read": 3, "dropped/difficulty_of_weight_0": 0, "kept": 3}


def mbpp_record(number, word="thing", **fields):
    """A line of MBPP's full configuration."""
    return {
        "task_id": number,
        "text": f"Write a function that returns {word} number {number}.",
        "code": f"def f(x):\r\n    return x + {number}\r\n",
        "test_list": [f"assert f(1) == {number + 1}", f"assert f(5) == {number + 5}"],
        "test_setup_code": "",
    } | fields


def codecontests_record(number, word="thing", *, right=2, wrong=2, cpp=1, tests=2, **fields):
    """A row of CodeContests as on the hub: nested lists, solutions in several languages."""

    def solutions(codes, others):
        return {"language": [3] * len(codes) + [2] * others, "solution": codes + ["int main() {}"] * others}

    pairs = [(f"{i}\n", f"{i + number}\n") for i in range(tests)]
    return {
        "name": f"{number}_{word}",
        "description": f"Print {word} number {number}.",
        "public_tests": {"input": [a for a, _ in pairs[:1]], "output": [b for _, b in pairs[:1]]},
        "private_tests": {"input": [a for a, _ in pairs[1:]], "output": [b for _, b in pairs[1:]]},
        "generated_tests": {"input": [], "output": []},
        "solutions": solutions([f"print(int(input()) + {number})" + " " * i for i in range(right)], cpp),
        "incorrect_solutions": solutions([f"print(int(input()) - {number + 1 + i})" for i in range(wrong)], cpp),
        "cf_rating": 800 + 100 * (number % 3),
        "time_limit": {"seconds": 2, "nanos": 0},
        "memory_limit_bytes": 256 * 2**20,
    } | fields


def jsonl_record(number, word="thing", **fields):
    """A line of wmtp's own format."""
    return {
        "problem_id": f"{word}-{number}",
        "prompt": f"Print {word} number {number}.",
        "tests": [{"stdin": f"{i}\n", "stdout": f"{i * number}\n"} for i in (2, 3)],
        "solutions": [{"code": f"print(int(input()) * {number})", "is_correct": True}],
    } | fields


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_parquet(path, records):
    pq.write_table(pa.Table.from_pylist(records), path)


def small(config, **changes):
    data = {"num_problems": None, "num_reference_problems": 3, "num_validation_problems": 3, "num_test_problems": 5}
    tokenizer = TokenizerConfig(vocab_size=300)
    return replace(
        config, data=DataConfig(**data | {"max_length": 160, "tokenizer": tokenizer, "benchmark_similarity": None} | changes)
    )


def mbpp(folder):
    records = [mbpp_record(i, task_id=600 + i) for i in range(1, 13)]  # training's numbers, in MBPP's one file
    records[3]["test_list"] = ["assert f(1) == 0"]  # its solution fails
    records[4]["code"] = "def f(x):\n" + "    x = x + 0  # nothing\n" * 40 + "    return x + 5"  # too long
    held_out = [mbpp_record(i, "other") for i in range(101, 106)]
    copies = [mbpp_record(i, task_id=600 + i, text=text) for i, text in ((77, held_out[0]["text"]), (78, records[0]["text"]))]
    write_lines(folder / "train.jsonl", [*records, *copies])
    write_lines(folder / "held_out.jsonl", held_out)
    return (
        {"mutants_per_solution": 2, "max_per_problem": 3, "pairwise": False},
        (14, 14),
        (1, 1),
        ("right_that_fail", "too_long"),
    )


def codecontests(folder):
    records = [codecontests_record(i, right=2 + i % 3) for i in range(1, 11)]
    records += [codecontests_record(11, wrong=0), codecontests_record(12, right=0), codecontests_record(13, tests=0)]
    mislabelled = codecontests_record(14, wrong=0)
    mislabelled["incorrect_solutions"] = {"language": [3], "solution": ["print(int(input()) + 14)"]}
    held_out = [codecontests_record(i, "other") for i in range(101, 106)]
    write_parquet(
        folder / "train.parquet", [*records, mislabelled, codecontests_record(15, description=held_out[0]["description"])]
    )
    write_parquet(folder / "held_out.parquet", held_out)
    num_solutions = sum(2 + i % 3 + 4 for i in range(1, 11)) + 4 + 4 + 6 + 4 + 6
    reasons = ("without_partner", "wrong_that_pass")
    changes = {"mutants_per_solution": 0, "max_per_problem": 4, "seed": 1}  # which draws the mislabelled one to train on
    return changes, (15, num_solutions), (1, 0), reasons


def jsonl(folder):
    records = [jsonl_record(i) for i in range(2, 12)]
    for record in records[::2]:
        record["solutions"] = [*record["solutions"], {"code": "print(input())", "is_correct": False}] * 2
    write_lines(
        folder / "train.jsonl", [*records, jsonl_record(90, prompt=records[0]["prompt"]), jsonl_record(91, solutions=[])]
    )
    write_lines(folder / "held_out.jsonl", [jsonl_record(i, "other") for i in range(101, 106)])
    return {"correct_ratio": 0.75, "pairwise": False}, (12, 10 + 5 * 3 + 1), (0, 1), ("over_correct_ratio",)


def texts_in(path):
    """Every text that a source file holds, by row (lines from 1, rows of tables from 0) and place, read here."""
    if path.suffix == ".parquet":
        lists = {
            (row, name): record[name]["solution"]
            for row, record in enumerate(pq.read_table(path).to_pylist())
            for name in ("solutions", "incorrect_solutions")
        }
    else:
        records = {row: json.loads(line) for row, line in enumerate(path.read_text().splitlines(), 1)}
        lists = {
            (row, "solutions"): [s["code"] for s in record["solutions"]] if "solutions" in record else [record["code"]]
            for row, record in records.items()
        }
    return {(row, f"{name}[{i}]"): text for (row, name), texts in lists.items() for i, text in enumerate(texts)}


def assert_rows_are_where_they_say(folder, root, train):
    tokenizer, texts = load_tokenizer(folder / "tokenizer").tokenizer, texts_in(train)
    rows = read_table(folder / "train.arrow").to_pylist()
    for row in (row for row in rows if row["origin"] != "mutant" and not row["noise_kind"]):
        code = tokenizer.decode(row["input_ids"][row["prompt_len"] : -1], skip_special_tokens=False)
        there = texts[row["source_row"], row["solution"]]
        assert code.strip() == there.replace("\r\n", "\n").strip() and root / row["source_file"] == train
    assert {row["source_file"] for row in rows} == {train.name} and {"", "passed", "wrong_answer"} & {r["status"] for r in rows}


@pytest.mark.parametrize("source", [mbpp, codecontests, jsonl])
def test_every_sources_rows_and_solutions_end_up_in_a_table_or_under_a_reason(made, tmp_path, source):
    changes, read, (contaminated, duplicates), reasons = source(tmp_path)
    (train,), (held_out,) = tmp_path.glob("train.*"), tmp_path.glob("held_out.*")
    changes |= {"source": source.__name__, "train_path": str(train), "validation_path": str(held_out)}
    out = tmp_path / "out"
    result = run_stage(tmp_path, small(made[0], **changes), out)
    lines = lines_that_add_up(out)
    assert_tables_are_what_was_kept(out, lines)
    assert_rows_are_where_they_say(out, tmp_path, train)
    sources = json.loads((out / "meta.json").read_text())["sources"]
    assert [name for name, _, _ in sources] == sorted([held_out.name, train.name])
    assert result.counts == json.loads((out / "meta.json").read_text())["counts"]
    problems, solutions = lines["source/train", "problems"], lines["source/train", "solutions"]
    assert (problems["read"], solutions["read"]) == read and lines["source/validation", "problems"]["read"] == 5
    assert problems["dropped/contaminated"] == contaminated
    assert problems.get("dropped/duplicate_statement", 0) == duplicates
    for split in ("train", "reference"):
        assert lines[f"split/{split}", "problems"]["read"] == problems["kept"]
        assert lines[f"split/{split}", "solutions"]["read"] == solutions["kept"]
    for reason in reasons:
        assert any(line.get(f"dropped/{reason}") for line in lines.values()), reason


def test_a_step_that_loses_a_row_stops_the_stage_before_anything_is_written(made, tmp_path, monkeypatch):
    whole = sample.make_examples

    def loses_one(*args, **options):
        examples, check = whole(*args, **options)
        return examples[1:], check

    monkeypatch.setattr(sample, "make_examples", loses_one)
    with pytest.raises(AssertionError, match=r"table/train solutions: .* does not add up: 1 solutions unaccounted for"):
        run_stage(tmp_path, made[0], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.*"))


def test_the_same_configuration_gives_the_same_bytes(made, request, tmp_path):
    config, folder, _ = made
    run_stage(request.config.rootpath, config, tmp_path)
    for path in folder.rglob("*.*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_sampling_options_reach_the_table(made, request, tmp_path):
    config, _, _ = made
    data = replace(config.data, curriculum=True, correct_ratio=0.25, pairwise=False, num_problems=15)
    run_stage(request.config.rootpath, replace(config, data=data), tmp_path)
    table = read_table(tmp_path / "train.arrow")
    assert sum(table["is_correct"].to_pylist()) / table.num_rows == pytest.approx(0.25, abs=0.05)
    assert table["difficulty"].to_pylist() == sorted(table["difficulty"].to_pylist())


def test_the_stage_needs_neither_torch_nor_transformers():
    heavy = "{'torch', 'transformers', 'datasets'}"
    script = f"import sys, wmtp.stages.sample, wmtp.sandbox.pool; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_worked_answers_and_bodies_of_functions_are_learnt_from_as_they_are(request, tmp_path):
    rows = [
        {"question": f"Ann has {i} eggs and buys {i}. How many?", "answer": f"{i}+{i} = {2 * i}\n#### {2 * i}"}
        for i in range(30)
    ]
    body = {"test": "def check(f):\n    assert f(1)\n", "entry_point": "f"}
    heads = [f'def f(x):\n    """Add the number {n} to x."""\n' for n in range(30)]
    bodies = [
        {**body, "task_id": f"HumanEval/{n}", "prompt": head, "canonical_solution": f"    return x + {n}\n"}
        for n, head in enumerate(heads)
    ]
    trusted = ("data.labels=trusted", "data.mutants_per_solution=0", "data.noise.frac=0", "data.pairwise=false")
    sizes = (
        "data.num_problems=null",
        "data.num_reference_problems=4",
        "data.num_validation_problems=3",
        "data.num_test_problems=2",
    )
    for source, records, shown in (("gsm8k", rows, "Answer: "), ("humaneval", bodies, '"""\n    return x + ')):
        for name, part in (("train", records[:20]), ("held", records[20:])):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in part))
        paths = (f"data.train_path={tmp_path / 'train.jsonl'}", f"data.validation_path={tmp_path / 'held.jsonl'}")
        overrides = [f"data.source={source}", "data.benchmark_similarity=null", *trusted, *sizes, *paths]
        config = compose(request.config.rootpath, "toy", arms=["baseline"], overrides=overrides)
        run_stage(request.config.rootpath, config, tmp_path / source)
        text, table = load_tokenizer(tmp_path / source / "tokenizer"), read_table(tmp_path / source / "train.arrow")
        assert table.num_rows == 16 and all(table["is_correct"].to_pylist()) and set(table["status"].to_pylist()) == {""}
        assert all(shown in text.decode(ids) for ids in table["input_ids"].to_pylist())


def test_the_profile_needs_the_paths_alone_of_a_folder_in_the_hubs_layout(request, tmp_path):
    """Shards of all splits in one folder, right and wrong solutions in several languages. What else is set makes it small."""
    hub = tmp_path / "code_contests/data"
    hub.mkdir(parents=True)
    shards = {"train-00000-of-00002-e991a271": (1, 7), "train-00001-of-00002-e991a271": (7, 13)}
    shards |= {"valid-00000-of-00001-5e672c57": (101, 106), "test-00000-of-00001-9c49eeff": (201, 206)}
    for name, (first, last) in shards.items():
        word, numbers = name.partition("-")[0], range(first, last)
        told = {number: " ".join(f"{word}{number * 7919 + i}" for i in range(12)) for number in numbers}
        write_parquet(hub / f"{name}.parquet", [codecontests_record(n, word, description=text) for n, text in told.items()])
    paths = [f"data.{name}_path={hub.parent}" for name in ("train", "validation", "test")]
    small = ("reference_problems=3", "validation_problems=3", "test_problems=4")
    sizes = [*(f"data.num_{each}" for each in small), "data.max_length=500", "data.tokenizer.vocab_size=300"]
    config = compose(request.config.rootpath, "codecontests", overrides=[*paths, *sizes])
    run_stage(tmp_path, config, tmp_path / "out")
    lines = lines_that_add_up(tmp_path / "out")
    assert_tables_are_what_was_kept(tmp_path / "out", lines)
    assert lines["source/train", "solutions"]["dropped/other_language_cpp"] == 2 * 12
    rows = read_table(tmp_path / "out/train.arrow").to_pylist()
    assert (
        len(rows) == 9 * 4
        and sum(row["is_correct"] for row in rows) == 9 * 2
        and {row["language"] for row in rows} == {"python3"}
    )
    assert {row["source_file"] for row in rows} == {f"code_contests/data/{name}.parquet" for name in shards if "train" in name}
    tested = {problem.problem_id.rpartition("_")[2] for problem in read_problems(tmp_path / "out/test_problems.jsonl")}
    assert tested == {"test"} and not set(read_table(tmp_path / "out/train.arrow")["noise_kind"].to_pylist()) - {""}
