"""What a weighting is, and what it is given. Torch-free to import: keys are read where there is no torch.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from wmtp.types import IGNORE_INDEX

if TYPE_CHECKING:
    import torch

    from wmtp.objectives.linear_nll import ScaleGuess

SCORES = "artifacts/scores"


Level = Literal["same", "positions", "targets"]
"""What weights belong to, see `Weighting`."""


@dataclass(frozen=True)
class Column:
    """A score of every token, made by a stage of its own and joined to the tokens by the loader.

    `folder`: what that stage writes, of the form `artifacts/scores/GROUP/KEY`: dvc.yaml has the stages that make it for every
    key of `${columns.GROUP}`, where composition puts the keys that some run needs. In it `{seed}` stands for the run's seed,
    `{upstream}` for that of the reference and the critic that the run uses. `made_from`: columns that those stages read.
    """

    name: str
    folder: str
    made_from: tuple[Column, ...] = ()

    def path(self, seed: int, upstream: int) -> str:
        """The folder of a run with these seeds."""
        return self.folder.format(seed=seed, upstream=upstream)

    def seed(self, seed: int, upstream: int) -> int:
        """Which of a run's two seeds the column is made with."""
        return seed if self.is_of_run else upstream

    @property
    def group(self) -> str:
        return PurePosixPath(self.folder).relative_to(SCORES).parts[0]

    @property
    def is_of_run(self) -> bool:
        """Whether it is of the policy that is trained, not of a model beside it."""
        return "{seed}" in self.folder


REFERENCE_NLL = Column("reference_nll", "artifacts/scores/reference/s{upstream}")
"""NLL under the tuned reference, nats."""

VALUE = Column("value", "artifacts/scores/value/s{upstream}", made_from=(REFERENCE_NLL,))
"""The critic's V(s_t): probability that the solution is correct given the prefix up to and including the token."""


@dataclass(frozen=True)
class Needs:
    """What a weighting looks at. `nll`, `entropy`: the policy's own, of every target, which cost a forward pass to know."""

    columns: tuple[Column, ...] = ()
    nll: bool = False
    entropy: bool = False

    @property
    def policy(self) -> bool:
        """Whether the weights are unknown before the policy's forward pass."""
        return self.nll or self.entropy

    def __or__(self, other: Needs) -> Needs:
        columns = tuple(dict.fromkeys((*self.columns, *other.columns)))
        return Needs(columns, self.nll or other.nll, self.entropy or other.entropy)


