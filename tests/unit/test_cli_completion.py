"""Completion, by asking a real bash what it would complete."""

import subprocess

import pytest

from tests.workspaces import PROJECT
from wmtp.cli import main
from wmtp.cli_completion import SHELLS, known_names

ASK = """
{script}
COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1)); COMPREPLY=()
$(complete -p wmtp | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def script(capsys, monkeypatch):
    """Of a shell, as it is printed in the project."""
    monkeypatch.chdir(PROJECT)

    def of(shell):
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return of


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["wmtp", "exp"], {"experiments", "export"}),
        (["wmtp", "run", "full-"], {"full-baseline", "full-rho1", "full-verifiable"}),
        (["wmtp", "run", "compare", "--profile", "to"], {"toy"}),
        (["wmtp", "sweep", "--dr"], {"--dry"}),
        (["wmtp", "stage", "train_p"], {"train_policy"}),
        (["wmtp", "evaluate", "humaneval"], {"humaneval", "humanevalplus"}),
    ],
)
def test_bash_completes(script, typed, expected):
    words = " ".join(f"'{word}'" for word in typed)
    text = ASK.format(script=script("bash"), words=words, count=len(typed))
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    assert {*done.stdout.split()} == expected, done.stderr


def test_every_shell_has_a_script(script):
    assert all("full-rho1" in script(shell) for shell in SHELLS)


def test_outside_of_a_workspace_only_what_is_the_packages_is_known():
    assert {*known_names(None)} == {"benchmark"} and {"profile", "arms", "stage_name"} < {*known_names(PROJECT)}
