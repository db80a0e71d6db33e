"""Experiments of a real DVC repository: recorded here, and read by DVC's own commands; and the other way round."""

import json

import pytest

from tests.unit.orchestration.conftest import dvc, git
from wmtp.errors import ConfigError
from wmtp.orchestration.experiments import cached_files, differing, find, find_all, keep, record, restore
from wmtp.orchestration.pipeline import read_graph

pytestmark = pytest.mark.slow

PARAMS = """profile: toy
size: {{n: {n}, m: 2}}
arms: {{base: {{lr: 1}}, other: {{lr: {lr}}}}}
runs:
  a: {{arm: base, seed: 0}}
  b: {{arm: other, seed: 0}}
"""


@pytest.fixture
def root(pipeline):
    """The small pipeline, committed."""
    text = (pipeline / "dvc.yaml").read_text().replace("params: [size]", "params: [size, arms]")
    (pipeline / "dvc.yaml").write_text(text)
    (pipeline / ".gitignore").write_text("/artifacts\n.wmtp/\n")
    (pipeline / "params.yaml").write_text(PARAMS.format(n=1, lr=1))
    git(pipeline, "add", "--all")
    git(pipeline, "commit", "--quiet", "--message", "first")
    return pipeline


def run(root, n=1, lr=1):
    (root / "params.yaml").write_text(PARAMS.format(n=n, lr=lr))
    dvc(root, "repro")
    return record(root, read_graph(root, ["report"]))


def shown_by_dvc(root):
    """Names by baseline's commit, as `dvc exp show` has them."""
    rows = json.loads(dvc(root, "exp", "show", "--json", "--all-commits"))
    return {row["rev"]: {one["name"] for one in row["experiments"] or ()} for row in rows if row["rev"] != "workspace"}


def test_what_was_run_is_an_experiment_of_dvcs_and_nothing_in_the_workspace_moves(root):
    (root / "notes").write_text("x")
    before = git(root, "rev-parse", "HEAD")
    first, second = run(root), run(root, n=2)
    assert git(root, "rev-parse", "HEAD") == before and git(root, "diff", "--cached", "--name-only") == ""
    assert [one.name for one in find_all(root)] == sorted([first.name, second.name], key=[first.name, second.name].index)
    assert shown_by_dvc(root) == {before: {first.name, second.name}}
    assert first.name.startswith("toy-") and first.baseline == before and first.workspace == "."
    assert git(root, "show", f"{second.commit}:notes") == "x"
    assert differing([first, second]) == {"size.n": [1, 2]}
    dvc(root, "exp", "branch", first.name, "kept")
    assert git(root, "rev-parse", "kept") == first.commit
    dvc(root, "exp", "apply", first.name)
    assert "n: 1" in (root / "params.yaml").read_text() and dvc(root, "status").strip() == "Data and pipelines are up to date."


def test_the_same_experiment_is_recorded_once_wherever_it_is_asked_for(root):
    first = run(root)
    assert run(root) == first
    (root / "README").write_text("a commit that decides nothing")
    git(root, "add", "README")
    git(root, "commit", "--quiet", "--message", "second")
    assert run(root) == first
    run(root, n=2)
    assert run(root) == first and len(find_all(root)) == 2


def test_other_outputs_of_the_same_experiment_replace_it(root):
    first = run(root)
    (root / "artifacts/report/x").chmod(0o644)
    (root / "artifacts/report/x").unlink()
    (root / "artifacts/report/x").write_text("2\n")
    dvc(root, "commit", "--force", "report")
    (root / "README").write_text("another commit")
    git(root, "add", "README")
    git(root, "commit", "--quiet", "--message", "second")
    again = record(root, read_graph(root, ["report"]))
    assert (again.name, again.identity) == (first.name, first.identity) and again.commit != first.commit
    assert [one.baseline for one in find_all(root)] == [git(root, "rev-parse", "HEAD")]


