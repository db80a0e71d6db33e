"""A pretrained model of which every rank reads its own slices: sharded without parameters first, filled from the files then.

Nothing of the size of the model is ever on a rank, on its host or its device. There is no other way to a model that is trained
or that scores: see `wmtp.models.build.parallelize`, which fills what is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from accelerate import init_empty_weights
from torch import nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping

from wmtp import model_files
from wmtp.errors import ModelError, described
from wmtp.model_types import require_causal
from wmtp.models.file_tensors import Place, Source, places_in, say_unread, shipped_names, sources
from wmtp.models.heads import HeadLayout, layers_name
from wmtp.models.load import differing, of_heads, proof_logits, put_heads, ready_for_proof, require_numbers
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.parts import fill, without_wrappers
from wmtp.models.start import start_heads, try_start
from wmtp.models.streamed import stream
from wmtp.models.unembedding import FORWARD_METHODS

if TYPE_CHECKING:
    from wmtp.models.shipped import Modules

_UNREAD = "unread_slices"


@dataclass(frozen=True)
class Opened:
    """A folder's model without parameters, and what each of its tensors is read from.

    `untied`: parameters that the configuration calls tied and the files hold apart. `places`: everything in the files.
    """

    folder: Path
    where: str
    model: PreTrainedModel
    sources: Mapping[str, Source]
    untied: tuple[str, ...]
    places: Mapping[str, Place]

    def with_heads(
        self, n_future: int, layout: HeadLayout, start: str, seed: int, modules: Modules | None = None
    ) -> MTPForCausalLM:
        """Heads on a plain model, see `wmtp.models.start`; still to be filled.

        Args:
            seed: of what is drawn for them. modules: what they are, where they are `shipped`.
        Raises:
            ModelError: heads cannot be put on it.
        """
        source = _without_parameters(self.folder, self.where, self.untied)
        ours = _names_with_heads(source, self.sources)
        model = put_heads(source, n_future, self.where, layout)
        found = ours(model.last_layer_name)
        if modules is not None:
            found |= modules.sources_of_heads(f"{model.last_layer_name}.blocks.", n_future)
        setattr(model, _UNREAD, Unread(self.where, found, self, start, seed, modules))
        return model

    def own(self) -> MTPForCausalLM:
        """A model that has heads already; still to be filled.

        Raises:
            ModelError: it has none.
        """
        model: PreTrainedModel = self.model
        if not isinstance(model, MTPForCausalLM):
            raise ModelError(f"{self.where}: a {model.config.model_type} model, and not a multi-token one")
        setattr(model, _UNREAD, Unread(self.where, self.sources))
        return model


@dataclass(frozen=True)
class Unread:
    """What a model without parameters is to be filled from, by the names that it has; `plain`: what heads were put on."""

    where: str
    sources: Mapping[str, Source]
    plain: Opened | None = None
    start: str | None = None
    seed: int = 0
    modules: Modules | None = None

    def fill(self, whole: nn.Module, model: MTPForCausalLM, device: torch.device) -> None:
        """Give a sharded model its parameters, in float32; every rank reads what it holds. What has values keeps them.

        Args:
            whole: what was sharded, `model` or what holds it.
        """
        whole._apply(lambda tensor: torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device))
        with torch.no_grad():
            for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers()):
                source = self.sources.get(without_wrappers(name))
                if source is not None:
                    fill(tensor, source.read)
        if self.start is not None:
            start_heads(model, self.start, self.seed)

    def prove(self, whole: nn.Module, model: MTPForCausalLM, *, is_narrow: bool) -> None:
        """The filled model against the plain one, which rank 0 runs a layer at a time, and its caches. All ranks call it.

        Raises:
            ModelError: on every rank, what differs.
        """
        expected: list[torch.Tensor] = []
        if self.plain is not None and dist.get_rank() == 0:
            self._agree(lambda: expected.append(_streamed_logits(cast(Opened, self.plain)).to(model.device)))
        elif self.plain is not None:
            self._agree(lambda: None)

        def numbers() -> None:
            """Of what this rank holds: a row that no token of the proof reads shows in no logits."""
            local = (part.to_local() if isinstance(part, DTensor) else part for part in whole.parameters())
            names = (without_wrappers(name) for name, _ in whole.named_parameters())
            require_numbers(zip(names, local, strict=True), self.where)

        def of_parts() -> str | None:
            pairs = of_heads(model, (proof_logits(model) if self.plain is None else next(iter(expected), None)))
            return differing(pairs, model, is_narrow=is_narrow)

        def prove_each() -> None:
            """What rank 0 alone can find ends the others' proof, too: each step is of all ranks."""
            self._agree(of_parts)
            self._agree(lambda: None if self.start is None else try_start(model, self.start))
            self._agree(lambda: None if self.modules is None else self.modules.differing(model))

        self._agree(numbers)
        with ready_for_proof(model):
            gathered(whole, model.unembedding, prove_each)

    def _agree(self, run: Callable[[], str | None]) -> None:
        """Raises ModelError on all ranks: what the first that found or met something did."""
        try:
            fault = run()
        except ModelError as error:
            fault = str(error).removeprefix(f"{self.where}: ")
        except Exception as error:  # families are unlike one another
            fault = f"heads cannot be put on it: {described(error)}"
        said: list[str | None] = [None] * dist.get_world_size()
        dist.all_gather_object(said, fault)
        for first in filter(None, said):
            raise ModelError(f"{self.where}: {first}")