@dataclass(frozen=True)
class WeightInputs:
    """One global batch as a weighting sees it: tensors of this rank's rows; `gather` joins values over the global batch.

    Args:
        labels_BTH: targets, IGNORE_INDEX where there is none.
        rows_B: the rows' numbers in the dataset; slots_B: their places in the global batch.
        prompt_lens_B, lengths_B: tokens in the prompt and in all; is_correct_B: 1.0 for a correct solution, else 0.0.
        seed: of the run; step: 0-based, of num_steps in all.
        alignment: of weights that belong to positions, see `expand_weights`.
        gather: concatenates one-dimensional tensors over ranks, in the same order everywhere.
        columns: the columns that `Needs` names, (B, T), 0 on padding.
        nll_BTH (nats, detached), entropy_BTH (nats): only for a weighting that needs them.
        statistics: what the weighting's `measure` returned.
        stride: tokens from one head's target to the next one's.
    """

    labels_BTH: torch.Tensor
    rows_B: torch.Tensor
    slots_B: torch.Tensor
    prompt_lens_B: torch.Tensor
    lengths_B: torch.Tensor
    is_correct_B: torch.Tensor
    seed: int
    step: int
    num_steps: int
    alignment: str
    gather: Callable[[torch.Tensor], torch.Tensor]
    columns: Mapping[str, torch.Tensor] = field(default_factory=dict)
    nll_BTH: torch.Tensor | None = None
    entropy_BTH: torch.Tensor | None = None
    statistics: Any = None
    stride: int = 1

    @property
    def valid_BTH(self) -> torch.Tensor:  # noqa: N802
        return self.labels_BTH != IGNORE_INDEX

    @property
    def nll(self) -> torch.Tensor:
        """The policy's NLL of every target, (B, T, H)."""
        assert self.nll_BTH is not None, "this weighting does not say that it needs the policy's NLL"
        return self.nll_BTH

    @property
    def entropy(self) -> torch.Tensor:
        """The policy's entropy where every target is predicted, (B, T, H)."""
        assert self.entropy_BTH is not None, "this weighting does not say that it needs the policy's entropy"
        return self.entropy_BTH

    @property
    def positions_BT(self) -> torch.Tensor:  # noqa: N802
        """A token's place in the global batch, whatever its rank and padding."""
        return _places(self.slots_B, self.labels_BTH)

    @property
    def dataset_positions_BT(self) -> torch.Tensor:  # noqa: N802
        """A token's place in the dataset."""
        return _places(self.rows_B, self.labels_BTH)

    @property
    def response_BT(self) -> torch.Tensor:  # noqa: N802
        """True on the solution's tokens."""
        import torch

        position_T = torch.arange(self.labels_BTH.shape[1], device=self.labels_BTH.device)
        return (position_T >= self.prompt_lens_B.unsqueeze(1)) & (position_T < self.lengths_B.unsqueeze(1))

    def column(self, column: Column) -> torch.Tensor:
        """A column by position, (B, T)."""
        assert column.name in self.columns, f"this weighting does not say that it needs the column {column.name}"
        return self.columns[column.name]

    def of_targets(self, x_BT: torch.Tensor) -> torch.Tensor:
        """A per-token quantity as seen from each head: entry (b, t, h) is token t+1+h*stride's."""
        from wmtp.objectives.shift import expand_weights

        return expand_weights(x_BT, self.labels_BTH, "target", stride=self.stride)

    def by_head(self, x_BTH: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Each head that has targets in the global batch, with its values at all of them (N), the same on every rank."""
        for head in range(x_BTH.shape[-1]):
            everywhere_N = self.gather(x_BTH[..., head][self.valid_BTH[..., head]])
            if everywhere_N.numel():
                yield head, everywhere_N

    def expand(self, weights_BT: torch.Tensor) -> torch.Tensor:
        """Weights of positions as weights of targets, (B, T, H), the way the arm aligns them."""
        from wmtp.objectives.shift import expand_weights

        return expand_weights(weights_BT, self.labels_BTH, self.alignment, stride=self.stride)


def _places(rows_B: torch.Tensor, labels_BTH: torch.Tensor) -> torch.Tensor:
    import torch

    return rows_B.unsqueeze(1) * (1 << 32) + torch.arange(labels_BTH.shape[1], device=rows_B.device)


@dataclass(frozen=True)
class LossShape:
    """What of an arm's loss a guess depends on, see `target_scale`."""

    reduction: str
    normalise: str


@dataclass(frozen=True)
class Weighting(ABC):
    """A weighting with its keys, which are the fields of the subclass and are checked when it is made.

    `level`: whether the weights belong to `positions` (the arm's alignment says which), to `targets`, or are all the `same`.
    `control_for`: the weighting that this one is the blind control of. `of_solutions`: whether it looks at right and wrong
    solutions, or at an example as a whole, so that rows of packed documents mean nothing to it.
    """

    level: ClassVar[Level] = "targets"
    control_for: ClassVar[str] = ""
    of_solutions: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @property
    def has_alignment(self) -> bool:
        """Whether the arm's alignment makes a difference."""
        return self.level == "positions"

    @property
    def needs(self) -> Needs:
        return Needs()

    @abstractmethod
    def weights(self, inputs: WeightInputs) -> torch.Tensor | None:
        """Weights before normalisation.

        Returns:
            weights_BTH or, where `level` is `positions`, weights_BT; finite, >= 0. None stands for ones, where it is `same`.
        """

    def guess(self, inputs: WeightInputs, counts_H: torch.Tensor, loss: LossShape) -> ScaleGuess | None:
        """What can be told of the scales while the NLLs are still being computed, see `linear_nll`; None for nothing.

        Args:
            inputs: without `nll_BTH`; counts_H: valid targets per head of the whole global batch.
        """
        return None

    def measure(self, parts: Iterable[WeightInputs]) -> Any:
        """Statistics of the whole dataset, once before training: `inputs.statistics` of every batch.

        Args:
            parts: all training examples, some hundreds at a time, with columns and without anything of the policy's.
        Raises:
            ValueError: the dataset's scores cannot be weighted by.
        """
        return None


def target_weights(weighting: Weighting, inputs: WeightInputs) -> torch.Tensor | None:
    """Weights of one batch in the one layout that reaches the loss.

    Returns:
        weights_BTH >= 0, zero on ignored labels, no gradient; None means ones.
    Raises:
        TypeError: not what the weighting's level says: no tensor (one has forgotten to return), ones of a shape of their own, a
            weight a token of what calls itself weights of targets.
    """
    import torch

    weights = weighting.weights(inputs)
    subject, level = f"weighting {weighting.name}", weighting.level
    if level == "same":
        if weights is not None:
            raise TypeError(f"{subject} is of the level same, which stands for ones: it must return None")
        return None
    if not isinstance(weights, torch.Tensor):
        raise TypeError(f"{subject} must return a tensor of weights, not {type(weights).__name__}")
    shape, of_targets = tuple(weights.shape), tuple(inputs.labels_BTH.shape)
    allowed = (of_targets, of_targets[:2]) if level == "positions" else (of_targets,)
    if shape not in allowed:
        wanted = " or ".join(map(str, allowed))
        hint = " (a weight a token is of the level positions)" if shape == of_targets[:2] else ""
        raise TypeError(f"{subject}, of the level {level}, must return weights of the shape {wanted}, not {shape}{hint}")
    return inputs.expand(weights)
