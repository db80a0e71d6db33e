"""A causal language model from its files, every tensor accounted for, and heads on it, proven before anything trains.

Shapes: B batch, T sequence, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from wmtp.errors import ModelError, described
from wmtp.model_files import num_elements, require_model, tensor_names
from wmtp.model_types import completing_class, require_causal
from wmtp.models.file_tensors import passed_over, require_every_tensor, say_unread, shipped_names
from wmtp.models.heads import HeadLayout, layers_name, norm_name
from wmtp.models.mtp import MTPConfig, MTPForCausalLM
from wmtp.models.start import start_heads, try_start
from wmtp.objectives.shift import shift_labels
from wmtp.types import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_PROOF_LENGTH, _PROOF_PREFIX, _PROOF_WINDOW = 40, 32, 12
"""Random tokens of the proof, those that are cached in one go, and what longer attention windows are shortened to for it."""

PROOF_RTOL, PROOF_RTOL_NARROW = 1e-4, 0.05
"""Largest difference that the proof allows, of the largest logit, in float32 and in 16 bits. What differs by more computes
something else."""

_MUCH_LARGER = 4
"""What a misshapen tensor alone does not explain, and what memory stands: settings' parameters over the files' numbers."""

_MODEL_ARGUMENTS = ("input_ids", "attention_mask", "position_ids", "past_key_values", "inputs_embeds", "use_cache")


def read_model(
    path_or_hub_id: str,
    where: str,
    *,
    dtype: torch.dtype | str = "auto",
    revision: str | None = None,
    device: torch.device | str = "cpu",
    causal: bool = True,
) -> PreTrainedModel:
    """Any causal language model that transformers knows, wmtp's own included, with every tensor accounted for.

    Args:
        where: how errors name it, `model.pretrained=...`.
        dtype: of its parameters; by default what its files hold. revision: of a hub id.
        device: where tensors go one by one as they are read.
        causal: False lets in whatever else completes texts, see `completing_class`.
    Raises:
        ModelError: no such model, files that cannot be read, or a tensor that is missing, unexpected or misshapen.
    """
    from transformers import AutoModelForCausalLM

    folder = Path(path_or_hub_id)
    if folder.exists():
        require_model(folder)
    if causal:
        require_causal(path_or_hub_id, where, revision=revision)
    kind = AutoModelForCausalLM if causal else completing_class(path_or_hub_id, where, revision=revision)
    try:
        if folder.exists():
            _require_size(folder, kind, where)
        loaded: Any = kind.from_pretrained(
            path_or_hub_id,
            dtype=dtype,
            revision=revision,
            device_map={"": device},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except ModelError:
        raise
    except Exception as error:  # transformers raises whatever it meets in somebody's files
        raise ModelError(f"{where}: {described(error)}") from error
    model, info = loaded
    unknown = set(info["unexpected_keys"])
    require_every_tensor({**info, "unexpected_keys": unknown - set(shipped_names(model, unknown))}, where)
    files = [file for file in sorted(folder.glob("*.safetensors")) if passed_over(model)]
    say_unread(shipped_names(model, [name for file in files for name in tensor_names(file)]), where)
    require_numbers(model.named_parameters(), where)
    return model


def _require_size(folder: Path, kind: Any, where: str) -> None:
    """Raises ModelError: a much larger model's settings, which would be made in memory before a tensor's shape is compared."""
    from transformers import AutoConfig

    held = num_elements(folder)
    if held is None:
        return
    with torch.device("meta"):
        model = kind.from_config(AutoConfig.from_pretrained(folder))
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > _MUCH_LARGER * held:
        said = f"config.json is of a model of {wanted:,} parameters, and the weights are {held:,} numbers"
        raise ModelError(f"{where}: {said}: is it another model's?")


def require_numbers(tensors: Iterable[tuple[str, torch.Tensor]], where: str) -> None:
    """Raises ModelError: a model of NaN says the same token for ever, and so quietly."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() and tensor.itemsize > 1:
            least, largest = tensor.detach().aminmax()
            if not (least.isfinite() and largest.isfinite()):
                raise ModelError(f"{where}: tensor {name} holds NaN or Inf")


def read_heads(folder: Path, where: str) -> MTPForCausalLM:
    """A multi-token model of wmtp's, in float32, whose parts agree.

    Raises:
        ModelError: as `read_model` and `prove_heads`, or a model of another kind.
    """
    model = read_model(str(folder), where, dtype=torch.float32)
    if not isinstance(model, MTPForCausalLM):
        raise ModelError(f"{where}: a {model.config.model_type} model, and not a multi-token one")
    prove_heads(model, where)
    return model


