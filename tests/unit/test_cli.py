"""What the command line lists, and its exit codes."""

import pytest

import wmtp
from tests.workspaces import PROJECT
from wmtp import tasksets
from wmtp.cli import main


@pytest.fixture
def workspace(monkeypatch):
    monkeypatch.chdir(PROJECT / "docs")  # anywhere within


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"wmtp {wmtp.__version__}\n")


@pytest.mark.parametrize("kind", ["arms", "profiles"])
def test_arms_and_profiles_are_listed_with_what_their_files_say_of_themselves(kind, workspace, capsys):
    assert main([kind]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for path in (PROJECT / "configs" / kind).glob("*.yaml"):
        assert path.read_text().startswith(f"# {lines[path.stem]}\n")
    assert len(lines) == len(list((PROJECT / "configs" / kind).glob("*.yaml")))


def test_tasks_are_listed_with_their_own_descriptions(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # they are no workspace's
    assert main(["tasks"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines == {name: tasksets.get(name).description for name in tasksets.names()}


EVALUATE = ["evaluate", "mbpp", "--model", "m", "--data", "d", "--out", "o"]
SCORE = ["score", "mbpp", "--samples", "s", "--data", "d", "--out", "o"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["arms"], "is not inside a wmtp workspace"),
        (["stage", "sample"], "is not inside a wmtp workspace"),
        ([], "the following arguments are required: COMMAND"),
        (["nonsense"], "unknown 'nonsense'"),
        (["stage"], "the following arguments are required: STAGE"),
        (["experiments", "nonsense"], "argument ACTION: unknown 'nonsense'"),
        (["doctor", "--gpu", "h100"], "--gpu is about an experiment: name its profile too"),
        (["doctor", "train_policy.train.steps=3"], "train_policy.train.steps=3 is about an experiment"),
        (["doctor", "--cache", "--profile", "toy"], "--cache and --profile are two questions"),
        (["completion", "powershell"], "argument shell: unknown 'powershell'"),
        (["data", "--examples", "-1"], "argument --examples: must be 0 or more, not -1"),
        (["data", "--row", "x"], "argument --row: must be a whole number"),
        (["data", "--problem="], "argument --problem: is empty"),
        (["params", "--seeds", "0,x"], "argument --seeds: must be a whole number"),
        ([*EVALUATE, "--seed", "-1"], "argument --seed: must be 0 or more, not -1"),
        ([*EVALUATE, "--limit", "-1"], "argument --limit: must be 1 or more, not -1"),
        ([*EVALUATE, "--limit", "0"], "argument --limit: must be 1 or more, not 0"),
        ([*EVALUATE, "--batch-size", "0"], "argument --batch-size: must be 1 or more, not 0"),
        ([*EVALUATE, "--max-new-tokens", "0"], "argument --max-new-tokens: must be 1 or more, not 0"),
        ([*EVALUATE, "--num-samples", "0"], "argument --num-samples: must be 1 or more, not 0"),
        ([*EVALUATE, "--num-samples", "2", "--k", "1,5"], "--num-samples 2 is too few for pass@5"),
        ([*EVALUATE, "--num-drafts", "-1"], "argument --num-drafts: must be 0 or more, not -1"),
        ([*EVALUATE, "--temperature", "-1"], "argument --temperature: must be a finite number of 0 or more"),
        ([*EVALUATE, "--temperature", "nan"], "argument --temperature: must be a finite number of 0 or more"),
        ([*EVALUATE, "--top-p", "0"], "argument --top-p: must be a finite number above 0, at most 1"),
        ([*EVALUATE, "--model="], "argument --model: is empty"),
        ([*SCORE, "--k", "0"], "argument --k: must be 1 or more, not 0"),
        ([*SCORE, "--workers", "0"], "argument --workers: must be 1 or more, not 0"),
        ([*SCORE, "--seed", "-1"], "argument --seed: must be 0 or more, not -1"),
        ([*SCORE, "--data="], "argument --data: is empty"),
        ([*SCORE, "--out="], "argument --out: is empty"),
    ],
)
def test_the_users_mistake_is_exit_code_2_and_one_line(argv, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
