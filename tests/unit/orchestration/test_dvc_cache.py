"""The folder that clones share."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wmtp.orchestration.dvc_cache import cache_folder

pytestmark = pytest.mark.slow


def test_it_is_the_configured_cache_and_a_place_of_its_own_without_dvc(tmp_path):
    assert cache_folder(tmp_path) == tmp_path / ".wmtp"
    clone = tmp_path / "clone"
    clone.mkdir()
    for command in (("git", "init", "-q"), ("dvc", "init", "-q")):
        subprocess.run(command, cwd=clone, check=True)
    assert cache_folder(clone) == clone / ".dvc" / "cache"
    subprocess.run(("dvc", "cache", "dir", "../shared", "-q"), cwd=clone, check=True)
    assert cache_folder(clone).resolve() == (tmp_path / "shared").resolve()


USERS, GROUP = (12345, 12346), 12399
KEEPS = """
import sys
from pathlib import Path
from wmtp.files import Journal, read_journal, write_text
from wmtp.orchestration.dvc_cache import folder_beside_cache
folder = folder_beside_cache(Path.cwd()) / "verdicts" / "version"
print([record["who"] for path in sorted(folder.glob("*.jsonl")) for record in read_journal(path)])
with Journal(folder / f"{sys.argv[1]}.jsonl") as journal:
    journal.append({"who": sys.argv[1]})
write_text(folder.parent / "whole", sys.argv[1])
"""


@functools.cache
def python():
    """This interpreter, or where it is out of others' reach (in root's home), the system's of the same version."""
    version = ".".join(map(str, sys.version_info[:2]))
    is_open = all(path.stat().st_mode & 0o001 for path in Path(sys.executable).resolve().parents)
    return sys.executable if is_open else shutil.which(f"python{version}", path="/usr/bin") or sys.executable


class User:
    """A clone of the pipeline of an ordinary user, with a cache that a group shares."""

    def __init__(self, uid, umask, original, place):
        self.uid, self.umask, self.root, self.home = uid, umask, place / f"clone-{uid}", place / f"home-{uid}"
        shutil.copytree(original, self.root)
        self.home.mkdir()
        config = (
            '[core]\n    analytics = false\n[cache]\n    dir = ../../cache\n    shared = group\n    type = "hardlink,copy"\n'
        )
        (self.root / ".dvc/config").write_text(config)
        for path in (self.home, self.root, *self.root.rglob("*")):
            os.chown(path, uid, uid)
        self.root.chmod(0o700)

    def start(self, *command):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path[1:]), "HOME": str(self.home)}
        environment |= {"LOGNAME": f"user-{self.uid}", "DVC_NO_ANALYTICS": "1"}
        who = {"user": self.uid, "group": self.uid, "extra_groups": [GROUP], "umask": self.umask}
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([python(), *command], cwd=self.root, env=environment, **who, **out)

    def run(self, *command):
        process = self.start(*command)
        said, _ = process.communicate(timeout=600)
        return process.returncode, said


@pytest.fixture(
    params=[(0o077, 0o077), (0o022, 0o077), (0o022, 0o022)], ids=lambda masks: "-".join(f"{mask:03o}" for mask in masks)
)
def users(request, originals):
    if os.getuid() != 0:
        pytest.skip("only root can act as two other users")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "cache").mkdir()
        os.chown(place / "cache", 0, GROUP)
        (place / "cache").chmod(0o2770)
        made = [User(uid, umask, originals / "new", place) for uid, umask in zip(USERS, request.param, strict=True)]
        try:
            code, said = made[0].run("-c", "import wmtp, dvc")
        except PermissionError as error:
            code, said = 1, str(error)
        if code != 0:
            pytest.skip(f"other users cannot run this Python: {said.strip().splitlines()[-1]}")
        yield made


def test_two_users_of_a_group_share_a_cache_one_after_the_other_and_at_once(users):
    first, second = users
    assert first.run("-m", "dvc", "repro")[0] == 0
    code, said = second.run("-m", "dvc", "repro")
    assert code == 0 and said.count("is cached - skipping run") == 4, said
    for number, user in enumerate(users):
        (user.root / "source.txt").write_text(f"{number + 2}\n")
    both = [user.start("-m", "dvc", "repro") for user in users]
    assert [(process.communicate(timeout=600)[0], process.returncode)[1] for process in both] == [0, 0]
    (first.root / "source.txt").write_text("3\n")
    code, said = first.run("-m", "dvc", "repro")
    assert code == 0 and "is cached - skipping run" in said, said


def test_what_is_kept_beside_the_cache_is_the_groups_too(users):
    assert [user.run("-c", KEEPS, str(user.uid)) for user in users] == [(0, "[]\n"), (0, "['12345']\n")]
    assert users[0].run("-c", KEEPS, "third") == (0, "['12345', '12346']\n")


def test_a_place_that_another_user_keeps_for_himself_is_one_line(users):
    first, second = users
    kept = first.root.parent / "cache/wmtp"
    kept.mkdir(mode=0o700)
    os.chown(kept, first.uid, GROUP)
    code, said = second.run("-c", KEEPS, "x")
    line = said.strip().splitlines()[-1]
    assert code == 1 and line.startswith("wmtp.errors.DataError: ") and "cannot be read and written by uid 12346" in line