def from_causal_lm(
    source: PreTrainedModel,
    n_future: int,
    where: str = "",
    *,
    layout: HeadLayout | None = None,
    start: str = "copy",
    seed: int = 0,
) -> MTPForCausalLM:
    """Put heads on a causal language model: its last layer becomes head 0.

    Takes `source`'s modules over. Head 0 then computes exactly what the model did, and is proven to.

    Args:
        where: how errors name it.
        layout: what further heads are; start and seed: their parameters, see `start_heads`.
    Raises:
        ModelError: heads cannot be put there, or what they compute is not what the model did.
    """
    where = where or f"{source.config.model_type} model"
    training = source.training
    _require_place(source, where)
    with ready_for_proof(source):
        expected = proof_logits(source)
        model = put_heads(source, n_future, where, layout)
        start_heads(model, start, seed)
        _compare(model, expected, where)
        fault = try_start(model, start)
    if fault:
        raise ModelError(f"{where}: {fault}")
    return model.train(training)


def put_heads(source: PreTrainedModel, n_future: int, where: str, layout: HeadLayout | None = None) -> MTPForCausalLM:
    """The same without a proof, which is the caller's to make; further heads are copies of the last layer.

    Raises:
        ModelError: heads cannot be put there.
    """
    _require_place(source, where)
    try:
        return MTPForCausalLM(_heads_config(source.config, n_future, layout or HeadLayout()), source)
    except ValueError as error:
        raise ModelError(f"{where}: heads cannot be put on it: {error}") from None


def _require_place(source: PreTrainedModel, where: str) -> None:
    reason = _why_no_heads(source)
    if reason:
        raise ModelError(f"{where}: heads cannot be put on it: {reason}")
    head, embedding = source.get_output_embeddings(), source.get_input_embeddings()
    source.config.tie_word_embeddings = head.weight is embedding.weight


def _heads_config(config: PreTrainedConfig, n_future: int, layout: HeadLayout) -> MTPConfig:
    """Around the same object, which the modules keep reading, and which a new configuration would make forget how."""
    how = {key: getattr(config, key) for key in ("_attn_implementation_internal", "_experts_implementation_internal")}
    made = MTPConfig(
        text_config=config,
        n_future=n_future,
        head_variant=layout.variant,
        head_stride=layout.stride,
        head_reads=layout.reads,
    )
    for key, value in how.items():
        setattr(config, key, value)
    return made


def _why_no_heads(source: PreTrainedModel) -> str | None:
    config, head = source.config, source.get_output_embeddings()
    if config.is_encoder_decoder:
        return "it has an encoder"
    if config.get_text_config(decoder=True) is not config:
        return "it is multimodal"
    if not isinstance(head, nn.Linear) or head.bias is not None:
        return "its unembedding is not a matrix alone"
    decoder = source.get_decoder()
    lacking = set(_MODEL_ARGUMENTS) - set(inspect.signature(decoder.forward).parameters)
    if lacking:
        return f"its decoder takes no {', '.join(sorted(lacking))}"
    try:
        layers_name(decoder), norm_name(decoder)
    except ValueError as error:
        return str(error)
    return None


def prove_heads(model: MTPForCausalLM, where: str) -> None:
    """A multi-token model's own parts agree: its norm is the decoder's, its NLL its logits', its caches its whole forward.

    Raises:
        ModelError: what does not.
    """
    with ready_for_proof(model):
        _compare(model, proof_logits(model), where)


def _compare(model: MTPForCausalLM, expected_BTV: torch.Tensor, where: str) -> None:
    try:
        found = of_heads(model, expected_BTV)
    except Exception as error:  # and so do families that are unlike others
        raise ModelError(f"{where}: heads cannot be put on it: {described(error)}") from None
    fault = differing(found, model, is_narrow=model.dtype.itemsize == 2)
    if fault:
        raise ModelError(f"{where}: {fault}")


_Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""What must be equal: the names of things, what they are, what they must be."""


def differing(found: _Pairs, model: PreTrainedModel, *, is_narrow: bool) -> str | None:
    """What of `found` differs by more than rounding explains; `is_narrow`: in 16 bits."""
    seen_BT = _proof_tokens(model)[1].bool()
    rtol = PROOF_RTOL_NARROW if is_narrow else PROOF_RTOL
    for what, (is_BT, due_BT) in found.items():
        there, due = is_BT[seen_BT].double(), due_BT[seen_BT].double()
        if not due.isfinite().all():
            return "the model's own logits are NaN or Inf on random tokens"
        difference = (there - due).abs().max().item()
        if not difference <= rtol * due.abs().max().item():
            return f"{what} differs by {difference:.2g} from the model's own on random tokens"
    return None


def _head_0(model: MTPForCausalLM, expected_BTV: torch.Tensor | None) -> _Pairs:
    """Logits and NLL of head 0 against the model's own logits; nothing where those are not here, but the model runs."""
    ids_BT, mask_BT = _proof_tokens(model)
    labels_BTH = shift_labels(
        ids_BT.masked_fill(mask_BT == 0, IGNORE_INDEX), model.config.n_future, stride=model.config.head_stride
    )
    nll_BTH = model(input_ids=ids_BT, attention_mask=mask_BT, labels_BTH=labels_BTH).nll_BTH
    logits_BTV = proof_logits(model)
    if expected_BTV is None:
        return {}
    due_BT = torch.nn.functional.cross_entropy(expected_BTV.mT.float(), labels_BTH[..., 0], reduction="none")
    return {"head 0": (logits_BTV, expected_BTV), "head 0's NLL": (nll_BTH[..., 0], due_BT)}


