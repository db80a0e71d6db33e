"""What the command line lists, and its exit codes."""

import pytest

import wmtp
from tests.unit.evaluation.benchmarks import one_line
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
    ],
)
def test_the_users_mistake_is_exit_code_2_and_one_line(argv, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert message in one_line(capsys)
    assert not list(tmp_path.iterdir())
