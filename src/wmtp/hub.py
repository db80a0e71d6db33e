"""Files of the Hugging Face hub at one revision. Needs the network where they are not cached, and nothing else does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from wmtp.errors import LaunchError, WmtpError, described, first_line

ORIGIN = ".hub.json"
"""Beside the files: which repository and commit they are of."""


def fetch(
    repo: str, revision: str, folder: Path, choose: Callable[[Sequence[str]], Sequence[str]], *, is_dataset: bool = False
) -> list[Path]:
    """Download some files of a repository, as they were at `revision`.

    Args:
        repo: `owner/name`. revision: a commit, tag or branch.
        folder: gets the files, each under its path in the repository.
        choose: of all paths in the repository those to download; may raise what it finds wrong with them.
    Returns:
        Where they are, in the order of `choose`.
    Raises:
        LaunchError: the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub import HfApi, hf_hub_download

    kind = "dataset" if is_dataset else "model"
    try:
        hub = HfApi()
        info = (hub.dataset_info if is_dataset else hub.model_info)(repo, revision=revision)
        wanted = choose(sorted(one.rfilename for one in info.siblings or ()))
        for name in wanted:
            hf_hub_download(repo, name, revision=info.sha, repo_type=kind, local_dir=folder)
    except WmtpError:
        raise
    except Exception as error:  # the library raises whatever its transport does
        raise LaunchError(
            f"{kind} {repo}@{revision} cannot be fetched from the hub: {first_line(error)}; without a network, "
            f"put its files into a folder and name that folder instead"
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    origin = {"repository": repo, "kind": kind, "revision": revision, "commit": info.sha}
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    return [folder / name for name in wanted]


def snapshot(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The library's own cached folder of a model, which is named after the commit; without a network what it has.

    Args:
        revision: a commit, tag or branch; None for the default branch. patterns: of the files that are wanted.
    Raises:
        LaunchError: the hub cannot be reached and nothing is cached, or there is no such model or revision.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # of the network, of the hub, of a name that is none
        raise LaunchError(f"{repo} cannot be had from the hub: {described(error)}") from None
