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
    """`section` with the seed of this stage, see `seed_of`."""
    return replace(section, train=replace(section.train, seed=seed_of(section, config, group, context)))


def seed_of(section: Section, config: Config, group: str, context: StageContext) -> int:
    """The seed of this stage's key in `columns.GROUP` on top of the section's own: policies of other seeds have another
    reference and critic, unless the configuration shares them."""
    return section.train.seed + config.columns[group][context.run].seed
