"""A workspace's models, scores and results, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wmtp.config import Config, read_params
from wmtp.errors import ConfigError
from wmtp.examples.card import tables_in
from wmtp.library.models import Critic, Example, LanguageModel, load_critic, load_model
from wmtp.orchestration.pipeline import find_root
from wmtp.reporting.inputs import read_history, read_object
from wmtp.tokens.data import TokenData
from wmtp.tokens.tables import read_table
from wmtp.tokens.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

SCORES = "artifacts/scores"


@dataclass(frozen=True)
class Workspace:
    """Where `wmtp run` put what it made; `runs` are those of its params.yaml, `ARM-sSEED`."""

    root: Path

    @cached_property
    def config(self) -> Config:
        """params.yaml. `config.arms[NAME]` is what `token_weights` takes."""
        return read_params(self.root / "params.yaml")

    @property
    def runs(self) -> list[str]:
        return sorted(self.config.runs)

    def policy(self, run: str, *, device: str = "cpu") -> LanguageModel:
        """What `train_policy` made.

        Raises:
            ConfigError: params.yaml has no such run. ModelError: it has not been trained.
        """
        return load_model(self._artifacts / "policy" / self._known(run), device=device)

    def reference(self, seed: int | None = None, *, device: str = "cpu") -> LanguageModel:
        """The tuned reference model; without a seed, the first.

        Raises:
            ConfigError: no run uses one, or none of this seed.
        """
        return load_model(self._artifacts / "reference" / self._key("reference", seed), device=device)

    def critic(self, seed: int | None = None, *, device: str = "cpu") -> Critic:
        """The critic; as `reference`."""
        return load_critic(self._artifacts / "critic" / self._key("value", seed), device=device)

    def history(self, run: str) -> pd.DataFrame:
        """Training, a row per logged step: `step`, `tokens`, and the metrics of docs/training.md."""
        import pandas as pd

        return pd.DataFrame(read_history(self._artifacts / "training" / self._known(run) / "history.jsonl"))

    def tasks(self, run: str) -> pd.DataFrame:
        """Evaluation, a row per task: what per_task.csv has."""
        import pandas as pd

        return pd.read_csv(self._artifacts / "evaluation" / self._known(run) / "per_task.csv")

    def report(self) -> dict[str, Any]:
        """What the report's page shows (report.json)."""
        return read_object(self._artifacts / "report" / "report.json")

    def examples(self, rows: Sequence[int], table: str = "train") -> list[Example]:
        """Rows of a table as texts."""
        data, text = self._table(table), load_tokenizer(self._artifacts / "data" / "tokenizer")
        found = []
        for row in rows:
            ids = data.tokens[data.offsets[row] : data.offsets[row + 1]].tolist()
            prompt, before = int(data.prompt_lens[row]), len(text.prefix_ids)
            parts = text.decode(ids[before:prompt]), text.decode(ids[prompt:-1])
            found.append(Example(*parts, is_correct=bool(data.is_correct[row])))
        return found

    def scores(self, table: str = "train") -> pd.DataFrame:
        """A row per token of a table, with every score column that a stage has made for it.

        Returns:
            `row`, `position`, `id`, `is_prompt`, `is_correct`, and the scores: `reference_nll`, `value`, ...; where there are
            several of one, for other seeds, `reference_nll/s0` and so on.
        """
        import pandas as pd

        data = self._table(table)
        lengths = np.diff(data.offsets)
        position = np.arange(len(data.tokens)) - np.repeat(data.offsets[:-1], lengths)
        columns: dict[str, Any] = {
            "row": np.repeat(np.arange(len(lengths)), lengths),
            "position": position,
            "id": data.tokens,
            "is_prompt": position < np.repeat(data.prompt_lens, lengths),
            "is_correct": np.repeat(data.is_correct, lengths),
        }
        groups: dict[str, list[Path]] = {}
        for path in sorted((self.root / SCORES).glob(f"*/*/{table}.arrow")):
            groups.setdefault(path.parts[-3], []).append(path)
        for paths in groups.values():
            for path in paths:
                (name,) = read_table(path).column_names
                columns[name if len(paths) == 1 else f"{name}/{path.parts[-2]}"] = data.read_column(name, path)
        return pd.DataFrame(columns)

    def _key(self, group: str, seed: int | None) -> str:
        known = {one.seed: key for key, one in self.config.columns[group].items()}
        wanted = min(known, default=None) if seed is None else seed
        if wanted not in known:
            what, there = "critic" if group == "value" else group, ", ".join(map(str, sorted(known)))
            why = f"it has {there}" if known else "no run uses one"
            raise ConfigError(f"params.yaml has no {what} of seed {seed}: {why}")
        return known[wanted]

    @property
    def _artifacts(self) -> Path:
        return self.root / "artifacts"

    def _table(self, name: str) -> TokenData:
        known = tables_in(self._artifacts / "data")
        if name not in known:
            raise ConfigError(f"artifacts/data has no table {name!r}: it has {', '.join(known)}")
        return TokenData.open(self._artifacts / "data", name)

    def _known(self, run: str) -> str:
        if run not in self.config.runs:
            raise ConfigError(f"params.yaml has no run {run!r}: its runs are {', '.join(self.runs)}")
        return run


def open_workspace(root: str | Path | None = None) -> Workspace:
    """A clone in which something has run: this folder, or the one that the current folder is in.

    Raises:
        ConfigError: no params.yaml there, or one that cannot be read.
    """
    workspace = Workspace(find_root() if root is None else Path(root).resolve())
    _ = workspace.config
    return workspace