def open_model(folder: Path, where: str) -> Opened:
    """The model of a folder, every tensor accounted for and none of them read.

    Args:
        where: how errors name it.
    Raises:
        ModelError: no such model, files that cannot be read or are no plain numbers, or a tensor that is missing, unexpected or
            misshapen.
    """
    model_files.require_model(folder)
    require_causal(str(folder), where)
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{where} holds an adapter beside the weights: merge it into them (PEFT's merge_and_unload)")
    model = _without_parameters(folder, where, ())
    quantised = getattr(model.config, "quantization_config", None)
    if quantised is not None:
        method = dict(quantised).get("quant_method") if isinstance(quantised, dict) else type(quantised).__name__
        raise ModelError(f"{where}: its weights are quantised ({method}): training needs a folder of them dequantised")
    places = places_in(folder)
    found = sources(model, places.values(), get_model_conversion_mapping(model), where)
    say_unread(shipped_names(model, places), where)
    untied = _apart(model, found)
    return Opened(folder, where, _without_parameters(folder, where, untied) if untied else model, found, untied, places)


def open_heads(folder: Path, where: str) -> MTPForCausalLM:
    """A multi-token model of wmtp's, still to be filled and proven by `parallelize`.

    Raises:
        ModelError: as `open_model`, or a model of another kind.
    """
    return open_model(folder, where).own()


def unread(model: nn.Module) -> Unread | None:
    """What a model is still to be filled from; asked once."""
    found: Unread | None = model.__dict__.pop(_UNREAD, None)
    return found


def fill_alike(model: nn.Module, name: str, like: torch.Tensor) -> None:
    """A parameter `name`, which the files do not hold, is to start as `like`; nothing where the model is filled already."""
    found: Unread | None = model.__dict__.get(_UNREAD)
    if found is not None:
        theirs = {known for known, one in model.named_parameters(remove_duplicate=False) if one is like} & found.sources.keys()
        setattr(model, _UNREAD, replace(found, sources={**found.sources, name: found.sources[min(theirs)]}))


def _without_parameters(folder: Path, where: str, untied: tuple[str, ...]) -> PreTrainedModel:
    """As `from_pretrained` makes it, its buffers computed, its parameters of no memory."""
    try:
        config = AutoConfig.from_pretrained(folder)
        with init_empty_weights(include_buffers=False):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.tie_weights()
        if (folder / "generation_config.json").exists():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    except Exception as error:  # transformers raises whatever it meets in somebody's files
        raise ModelError(f"{where}: {described(error)}") from None
    for name in untied:
        part, _, key = name.rpartition(".")
        like = model.get_parameter(name)
        setattr(model.get_submodule(part), key, nn.Parameter(torch.empty_like(like)))
        model.all_tied_weights_keys.pop(name)
    return model


def _apart(model: PreTrainedModel, found: Mapping[str, Source]) -> tuple[str, ...]:
    """Parameters that are tied by the configuration, but of which the files hold other numbers, as `from_pretrained` has it."""
    pairs = [(a, b) for a, b in getattr(model, "all_tied_weights_keys", {}).items() if a in found and b in found]
    return tuple(a for a, b in pairs if not torch.equal(found[a].read(), found[b].read()))


def _names_with_heads(source: PreTrainedModel, found: Mapping[str, Source]) -> Callable[[str], dict[str, Source]]:
    """The sources by the names that a model with heads has for the plain model's tensors, given its last layer's name."""
    names = {id(module): name for name, module in source.named_modules()}
    decoder, unembedding = names[id(source.get_decoder())], names[id(source.get_output_embeddings())]

    def ours(name: str, last: str) -> str:
        if name.startswith(f"{unembedding}."):
            return name.replace(unembedding, "unembedding.lm_head", 1)
        name = name.replace(decoder, "model", 1)
        return re.sub(rf"^{re.escape(last)}\.", f"{last}.blocks.0.", name)

    return lambda last: {ours(name, last): source for name, source in found.items()}


def _streamed_logits(plain: Opened) -> torch.Tensor:
    """The plain model's logits for the proof's tokens, on the CPU."""
    decoder = plain.model.get_decoder()
    with torch.no_grad():
        stream(plain.model, plain.sources, cast(nn.ModuleList, getattr(decoder, layers_name(decoder))))
    with ready_for_proof(plain.model):
        return proof_logits(plain.model)


@contextmanager
def _one_matrix(root: Any, unembedding: Any) -> Iterator[None]:
    """The root's parameters are let go of while the unembedding runs, whichever way."""

    def let_go(*_: Any) -> None:
        root.set_reshard_after_forward(True, recurse=False)
        root.reshard()
        root.set_reshard_after_forward(False, recurse=False)

    def take_up(*_: Any) -> None:
        root.unshard()

    def around(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            let_go()
            try:
                return method(*arguments, **options)
            finally:
                take_up()

        return run

    hooks = [unembedding.register_forward_pre_hook(let_go, prepend=True), unembedding.register_forward_hook(take_up)]
    methods = {name: getattr(unembedding, name) for name in FORWARD_METHODS}
    for name, method in methods.items():
        setattr(unembedding, name, around(method))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, method in methods.items():
            setattr(unembedding, name, method)


def gathered(whole: nn.Module, unembedding: nn.Module, run: Callable[[], Any]) -> Any:
    """Run with the root's own parameters whole meanwhile, as in its forward; all others are gathered and let go of as ever.

    The root has the embeddings. Where the unembedding is another matrix, there is never room for both.
    """
    keeps = [module for module in whole.modules() if isinstance(module, FSDPModule)]
    root = cast(Any, whole)
    is_host = next(whole.parameters()).device.type == "cpu"
    for module in keeps:
        module.set_reshard_after_forward(module is not whole, recurse=False)
    root.run_gathered = run
    register_fsdp_forward_method(whole, "run_gathered")
    try:
        with _one_matrix(root, unembedding) if isinstance(unembedding, FSDPModule) else nullcontext():
            return root.run_gathered()
    finally:
        del root.run_gathered
        for module in keeps:
            module.reshard()
            module.set_reshard_after_forward(not is_host, recurse=False)
