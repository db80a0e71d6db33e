"""The first task of a run: the experiment from the flow's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from wmtp.config import compose
from wmtp.errors import WmtpError


@task(name="params", task_run_name="params", cache_policy=NO_CACHE, persist_result=False)
def compose_params(
    root: str, profile: str, arms: Sequence[str] | None, seeds: Sequence[int] | None, overrides: Sequence[str]
) -> State[Any]:
    """The checked configuration as the state's data; Failed with the key, the value and what is allowed."""
    try:
        config = compose(Path(root), profile, arms=arms, seeds=seeds, overrides=overrides)
    except WmtpError as error:
        return Failed(message=str(error))
    return Completed(message=f"profile {profile}: {', '.join(config.runs)}", data=config)
