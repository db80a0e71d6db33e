"""What DVC's default remote has and this clone's cache lacks."""

from __future__ import annotations

from pathlib import Path

from wmtp.errors import ConfigError, LaunchError, first_line
from wmtp.orchestration.books import ask


def has_default(root: Path) -> bool:
    """Whether there is a default remote, which `dvc pull` would use."""
    return ask(root, lambda repo: bool(repo.config["core"].get("remote")), is_look=True)


def require_default(root: Path) -> None:
    """
    Raises:
        ConfigError: there is no default remote.
    """
    if not has_default(root):
        raise ConfigError("--pull needs a default remote: `dvc remote add --default NAME URL`")


def fetch_run_cache(root: Path) -> None:
    """Bring what the default remote knows of runs: which outputs belong to which inputs. They are fetched as they are needed.

    Raises:
        ConfigError: there is no default remote, or one of a kind that cannot hold this.
        LaunchError: it cannot be read.
    """
    from dvc.repo import Repo
    from dvc.stage.cache import RunCacheNotSupported

    require_default(root)
    try:
        with Repo(str(root)) as repo:
            repo.stage_cache.pull(None)
    except RunCacheNotSupported as error:
        raise ConfigError(f"the default remote has no run cache: {error}") from None
    except Exception as error:  # of any of the libraries that read remotes
        raise LaunchError(f"the default remote cannot be read: {first_line(error)}") from None