def test_what_dvc_saves_is_listed_too(root):
    dvc(root, "repro")
    dvc(root, "exp", "save", "--name", "by-dvc")
    (found,) = find_all(root)
    assert (found.name, found.identity, found.workspace) == ("by-dvc", None, None)
    assert find(root, found.commit[:10]) == found


def test_an_experiment_comes_back_with_its_code_and_its_outputs(root):
    first = run(root)
    (root / "source.txt").write_text("2\n")
    (root / "mine").write_text("only the second has it")
    second = run(root, n=5)
    assert restore(root, first.name) == ["source.txt"]
    dvc(root, "checkout", "--force")
    assert (root / "source.txt").read_text() == (root / "artifacts/data/x").read_text() == "1\n"
    assert (root / "mine").exists(), "the user's, and git has it nowhere"
    assert dvc(root, "status").strip() == "Data and pipelines are up to date."
    assert restore(root, second.name) == ["source.txt"]
    dvc(root, "checkout", "--force")
    assert (root / "artifacts/data/x").read_text() == "2\n"


def test_code_that_is_nowhere_else_is_not_overwritten(root):
    first = run(root)
    (root / "source.txt").write_text("2\n")
    with pytest.raises(ConfigError, match=r"^source.txt would be lost: commit it, or run it"):
        restore(root, first.name)
    assert (root / "source.txt").read_text() == "2\n"
    run(root)
    restore(root, first.name)
    assert (root / "source.txt").read_text() == "1\n"


def test_what_is_the_users_own_stays_where_it_is(root):
    """Data, a model's folder, an arm that is tried next: neither git nor the experiment that comes back has them."""
    first = run(root)
    (root / "mine").mkdir()
    (root / "mine/data.jsonl").write_text("mine\n")
    run(root, n=2)  # which keeps it, too
    (root / "fresh.txt").write_text("newer\n")
    restore(root, first.name)
    assert "n: 1" in (root / "params.yaml").read_text()
    assert ((root / "mine/data.jsonl").read_text(), (root / "fresh.txt").read_text()) == ("mine\n", "newer\n")


def test_a_setting_that_is_null_in_one_of_them_differs(root):
    first, second = run(root, n="null"), run(root, n=2)
    assert differing([first, second])["size.n"] == [None, 2]


def test_outputs_are_found_in_the_cache_or_are_not(root):
    first = run(root)
    outs = first.outs("train@a")
    assert set(outs) == {"artifacts/policy/a"} and first.outs("nothing") == {}
    (files, lost) = cached_files(root, [outs["artifacts/policy/a"], "0" * 32 + ".dir"])
    assert {name: path.read_text() for name, path in files.items()} == {"x": "a\n"} and lost is None
    files["x"].unlink()
    assert cached_files(root, outs.values()) == [None]


def test_an_arm_that_one_of_them_lacks_is_no_difference_of_its_settings(root):
    first, second = run(root), run(root, lr=3)
    (root / "params.yaml").write_text(PARAMS.format(n=1, lr=1).replace("  b: {arm: other, seed: 0}\n", ""))
    assert differing([first, second]) == {"arms.other.lr": [1, 3]}
    dvc(root, "repro", "train@a")
    third = record(root, ["train@a"])
    assert differing([first, third]) == {"arms": [["base", "other"], ["base"]]}


@pytest.mark.parametrize(("name", "line"), [("toy-", "there is no experiment 'toy-'"), ("abc", "there is no experiment 'abc'")])
def test_an_unknown_one_is_refused(root, name, line):
    with pytest.raises(ConfigError, match=f"{line}, and no other: `wmtp run` records one"):
        find(root, name)
    known = run(root)
    with pytest.raises(ConfigError, match=f"{line}.*{known.name if name == 'toy-' else ''}"):
        find(root, name)


def test_without_a_commit_it_is_said_and_nothing_else_happens(made):
    assert keep(made, ["make"]).startswith("is not recorded: ") and "has no commit" in keep(made, ["make"])
