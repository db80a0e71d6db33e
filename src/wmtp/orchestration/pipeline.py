"""The pipeline as DVC has it: dvc.yaml is its only definition. See `books` for how DVC is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmtp.checks import nearest
from wmtp.errors import ConfigError
from wmtp.orchestration.books import PARAMS as PARAMS
from wmtp.orchestration.books import ask, who_uses

COMMAND, PARAMS_PREFIX = "cmd", "params:"
"""What a stage's command and its parameters are called among its inputs, beside the paths of files."""

_SHOWN = 4
_WORDS = {"modified": "changed", "new": "is new", "deleted": "is missing", "not in cache": "is not in the cache"}


@dataclass(frozen=True)
class StageSpec:
    """A stage of dvc.yaml, interpolated, with the hashes that its dependencies and parameters have now.

    `is_distributed`: it says `meta: {distributed: true}`: it runs under torchrun, in one of the machine's slots.
    """

    name: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    inputs: dict[str, str]
    is_distributed: bool = False

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the stage's result."""
        return _fingerprint(self.inputs)

    def changed(self, other: StageSpec) -> list[str]:
        """Names of the inputs in which the two differ."""
        names = self.inputs.keys() | other.inputs.keys()
        return sorted(name for name in names if self.inputs.get(name) != other.inputs.get(name))


def find_root(start: Path | None = None) -> Path:
    """The workspace: the nearest folder upwards with dvc.yaml and configs/.

    Raises:
        ConfigError: there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "configs").is_dir():
            return folder
    raise ConfigError(f"{here} is not inside a wmtp workspace (a folder with dvc.yaml and configs/: your clone)")


def read_spec(root: Path, name: str) -> StageSpec:
    """One stage, with DVC's own hashes of its inputs (DVC remembers them by inode, size and time).

    Raises:
        ConfigError: no such stage, a dvc.yaml or params.yaml that DVC cannot read, or an input that does not exist.
    """
    from dvc.dependency.param import ParamsDependency

    def read(repo: Any) -> StageSpec:
        stage = _stage(repo, name)
        plain = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
        params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
        _require_inputs(name, plain)
        hashes = {str(dep.def_path): str(dep.get_hash().value) for dep in plain}
        return StageSpec(
            name=name,
            deps=tuple(sorted(hashes)),
            params=tuple(sorted(str(key) for dep in params for key in dep.params)),
            outs=tuple(str(out.def_path) for out in stage.outs),
            inputs=_inputs(hashes, [_values(dep) for dep in params]),
            is_distributed=bool((stage.meta or {}).get("distributed", False)),
        )

    return ask(root, read)


def read_given(root: Path, names: Iterable[str], *, params: str | None = None) -> dict[str, dict[str, str]]:
    """By stage: its command, its parameters, and the hashes that its inputs have now which no stage makes (code, given data).

    Together with the same of the stages before it, that decides its result, also where nothing of it has been made.

    Args:
        params: as if params.yaml held this text.
    Raises:
        ConfigError: as `read_spec`.
    """
    from dvc.dependency.param import ParamsDependency

    def read(repo: Any) -> dict[str, dict[str, str]]:
        outs = {Path(str(out.fs_path)) for out in repo.index.outs}
        above = {folder for out in outs for folder in out.parents}
        stages, hashes, found = _stages(repo), dict[str, str](), {}
        for name in names:
            stage = _among(stages, name)
            plain = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
            given = {str(dep.def_path): dep for dep in plain if not _is_made(Path(str(dep.fs_path)), outs, above)}
            _require_inputs(name, given.values())
            for path, dep in given.items():
                if path not in hashes:
                    hashes[path] = str(dep.get_hash().value)
            params = [_values(dep) for dep in stage.deps if isinstance(dep, ParamsDependency)]
            found[name] = _inputs({path: hashes[path] for path in given}, params) | {COMMAND: str(stage.cmd)}
        return found

    return ask(root, read, params=params)


def _is_made(path: Path, outs: set[Path], above: set[Path]) -> bool:
    return path in above or not outs.isdisjoint((path, *path.parents))


def recorded(root: Path) -> dict[str, str]:
    """The fingerprint with which dvc.lock records each stage's newest result."""
    from dvc.dependency.param import ParamsDependency

    def read(repo: Any) -> dict[str, str]:
        found = {}
        for stage in repo.index.stages:
            if stage.deps and all(dep.hash_info for dep in stage.deps):
                plain = {
                    str(dep.def_path): str(dep.hash_info.value) for dep in stage.deps if not isinstance(dep, ParamsDependency)
                }
                params = [dep.hash_info.value for dep in stage.deps if isinstance(dep, ParamsDependency)]
                found[_name(stage)] = _fingerprint(_inputs(plain, params))
        return found

    return ask(root, read)


