"""What has been run, as experiments of DVC's: `dvc exp show`, `apply`, `branch` and `push` know them too.

An experiment is a commit on top of the one that was checked out, under `refs/exps/BASELINE/NAME`: the code, params.yaml and
dvc.lock as they were. What came out is in DVC's cache, where dvc.lock says. Nothing else is written down.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wmtp.checks import nearest
from wmtp.errors import ConfigError
from wmtp.orchestration import snapshots
from wmtp.orchestration.books import PARAMS, ask
from wmtp.orchestration.integrity import listed
from wmtp.orchestration.pipeline import COMMAND, PARAMS_PREFIX, recorded
from wmtp.orchestration.snapshots import RESULTS, git
from wmtp.orchestration.workspace import live_runs
from wmtp.places import workspace_name

LOCK = "dvc.lock"
_REFS = "refs/exps"
_REF = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/([^/]+)")
_DIGITS = 7
_IDENTITY, _WHERE = "Wmtp-Identity", "Wmtp-Workspace"
_HERE = "."
_DERIVED = ("arms", "columns", "inputs", "runs")
"""Sections of params.yaml that are shown as what was chosen, or follow from it."""


@dataclass(frozen=True)
class Experiment:
    """One that was recorded by `wmtp run` or `wmtp sweep`, or by DVC.

    `identity`: hash of the fingerprints of all stages, and `workspace`, `.` for a clone that is its own home, are None where
    DVC recorded it. `lock`: dvc.lock's text. `when`: ISO 8601.
    """

    name: str
    ref: str
    commit: str
    baseline: str
    when: str
    identity: str | None
    workspace: str | None
    params: Mapping[str, Any]
    lock: str

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What was chosen, flat: `arms`, `seeds`, `share_upstream`, `arms.rho1.weighting.keep_frac`."""
        return settings_of(self.params)

    def outs(self, stage: str) -> dict[str, str]:
        """What dvc.lock says a stage's outputs are: MD5 by path."""
        return _outs(self.lock, stage)

    def is_made_from(self, given: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether these stages were made from this: the settings that they read, their commands, hashes of code and data.

        Args:
            given: as `wmtp.orchestration.pipeline.read_given` has it.
        """
        has_settings = all(self._has_settings(inputs) for inputs in given.values())
        return has_settings and all(self._has_inputs(stage, inputs) for stage, inputs in given.items())

    def _has_settings(self, inputs: Mapping[str, str]) -> bool:
        """By params.yaml, which dvc.lock agreed with when this was recorded, and which has been parsed."""
        wanted = {key.removeprefix(PARAMS_PREFIX): value for key, value in inputs.items() if key.startswith(PARAMS_PREFIX)}
        return all(json.dumps(_at(self.params, key), sort_keys=True) == value for key, value in wanted.items())

    def _has_inputs(self, stage: str, inputs: Mapping[str, str]) -> bool:
        entry = _entry(self.lock, stage)
        known = {dep["path"]: dep.get("md5") for dep in entry.get("deps") or ()} | {COMMAND: entry.get("cmd")}
        return all(known.get(key) == value for key, value in inputs.items() if not key.startswith(PARAMS_PREFIX))


def settings_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """See `Experiment.settings`."""
    runs = (params.get("runs") or {}).values()
    chosen: dict[str, Any] = {"arms": sorted({run["arm"] for run in runs}), "seeds": sorted({run["seed"] for run in runs})}
    chosen["share_upstream"] = any(run.get("upstream", run["seed"]) != run["seed"] for run in runs)
    rest = {key: value for key, value in params.items() if key not in _DERIVED}
    used = {arm: value for arm, value in (params.get("arms") or {}).items() if arm in chosen["arms"]}
    return chosen | dict(_leaves(rest, "")) | dict(_leaves(used, "arms."))


def _at(tree: Any, key: str) -> Any:
    """The value at `train_policy.train`; None where there is none."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _outs(lock: str, stage: str) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in _entry(lock, stage).get("outs") or () if "md5" in out}


def _entry(lock: str, stage: str) -> dict[str, Any]:
    """Read from the stage's own lines: a whole dvc.lock takes a parser a second."""
    import yaml

    block = re.search(rf"^  {re.escape(stage)}:\n(?:    .*\n)*", lock, re.MULTILINE)
    if block is None:
        return {}
    (entry,) = yaml.load(block[0], yaml.CSafeLoader).values()
    return dict(entry)


def differing(experiments: Iterable[Experiment]) -> dict[str, list[Any]]:
    """The settings in which they differ, with each one's value; None where one has no such setting.

    An arm that some do not have is no difference in its settings: `arms` says so.
    """
    every = [one.settings for one in experiments]
    keys = sorted({key for settings in every for key in settings}, key=lambda key: (key not in ("arms", "seeds"), key))
    rows = {key: [settings.get(key) for settings in every] for key in keys}
    found = {key: {json.dumps(settings[key]) for settings in every if key in settings} for key in keys}
    return {key: row for key, row in rows.items() if len(found[key]) > 1}


# --------------------------------------------------------------------------------------- recording


def identity(root: Path, stages: Iterable[str]) -> str:
    """Of the experiment that the workspace's dvc.lock has the results of: hash of the fingerprints of its stages."""
    known = recorded(root)
    return hashlib.sha256(json.dumps({name: known.get(name) for name in sorted(stages)}).encode()).hexdigest()


def record(root: Path, stages: Iterable[str]) -> Experiment:
    """Keep what the workspace holds, all `stages` of it up to date, as an experiment.

    The same stages of the same inputs are the same experiment, wherever and whenever they ran: it is kept as it was recorded
    first, unless its outputs are others now.

    Raises:
        ConfigError: there is no commit that it could be on top of.
    """
    snapshots.require_commit(root)
    stages = list(stages)
    known, mine = find_all(root), identity(root, stages)
    before = next((one for one in known if one.identity == mine), None)
    lock = (root / LOCK).read_text(encoding="utf-8")
    if before is not None and all(_outs(lock, stage) == before.outs(stage) for stage in stages):
        return before
    name = before.name if before is not None else _new_name(root, mine, {one.name for one in known})
    head = str(snapshots.head(root))
    tree = snapshots.take(root, forced=RESULTS).tree
    message = f"wmtp: {name}\n\n{_IDENTITY}: {mine}\n{_WHERE}: {workspace_name(root) or _HERE}\n"
    commit = git(root, *_identified(root), "commit-tree", tree, "-p", head, text=message)
    ref = f"{_REFS}/{head[:2]}/{head[2:]}/{name}"
    if before is not None and before.ref != ref:
        git(root, "update-ref", "-d", before.ref, before.commit)
    git(root, "update-ref", ref, commit)
    return find(root, name)


def keep(root: Path, stages: Iterable[str]) -> str:
    """`record`, in words: the experiment's name, or why there is none."""
    try:
        return record(root, stages).name
    except ConfigError as error:
        return f"is not recorded: {error}"


def _new_name(root: Path, mine: str, taken: set[str]) -> str:
    import yaml

    profile = yaml.load((root / PARAMS).read_text(encoding="utf-8"), yaml.CSafeLoader)["profile"]
    return next(name for end in range(_DIGITS, len(mine)) if (name := f"{profile}-{mine[:end]}") not in taken)


def _identified(root: Path) -> list[str]:
    """Whose commit it is, where git has not been told."""
    try:
        git(root, "var", "GIT_COMMITTER_IDENT")
    except ConfigError:
        return ["-c", "user.name=wmtp", "-c", "user.email=wmtp@localhost"]
    return []


# --------------------------------------------------------------------------------------- finding


def find_all(root: Path) -> list[Experiment]:
    """Every experiment of the repository, of all its workspaces and commits, by time."""
    import yaml

    form = "%(refname)%00%(objectname)%00%(committerdate:iso-strict)%00%(contents)%00"
    words = git(root, "for-each-ref", f"--format={form}", _REFS).split("\0")
    rows = [(words[i].strip(), *words[i + 1 : i + 4]) for i in range(0, len(words) - 3, 4)]
    rows = [row for row in rows if _REF.fullmatch(row[0])]
    texts = snapshots.read_blobs(root, [f"{row[1]}:{name}" for row in rows for name in (PARAMS, LOCK)])
    found = []
    for (ref, commit, when, message), params, lock in zip(rows, texts[::2], texts[1::2], strict=True):
        first, rest, name = _REF.fullmatch(ref).groups()  # type: ignore[union-attr]  # those that match were chosen
        settings = yaml.load(params or "{}", yaml.CSafeLoader)
        said = dict(re.findall(rf"^({_IDENTITY}|{_WHERE}): (.+)$", message, re.MULTILINE))
        mine, where = said.get(_IDENTITY), said.get(_WHERE)
        found.append(Experiment(name, ref, commit, first + rest, when, mine, where, settings or {}, lock or ""))
    return sorted(found, key=lambda one: (one.when, one.name))


def find(root: Path, name: str) -> Experiment:
    """One by its name, or by a commit's first digits.

    Raises:
        ConfigError: there is none, or several.
    """
    every = find_all(root)
    found = [one for one in every if one.name == name] or [
        one for one in every if len(name) >= _DIGITS and one.commit.startswith(name)
    ]
    if not found:
        if not every:
            raise ConfigError(f"there is no experiment {name!r}, and no other: `wmtp run` records one when it is done")
        raise ConfigError(f"there is no experiment {name!r}{nearest(name, [one.name for one in every])}")
    if len(found) > 1:
        raise ConfigError(
            f"{name!r} names {len(found)} experiments: use a commit, {', '.join(one.commit[:12] for one in found)}"
        )
    return found[0]


def cached_files(root: Path, folders: Iterable[str]) -> list[dict[str, Path] | None]:
    """The files of folders in DVC's cache, by their paths in the folder; None where the cache lacks the folder or a file of it.

    Args:
        folders: MD5s as dvc.lock has them.
    """
    cache = ask(root, lambda repo: Path(str(repo.cache.local.path)), is_look=True)
    return [_files(cache, value) for value in folders]


def _files(cache: Path, value: str) -> dict[str, Path] | None:
    entries = listed(cache / value[:2] / value[2:])
    found = {str(one["relpath"]): cache / one["md5"][:2] / one["md5"][2:] for one in entries}
    return found if found and all(path.is_file() for path in found.values()) else None


# --------------------------------------------------------------------------------------- restoring


def restore(root: Path, name: str) -> list[str]:
    """Bring an experiment back: its code, params.yaml and dvc.lock. HEAD and the index stay; `dvc checkout` brings its outputs.

    Files that git does not track and the experiment does not have stay: data, models and arms of the user's own.

    Returns:
        The files of code that were changed.
    Raises:
        ConfigError: no such experiment, a run is at work, or code would be lost that no commit and no experiment has.
    """
    experiment = find(root, name)
    others = live_runs(root)
    if others:
        raise ConfigError(f"this workspace is in use by {', '.join(others)}: wait for it, or cancel it")
    now = snapshots.take(root, forced=RESULTS).tree
    target = git(root, "rev-parse", f"{experiment.commit}^{{tree}}")
    own = {name for name, how in snapshots.changed(root, "HEAD^{tree}", now).items() if how == "A" and name not in RESULTS}
    _require_kept(root, now, target, own)
    moved = snapshots.lay_over(root, target, before=now, own=own)
    return [name for name in moved if name not in RESULTS]


def _require_kept(root: Path, now: str, target: str, own: Collection[str]) -> None:
    """Whatever is overwritten or removed is in a commit or an experiment, file by file."""
    code = snapshots.code_tree(root, now)
    moved = snapshots.changed(root, code, snapshots.code_tree(root, target))
    lost = {name for name, how in moved.items() if how == "M" or (how == "D" and name not in own)}
    for kept in ("HEAD^{tree}", *(one.commit for one in reversed(find_all(root)))):
        if not lost:
            return
        lost &= snapshots.changed(root, snapshots.code_tree(root, kept), code).keys()
    if lost:
        raise ConfigError(
            f"{', '.join(sorted(lost)[:3])} would be lost: commit it, or run it, or restore in a workspace (--workspace NAME)"
        )
