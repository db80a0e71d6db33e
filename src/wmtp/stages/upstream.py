"""The seed of what trains and scores beside the policies: a reference, a critic, their counterparts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from wmtp.config import Config
    from wmtp.config.schema import CriticConfig, TuneReferenceConfig
    from wmtp.stages.context import StageContext

Section = TypeVar("Section", "TuneReferenceConfig", "CriticConfig")


def seeded(section: Section, config: Config, group: str, context: StageContext) -> Section:
    """`section` with the seed of this stage's key in `columns.GROUP` on top of its own: policies of other seeds have another
    reference and critic, unless the configuration shares them."""
    return replace(section, train=replace(section.train, seed=section.train.seed + config.columns[group][context.run].seed))