def _inputs(hashes: dict[str, str], params: Iterable[dict[str, Any]]) -> dict[str, str]:
    values = {key: value for one in params for key, value in one.items()}
    return hashes | {f"{PARAMS_PREFIX}{key}": json.dumps(value, sort_keys=True) for key, value in values.items()}


def _fingerprint(inputs: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _name(stage: Any) -> str:
    """As in the workspace's dvc.yaml. (DVC's own `addressing` is relative to the current folder.)"""
    file, name = str(stage.path_in_repo), getattr(stage, "name", None)
    return str(name) if file == "dvc.yaml" else f"{file}:{name}" if name else file


def _stages(repo: Any) -> dict[str, Any]:
    return {_name(stage): stage for stage in repo.index.stages}


def _stage(repo: Any, name: str) -> Any:
    return _among(_stages(repo), name)


def _among(stages: dict[str, Any], name: str) -> Any:
    if name not in stages:
        raise ConfigError(f"unknown stage {name!r}{nearest(name, stages)}")
    return stages[name]


def _require_inputs(name: str, deps: Iterable[Any]) -> None:
    missing = sorted({str(dep.def_path) for dep in deps if not dep.exists})
    if missing:
        raise ConfigError(f"{name} needs {', '.join(missing)}, which does not exist: `dvc repro {name}` makes what stages make")


def _values(dep: Any) -> dict[str, Any]:
    """The tracked keys' values; a key that params.yaml lacks is an error, as it is for `dvc repro`."""
    values: dict[str, Any] = dep.read_params(flatten=True)
    missing = [key for key in dep.params if key not in values]
    if missing:
        raise ConfigError(f"params.yaml lacks {', '.join(missing)}, which dvc.yaml names: compose it again with `wmtp params`")
    return values


# --------------------------------------------------------------------------------------- what is up to date


@dataclass(frozen=True)
class Judgement:
    """DVC's word on one stage, now.

    `reasons`: what changed, a phrase each; none where it is fresh. Only looked up when asked for, of the inputs as they are:
    `is_known`, dvc.lock or the run cache say what their outputs were; `can_restore`, and DVC's cache holds these. `is_busy`: it
    cannot be told, because somebody makes now what it reads or writes; `reasons` says who.
    """

    is_fresh: bool
    reasons: tuple[str, ...] = ()
    can_restore: bool = False
    is_known: bool = False
    is_busy: bool = False

    @property
    def reason(self) -> str:
        return ", ".join(self.reasons)

    @property
    def brief(self) -> str:
        """For a line of a run's log."""
        more = len(self.reasons) - _SHOWN
        return ", ".join(self.reasons[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def judge(root: Path, name: str, *, look_up_cache: bool = False) -> Judgement:
    """Ask DVC whether `name` is up to date; waits while another process writes what the stage reads."""
    return ask(root, lambda repo: _judged(_stage(repo, name), look_up_cache))


def judge_all(
    root: Path, names: Iterable[str], *, look_up_cache: bool = False, params: str | None = None
) -> dict[str, Judgement]:
    """Of several stages what there is to say now, as one question: nobody is waited for.

    Args:
        params: as if params.yaml held this text.
    """
    from dvc.lock import LockError

    def now(stage: Any) -> Judgement:
        try:
            return _judged(stage, look_up_cache)
        except LockError as error:
            return Judgement(False, (who_uses(error),), is_busy=True)

    def read(repo: Any) -> dict[str, Judgement]:
        stages = _stages(repo)
        return {name: now(_among(stages, name)) for name in names}

    return ask(root, read, params=params)


def is_up_to_date(root: Path, names: Iterable[str], *, params: str | None = None) -> bool:
    """Whether all of these stages are, now: none that somebody is making. Looks no further than the first that is not.

    Args:
        params: as in `judge_all`.
    """
    from dvc.lock import LockError

    def read(repo: Any) -> bool:
        stages = _stages(repo)
        try:
            return all(not _among(stages, name).changed() for name in names)
        except LockError:
            return False

    return ask(root, read, params=params)


def _judged(stage: Any, look_up_cache: bool) -> Judgement:
    if not stage.changed():
        return Judgement(True)
    can_restore, is_known = _looked_up(stage) if look_up_cache else (False, False)
    return Judgement(False, _reasons(stage), can_restore, is_known)


def read_graph(root: Path, targets: Sequence[str], *, params: str | None = None) -> dict[str, list[str]]:
    """The stages that `targets` need, each after the ones it needs itself, with the names of its direct needs.

    Args:
        targets: stage names; `evaluate` stands for every `evaluate@...`.
        params: as if params.yaml held this text.
    Raises:
        ConfigError: no such stage, or DVC cannot read the pipeline.
    """
    import networkx as nx

    def read(repo: Any) -> Any:
        return nx.relabel_nodes(repo.index.graph, {stage: _name(stage) for stage in repo.index.graph})

    graph = ask(root, read, params=params)
    wanted = {name for target in targets for name in expand(target, graph)}
    needed = wanted.union(*(nx.descendants(graph, name) for name in wanted))
    order = reversed(list(nx.lexicographical_topological_sort(graph.subgraph(needed))))
    return {name: sorted(graph.successors(name)) for name in order}


def expand(target: str, names: Iterable[str]) -> list[str]:
    """A stage's name, or every `target@...`.

    Raises:
        ConfigError: neither exists; the nearest name is given.
    """
    names = list(names)
    found = [name for name in names if target in (name, name.partition("@")[0])]
    if not found:
        raise ConfigError(f"unknown stage {target!r}{nearest(target, {*names, *(name.partition('@')[0] for name in names)})}")
    return sorted(found)


def _reasons(stage: Any) -> tuple[str, ...]:
    """What DVC finds changed, one phrase each."""
    if not any(dep.hash_info for dep in stage.deps):
        return ("has not run yet",)
    phrases = ["its command changed"] if stage.changed_stage() else []
    for item in (*stage.deps, *stage.outs):
        for what, state in item.status().items():
            if isinstance(state, dict):
                phrases += [
                    f"{leaf} {_WORDS.get(str(word), word)}"
                    for key, word in state.items()
                    for leaf in _changed_leaves(item, key)
                ]
            else:
                phrases.append(f"{what} {_WORDS.get(str(state), state)}")
    return tuple(dict.fromkeys(phrases))


def _changed_leaves(dep: Any, key: str) -> list[str]:
    """Which settings below a parameter that a stage depends on differ from those it last ran with."""
    recorded: Any = dep.hash_info.value if dep.hash_info else None
    if not isinstance(recorded, dict) or key not in recorded:
        return [key]
    return list(_differences(key, recorded[key], dep.read_params(flatten=True).get(key))) or [key]


def _differences(key: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _differences(f"{key}.{name}", old.get(name), new.get(name))
    elif old != new:
        yield key


def _looked_up(stage: Any) -> tuple[bool, bool]:
    """Whether DVC's cache holds outputs for the dependencies as they are now; whether it is known what they were."""
    from dvc.stage.cache import RunCacheNotFoundError
    from dvc_data.hashfile.hash_info import HashInfo

    if not all(dep.exists for dep in stage.deps):
        return False, False
    with _unchanged([*stage.deps, *stage.outs]):
        if stage.changed_deps():  # dvc.lock's outputs belong to other dependencies: only the run cache may know these
            stage.save_deps()
            for out in stage.outs:
                out.hash_info = HashInfo()
        try:
            stage.repo.stage_cache.restore(stage, dry=True)
        except RunCacheNotFoundError:
            is_recorded = not stage.changed_stage() and all(out.hash_info for out in stage.outs)
            return False, is_recorded or stage.repo.stage_cache._load(stage) is not None
    return True, True


@contextmanager
def _unchanged(items: Sequence[Any]) -> Iterator[None]:
    """What dvc.lock says of dependencies and outputs is again what it was when the block ends."""
    before = [(item, dict(vars(item))) for item in items]
    try:
        yield
    finally:
        for item, attributes in before:
            vars(item).clear()
            vars(item).update(attributes)
