"""Results that stand beside the arms: a dependency of the report, refused where they are not of evaluations like the runs'."""

import hashlib
import json

import pytest

from tests.unit.config.own_files import configured, workspace
from wmtp.config import compose
from wmtp.config.beside import facts_due, facts_of, require_problems
from wmtp.config.given import refused, require_given
from wmtp.config.inputs import InputsConfig
from wmtp.errors import ConfigError

KEY = "report.beside.theirs"


@pytest.fixture
def root(tmp_path):
    return workspace(tmp_path)


def write_results(root, **changes):
    """Of an evaluation as `configured` has it, `changes` by dotted place."""
    due = {**facts_due(configured(root).evaluate), **{key.replace("__", "."): value for key, value in changes.items()}}
    metrics = {"model": "org/theirs"}
    for place, value in due.items():
        *path, last = place.split(".")
        inner = metrics
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = value
    folder = root / "results/theirs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "per_task.csv").touch()
    return folder


def refusal(root, **settings):
    with pytest.raises(ConfigError) as caught:
        require_given(root, configured(root, **{KEY: "results/theirs", **settings}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_folder_is_a_dependency_and_places_that_are_not_needed_name_what_is_there(root):
    assert configured(root).inputs.beside == ["artifacts/data"] * 4 == InputsConfig().beside
    config = configured(root, **{KEY: "results/theirs", "report.beside.others": "/elsewhere/others"})
    assert config.inputs.beside == ["/elsewhere/others", "results/theirs", "artifacts/data", "artifacts/data"]


def test_what_is_like_the_runs_passes(root):
    write_results(root, sampling__seed=7)
    require_given(root, configured(root, **{KEY: "results/theirs"}))


def test_a_folder_that_is_not_there_or_holds_something_else_is_refused(root):
    assert refusal(root).startswith(f"{KEY}=results/theirs does not exist (paths are relative to ")
    folder = root / "results/theirs"
    folder.mkdir(parents=True)
    writes = "is not what `wmtp evaluate ... --out FOLDER` writes"
    assert refusal(root) == f"{KEY}=results/theirs {writes}: it has no metrics.json"
    (folder / "metrics.json").write_text("{")
    assert refusal(root).startswith(f"{KEY}=results/theirs {writes}: ")
    (folder / "metrics.json").write_text("[1]")
    assert refusal(root) == f"{KEY}=results/theirs {writes}: it has no model"
    (write_results(root) / "per_task.csv").unlink()
    assert refusal(root) == f"{KEY}=results/theirs {writes}: it has no per_task.csv"
    (root / "a-file").touch()
    assert refusal(root, **{KEY: "a-file"}) == f"{KEY}=a-file {writes}: it has no metrics.json"


def test_what_stages_make_is_no_such_folder(root):
    (root / "artifacts/evaluation/x").mkdir(parents=True)
    assert "a path outside of artifacts/" in refusal(root, **{KEY: "artifacts/evaluation/x"})


@pytest.mark.parametrize(
    ("place", "value", "option"),
    [
        ("num_samples", 3, "--num-samples"),
        ("limit", 5, "--limit"),
        ("sampling__temperature", 0.2, "--temperature"),
        ("sampling__top_p", 0.5, "--top-p"),
        ("sampling__max_new_tokens", 7, "--max-new-tokens"),
        ("benchmark", "mbpp", "the benchmark"),
    ],
)
def test_what_was_drawn_otherwise_is_refused_before_anything_starts(root, place, value, option):
    write_results(root, **{place: value})
    name, due = place.replace("__", "."), facts_due(configured(root).evaluate)
    said = f"has {name}={value!r}, and the runs have {due[name]!r}: evaluate it again with the same ({option})"
    assert refusal(root) == f"{KEY}=results/theirs {said}"
    assert [key for key, _ in refused(root, configured(root, **{KEY: "results/theirs"}))] == [KEY]


def test_facts_are_read_from_where_they_are_due(root):
    due = facts_due(configured(root).evaluate)
    found = facts_of(json.loads((write_results(root) / "metrics.json").read_text()))
    assert {name: found[name] for name in due} == due
    assert found["dataset.md5"] is None


def test_results_of_other_problems_than_those_that_are_there_are_refused(root):
    problems = root / "artifacts/data/test_problems.jsonl"
    problems.parent.mkdir(parents=True)
    problems.write_text("{}\n")
    digest = hashlib.md5(b"{}\n").hexdigest()
    config = configured(root, **{KEY: "results/theirs"})
    write_results(root, dataset__md5=digest)
    require_problems(root, config)
    write_results(root, dataset__md5="0")
    with pytest.raises(
        ConfigError, match=rf"^{KEY}=results/theirs has dataset\.md5='0', and the runs have '{digest}': [^\n]*--data"
    ):
        require_problems(root, config)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"report.beside.baseline": "x"}, r"report\.beside\.baseline='x' is not allowed: another name: an arm has this one"),
        (
            {"report.beside.critic": "x"},
            r"report\.beside\.critic='x' is not allowed: another name: in the report's metrics\.json",
        ),
        ({"report.beside": "{a.b: x}"}, r"report\.beside=.* is not allowed: at most 4 folders of results, each with a name"),
        ({KEY: "''"}, r"report\.beside=.* is not allowed: at most 4 folders"),
        ({"report.beside": "{a: a, b: b, c: c, d: d, e: e}"}, r"report\.beside=.* is not allowed: at most 4 folders"),
        ({"report.beside": "results/theirs"}, r"report\.beside"),
    ],
)
def test_names_that_cannot_be(root, settings, said):
    with pytest.raises(ConfigError, match=said):
        configured(root, **settings)


def test_documents_are_not_evaluated_so(root):
    given = ["data.train_path=a.jsonl", f"{KEY}=results/theirs"]
    with pytest.raises(ConfigError, match=rf"^{KEY}='results/theirs' is not allowed: absent: data\.source=text"):
        compose(root, "text", overrides=given)
