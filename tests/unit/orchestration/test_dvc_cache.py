"""The folder that clones share."""

import subprocess

from wmtp.orchestration.dvc_cache import cache_folder


def test_it_is_the_configured_cache_and_a_place_of_its_own_without_dvc(tmp_path):
    assert cache_folder(tmp_path) == tmp_path / ".wmtp"
    clone = tmp_path / "clone"
    clone.mkdir()
    for command in (("git", "init", "-q"), ("dvc", "init", "-q")):
        subprocess.run(command, cwd=clone, check=True)
    assert cache_folder(clone) == clone / ".dvc" / "cache"
    subprocess.run(("dvc", "cache", "dir", "../shared", "-q"), cwd=clone, check=True)
    assert cache_folder(clone).resolve() == (tmp_path / "shared").resolve()