def of_heads(model: MTPForCausalLM, expected_BTV: torch.Tensor | None) -> _Pairs:
    """Head 0, and every head with a cache against the same without one."""
    ids_BT, mask_BT = _proof_tokens(model)
    found = _head_0(model, expected_BTV)
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    whole = model.head_hidden(ids_BT, mask_BT, positions_BT)
    for h, cached_BTD in enumerate((_chain_in_parts if model.config.layout.is_chain else _in_parts)(model, positions_BT)):
        found[f"head {h} with a cache"] = (cached_BTD, whole[h])
    return found


def _places(model: MTPForCausalLM, positions_BT: torch.Tensor) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
    """The proof's tokens a part at a time: where they are, and the mask and positions of them."""
    _, mask_BT = _proof_tokens(model)
    for places in torch.arange(_PROOF_LENGTH, device=model.device).split(
        [_PROOF_PREFIX, *[1] * (_PROOF_LENGTH - _PROOF_PREFIX)]
    ):
        yield places, {"attention_mask": mask_BT[:, : places[-1] + 1], "position_ids": positions_BT[:, places]}


def _in_parts(model: MTPForCausalLM, positions_BT: torch.Tensor) -> list[torch.Tensor]:
    """Every head's hidden states of the proof's tokens, with a cache."""
    ids_BT, _ = _proof_tokens(model)
    cache = model.new_cache()
    parts = [model.head_hidden(ids_BT[:, at], **how, past_key_values=cache) for at, how in _places(model, positions_BT)]
    return [torch.cat(of_head, dim=1) for of_head in zip(*parts, strict=True)]


def _chain_in_parts(model: MTPForCausalLM, positions_BT: torch.Tensor) -> list[torch.Tensor]:
    """The same of a chain, whose heads run one by one when tokens are proposed."""
    ids_BT, _ = _proof_tokens(model)
    cache = model.new_cache(1)
    starts = [model.chain_start(ids_BT[:, at], **how, past_key_values=cache) for at, how in _places(model, positions_BT)]
    first_BTD, read_BTD = (torch.cat(parts, dim=1) for parts in zip(*starts, strict=True))
    found = [first_BTD]
    for head in range(1, model.config.n_future):
        cache, ahead_BT = model.new_cache(), ids_BT.roll(-head, dims=1)
        parts = [
            model.chained(head, read_BTD[:, at], ahead_BT[:, at], **how, past_key_values=cache)
            for at, how in _places(model, positions_BT)
        ]
        read_BTD, normed_BTD = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
        found.append(normed_BTD)
    return found


@contextmanager
def ready_for_proof(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout and gradients, and with windows that the proof's tokens are longer than."""
    training, config = model.training, model.config.get_text_config(decoder=True)
    with torch.no_grad(), _short_windows(config):
        try:
            model.eval()
            yield
        finally:
            model.train(training)


@contextmanager
def _short_windows(config: PreTrainedConfig) -> Iterator[None]:
    names = ("sliding_window", "attention_chunk_size")
    windows = {name: value for name in names if isinstance(value := getattr(config, name, None), int)}
    try:
        for name, value in windows.items():
            setattr(config, name, min(value, _PROOF_WINDOW))
        yield
    finally:
        for name, value in windows.items():
            setattr(config, name, value)


def _proof_tokens(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows (B, T) of random tokens, and the mask that pads the first on its left."""
    generator = torch.Generator().manual_seed(0)
    vocab_size = model.config.get_text_config(decoder=True).vocab_size
    ids_BT = torch.randint(vocab_size, (2, _PROOF_LENGTH), generator=generator)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :5] = 0
    device = "cpu" if model.device.type == "meta" else model.device  # one whose parameters are read while it runs
    return ids_BT.to(device), mask_BT.to(device)


def proof_logits(model: PreTrainedModel) -> torch.Tensor:
    """Of the proof's random tokens, (B, T, V)."""
    ids_BT, mask_BT = _proof_tokens(model)
    logits: torch.Tensor = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
    return logits
