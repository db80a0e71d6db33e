"""Points of a sweep, and which of them are there, on a real DVC repository with simulated results."""

import copy
import shutil

import pytest
import yaml

from tests.unit.test_experiments import ARMS, STAGES, make, run
from tests.workspaces import PROJECT
from wmtp.errors import ConfigError
from wmtp.orchestration.experiments import find
from wmtp.sweeps import compose_points, distinct, find_done, read_recipe

STEPS = "train_policy.train.steps"
FIXED = "report.num_bootstrap=300"  # as `make` has it


def chained(stages):
    """Each of them needs what the one before makes, and the first one needs code."""
    stages = copy.deepcopy(stages)
    stages["sample"]["deps"] = ["code.py"]
    stages["train_policy"]["do"]["deps"] = ["artifacts/data"]
    stages["evaluate"]["do"]["deps"] = ["artifacts/training/${key}"]
    return stages


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two experiments of 300 and 600 steps, whose data are made by a file of code."""
    root = tmp_path_factory.mktemp("sweeps")
    shutil.copytree(PROJECT / "configs", root / "configs")
    (root / "code.py").write_text("1\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": chained(STAGES)}))
    (root / ".gitignore").write_text("/artifacts/\n.wmtp/\n")
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "first")
    return root, [make(root, 300, 0.0), make(root, 600, 0.7)]


def points_of(root, *words):
    return compose_points(root, "demo", [*words, FIXED], arms=ARMS, seeds=[0])


def test_a_grid_is_every_combination_the_last_key_fastest_and_each_is_composed(root):
    points = points_of(root[0], f"{STEPS}=300, 600", "report.k=[1,2],[1,3]", 'report.title="a, b"')
    assert [point.name for point in points] == [
        f"{STEPS}={steps}, report.k={k}" for steps in (300, 600) for k in ("[1,2]", "[1,3]")
    ]
    assert [(point.config.train_policy.train.steps, list(point.config.report.k)) for point in points] == [
        (steps, [1, k]) for steps in (300, 600) for k in (2, 3)
    ]
    assert {point.config.report.title for point in points} == {"a, b"} and {
        point.config.report.num_bootstrap for point in points
    } == {300}
    assert points[1].overrides == (f"{STEPS}=300", "report.k=[1,3]", 'report.title="a, b"', FIXED)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "a sweep is over several values of a key"),
        ([f"{STEPS}=300"], "a sweep is over several values of a key"),
        (["report.k=[1,2]", "report.title='a, b'"], "a sweep is over several values of a key"),
        (["steps"], "'steps' is not of the form key=value,value,..."),
        ([f"{STEPS}=300,,600"], "has an empty value between its commas"),
        ([f"{STEPS}=300,600,"], "has an empty value between its commas"),
        ([f"{STEPS}=300,600", f"{STEPS}=900"], f"put its values into one, {STEPS}=300,600,900"),
        ([f"{STEPS}=300,+300"], f"{STEPS}=300 and {STEPS}=+300 are the same experiment"),
        ([f"{STEPS}=300,many"], f"{STEPS}"),
        ([f"{STEPS}=300,-1"], f"{STEPS}=-1 is not allowed"),
        (["train_policy.train.stpes=1,2"], "did you mean steps?"),
        (["arms.rho1.weighting.keep_frac=0.4,0.6"], "arm in an override 'rho1'"),
    ],
    ids=str,
)
def test_what_is_wrong_with_any_point_is_refused_in_one_line(root, words, line):
    with pytest.raises(ConfigError) as refused:
        points_of(root[0], *words)
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_a_point_is_there_while_its_parameters_and_its_code_are_those_of_an_experiment(root):
    folder, names = root
    points = points_of(folder, f"{STEPS}=600,900,300")
    assert [one and one.name for one in find_done(folder, points)] == [names[1], None, names[0]]
    (folder / "code.py").write_text("2\n")
    assert find_done(folder, points) == [None, None, None]
    (folder / "code.py").write_text("1\n")
    assert [one and one.name for one in find_done(folder, points)] == [names[1], None, names[0]]


def test_what_no_stage_reads_makes_no_other_point(root):
    folder, names = root
    points = points_of(folder, f"{STEPS}=300,600", "score.batch_tokens=4096")
    assert [one and one.name for one in find_done(folder, points)] == names
    points = points_of(folder, f"{STEPS}=300,600", "evaluate.seed=7")
    assert find_done(folder, points) == [None, None]


def test_a_point_whose_results_are_no_longer_in_the_cache_is_made_again(root):
    folder, names = root
    points = points_of(folder, f"{STEPS}=300,600")
    value = find(folder, names[0]).outs("evaluate@filtered-s0")["artifacts/evaluation/filtered-s0"]
    listing = folder / ".dvc/cache/files/md5" / value[:2] / value[2:]
    listing.rename(folder / "aside")
    assert [one and one.name for one in find_done(folder, points)] == [None, names[1]]
    (folder / "aside").rename(listing)
    assert [one and one.name for one in find_done(folder, points)] == names


def test_points_share_the_stages_that_are_made_from_the_same(root):
    folder, _ = root
    points = points_of(folder, f"{STEPS}=300,600", "evaluate.seed=0,1")
    recipes = [read_recipe(folder, point) for point in points]
    different = {name: len({recipe.hashes[name] for recipe in recipes}) for name in recipes[0].graph}
    assert different == {
        "sample": 1,
        **{f"train_policy@{arm}-s0": 2 for arm in ARMS},
        **{f"evaluate@{arm}-s0": 4 for arm in ARMS},
        "report": 4,
    }
    (folder / "code.py").write_text("2\n")
    assert read_recipe(folder, points[0]).hashes["sample"] != recipes[0].hashes["sample"]
    (folder / "code.py").unlink()
    with pytest.raises(ConfigError, match=r"sample needs code\.py, which does not exist"):
        read_recipe(folder, points[0])
    (folder / "code.py").write_text("1\n")


def test_points_that_nothing_tells_apart_are_one_experiment(root):
    folder, names = root
    first, second = (find(folder, name) for name in names)
    assert distinct([first, None, second, first]) == [first, second]
