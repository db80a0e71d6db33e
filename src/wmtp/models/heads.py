"""Heads in the place of a decoder's last layer, whatever the decoder's family.

The library's own forward makes masks (windows, layer types), rotary embeddings, scales and caches, and hands them to its last
layer; a module in that place hands them on to that layer and its siblings. Nothing here knows a family.

Further heads are of a variant: `parallel` and `stride` are siblings of the last layer, `sequential` ones a chain behind it.

Shapes: B batch, T sequence, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.cache_utils import Cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel


VARIANTS = ("parallel", "sequential", "stride")
READS = ("trunk", "head0", "normed")


@dataclass(frozen=True)
class HeadLayout:
    """What further heads are.

    variant: `parallel` (arXiv 2404.19737), `sequential` (2412.19437) or `stride` (2505.17505).
    stride: head h predicts token t + 1 + h * stride.
    reads: `trunk`, what the last layer reads; `head0`, what head 0 made of it (`sequential`: the head before); `normed`, for
        `sequential` alone: what the head before hands to the unembedding, as released models have it.

    Raises:
        ValueError: a combination that does not exist.
    """

    variant: str = "parallel"
    stride: int = 1
    reads: str = "trunk"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS or self.reads not in READS:
            raise ValueError(f"heads of variant {self.variant!r} that read {self.reads!r}: {VARIANTS} read {READS}")
        if (self.stride > 1) != (self.variant == "stride") or self.stride < 1:
            raise ValueError(f"stride={self.stride} with heads of variant {self.variant!r}: more than 1 with stride, else 1")
        if self.reads == ("trunk" if self.is_chain else "normed"):
            raise ValueError(f"heads of variant {self.variant!r} cannot read {self.reads!r}")

    @property
    def is_chain(self) -> bool:
        """Whether a head reads the head before it, and the token that that one predicts."""
        return self.variant == "sequential"


class ChainedBlock(nn.Module):
    """One head of a chain: `block(eh_proj [enorm(E(x_{t+k})); hnorm(h)])`, and a norm of its own before the unembedding.

    Named as transformers' `MtpLayer`, whose tensors fit.

    Args:
        block: a decoder layer.
        norm: of the kind that the family has; this one starts as a copy of it, the two others without gain.
    Source: DeepSeek-V3, arXiv 2412.19437, section 2.2, in the order of the released weights.
    """

    def __init__(self, block: nn.Module, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.enorm, self.hnorm = unit_norm(norm), unit_norm(norm)
        device = next((parameter.device for parameter in block.parameters()), None)
        self.eh_proj = nn.Linear(2 * width, width, bias=False, device=device)
        self.mtp_block = block
        self.post_norm = _copy(norm)

    def forward(
        self, hidden_BTD: torch.Tensor, *args: Any, ahead_BTD: torch.Tensor, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the block made, and what of it goes to the unembedding.

        Args:
            hidden_BTD: of the head before; ahead_BTD: embeddings of the tokens which that one predicts.
        """
        joined_BTD = self.eh_proj(torch.cat([self.enorm(ahead_BTD), self.hnorm(hidden_BTD)], dim=-1))
        made_BTD = _tensor(self.mtp_block(joined_BTD, *args, **kwargs))
        return made_BTD, self.post_norm(made_BTD)


@dataclass
class _Run:
    """How the heads run now. `outputs`: what each of them made, of a chain after its norm; `ahead`: see `ChainedBlock`.

    `learns`: whether heads behind head 0 record gradients; the trunk and head 0 may run without. `alone`: one head of a chain
    by its place, and what it reads instead of what the decoder hands over.
    """

    num_heads: int = 1
    outputs: list[torch.Tensor] = field(default_factory=list)
    ahead: Sequence[torch.Tensor] = ()
    learns: bool = False
    alone: tuple[int, torch.Tensor] | None = None


class Heads(nn.Module):
    """A decoder's last layer, which is head 0, and further heads.

    Args:
        block: the layer; every further head starts as a copy of it.
        num_heads: head 0 included.
        num_layers: of the decoder, with this one: where further heads' caches are numbered from.
        norm: the decoder's last one, which is run on what head 0 made.
        width: of hidden states.
    """

    def __init__(
        self, block: nn.Module, num_heads: int, num_layers: int, layout: HeadLayout, norm: nn.Module, width: int
    ) -> None:
        super().__init__()
        self.layout = layout
        self.blocks = nn.ModuleList([block])
        for h in range(1, num_heads):
            sibling = _copy(block)
            module: Any
            for module in sibling.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = num_layers - 1 + h
            self.blocks.append(ChainedBlock(sibling, norm, width) if layout.is_chain else sibling)
        self._norm = [norm]  # not as a module of this one
        self._index = num_layers - 1
        self.gives_tuples = False
        self._run = _Run()

    def __getattr__(self, name: str) -> Any:
        """What decoders ask their layers for (`attention_type` and the like), this one says as its first block does."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            blocks: Any = super().__getattr__("blocks")
            return getattr(blocks[0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Head 0's output, as the layer gave it."""
        run = self._run
        if run.alone is not None:
            head, hidden_BTD = run.alone
            _fill_slot(self._index, hidden_BTD, args, kwargs)  # masks may be made by this one, the only one that attends
            run.outputs += self._chained(head, hidden_BTD, run.ahead[0], args, kwargs)
            return (run.outputs[0],) if self.gives_tuples else run.outputs[0]
        first = self.blocks[0](*args, **kwargs)
        self.gives_tuples = isinstance(first, tuple)
        run.outputs.append(_tensor(first))
        with torch.set_grad_enabled(torch.is_grad_enabled() or run.learns):
            (self._run_chain if self.layout.is_chain else self._run_siblings)(run, args, kwargs)
        return first

    def _run_siblings(self, run: _Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.layout.reads == "head0":
            args, kwargs = _instead(args, kwargs, run.outputs[0])
        run.outputs += [_tensor(block(*args, **kwargs)) for block in self.blocks[1 : run.num_heads]]

    def _run_chain(self, run: _Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden_BTD = self.first_of_chain(run.outputs[0])
        for h in range(1, run.num_heads):
            hidden_BTD, normed_BTD = self._chained(h, hidden_BTD, run.ahead[h - 1], args, kwargs)
            run.outputs.append(normed_BTD)

    def first_of_chain(self, output_BTD: torch.Tensor) -> torch.Tensor:
        """What the first further head of a chain reads of head 0's output."""
        read_BTD: torch.Tensor = self._norm[0](output_BTD) if self.layout.reads == "normed" else output_BTD
        return read_BTD

    def _chained(
        self, head: int, hidden_BTD: torch.Tensor, ahead_BTD: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the next head reads, and what goes to the unembedding."""
        args, kwargs = _instead(args, kwargs, hidden_BTD)
        given = args if args else (kwargs.pop("hidden_states"),)
        made_BTD, normed_BTD = self.blocks[head](*given, ahead_BTD=ahead_BTD, **kwargs)
        return (normed_BTD if self.layout.reads == "normed" else made_BTD), normed_BTD

    @contextmanager
    def running(self, num_heads: int, ahead: Sequence[torch.Tensor] = ()) -> Iterator[list[torch.Tensor]]:
        """The first `num_heads` run, and the list is filled with what each of them made, (B, T, D), of a chain after its norm.

        Args:
            ahead: of a chain, for every head but the first the embeddings (B, T, D) of the tokens that the one before predicts.
        """
        with self._as(_Run(num_heads, ahead=ahead, learns=torch.is_grad_enabled())) as run:
            yield run.outputs

    @contextmanager
    def running_alone(self, head: int, hidden_BTD: torch.Tensor, ahead_BTD: torch.Tensor) -> Iterator[list[torch.Tensor]]:
        """One head of a chain runs on these instead of what the decoder hands over; what the next one reads, and its result."""
        with self._as(_Run(outputs=[], ahead=(ahead_BTD,), alone=(head, hidden_BTD))) as run:
            yield run.outputs

    @contextmanager
    def _as(self, run: _Run) -> Iterator[_Run]:
        self._run = run
        try:
            yield run
        finally:
            self._run = _Run()


def _tensor(output: Any) -> torch.Tensor:
    tensor: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def _instead(args: tuple[Any, ...], kwargs: dict[str, Any], hidden_BTD: torch.Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A layer's arguments with other hidden states."""
    return ((hidden_BTD, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden_BTD})


def unit_norm(norm: nn.Module) -> nn.Module:
    """A norm of this kind that has no gain, however its parameters say so; with numbers also where this one has none yet.

    Raises:
        ValueError: neither ones nor zeros give one.
    """
    made = _copy(norm)
    if any(parameter.is_meta for parameter in made.parameters()):
        made.to_empty(device="cpu")
    parameters = dict(made.named_parameters())
    if not parameters:
        return made
    like = next(iter(parameters.values()))
    x = torch.linspace(-1, 1, 64, device=like.device, dtype=like.dtype)[torch.arange(like.shape[-1], device=like.device) % 64]
    for fill in (1.0, 0.0):
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.fill_(0.0 if name.endswith("bias") else fill)
            if abs(made(x).double().square().mean().item() - 1) < 0.2:
                return made
    raise ValueError(f"its norm {type(norm).__name__} has a gain that is neither its weight nor one more")


def _copy(block: nn.Module) -> nn.Module:
    """A copy with tensors of its own and the same configuration objects: they may still change for all layers."""
    shared = {id(value): value for module in block.modules() for key, value in vars(module).items() if key == "config"}
    return copy.deepcopy(block, shared)


@contextmanager
def passed_by(layers: Iterable[nn.Module], tuples: bool) -> Iterator[None]:
    """These layers hand on what they are given, but fill their caches' slots: masks are made by how many there are.

    Args:
        tuples: whether the family's layers give tuples.
    """

    def hand_on(index: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden_BTD = args[0] if args else kwargs["hidden_states"]
            _fill_slot(index, hidden_BTD, args, kwargs)
            return (hidden_BTD,) if tuples else hidden_BTD

        return forward

    try:
        for index, layer in enumerate(layers):
            layer.forward = hand_on(index)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _fill_slot(index: int, hidden_BTD: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """As many empty entries in a layer's cache, of those in a layer's arguments, as it was given tokens."""
    cache = next((value for value in (*args, *kwargs.values()) if isinstance(value, Cache)), None)
    if cache is not None and hasattr(cache.layers[index], "update"):
        nothing = hidden_BTD.new_zeros(hidden_BTD.shape[0], 1, hidden_BTD.shape[1], 1)
        cache.update(nothing, nothing, index)


def layers_name(decoder: PreTrainedModel) -> str:
    """The name of the list of a decoder's layers.

    Raises:
        ValueError: there is not exactly one list of so many modules as the configuration says.
    """
    count = getattr(decoder.config, "num_hidden_layers", None)
    names = [n for n, child in decoder.named_children() if isinstance(child, nn.ModuleList) and len(child) == count]
    if len(names) != 1:
        raise ValueError(f"it has no single list of {count} layers")
    return names[0]


def norm_name(decoder: PreTrainedModel) -> str:
    """The name of the norm after the last layer: the decoder's own one that is registered last.

    Raises:
        ValueError: there is none. That it is the one, and nothing else comes after it, the proof at load says.
    """
    norms = [name for name, child in decoder.named_children() if _is_norm(name, child)]
    if not norms:
        raise ValueError("it has no norm after its last layer")
    return norms[-1]


def _is_norm(name: str, module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and not list(module.children())
