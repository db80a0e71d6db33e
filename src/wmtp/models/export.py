"""A multi-token model as what everybody's tools take: head 0 in the plain architecture of its family, further heads beside it.

Shapes: B batch, T sequence, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM

from wmtp import model_files
from wmtp.errors import ModelError
from wmtp.files import write_bytes, write_json
from wmtp.models.load import read_model
from wmtp.models.mtp import MTPConfig, MTPForCausalLM
from wmtp.models.new_folder import new_folder
from wmtp.models.shards import said_by_the_disk, write_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEADS = "mtp_heads"
"""The folder of further heads: a folder, because some tools read every .safetensors file beside the model's."""

_ROWS, _LENGTH, _PADDING = 2, 64, 9
_RTOL = 1e-5
"""Of the largest logit: what a family that scales its logits may differ by, whose scale is folded in elsewhere."""


@dataclass(frozen=True)
class Export:
    """What was written. `difference`: the largest of the logits, 0 where they are the same bit for bit."""

    architecture: str
    num_parameters: int
    num_heads: int
    difference: float
    has_tokenizer: bool


def export(policy: Path, target: Path, *, heads: bool = False) -> Export:
    """Write head 0 of `policy`, and with `heads` the others (docs/evaluation.md has their layout), as a new folder `target`.

    What is written is loaded again and compared with the policy on random tokens before it gets its name.

    Raises:
        ConfigError: `target` is there already, or cannot be there.
        ModelError: `policy` is not whole, or no multi-token model, or what was written computes something else.
    """
    model_files.require_model(policy)
    _require_policy(policy)
    with new_folder(target, policy) as folder:
        return _write(policy, folder, heads)


def _require_policy(policy: Path) -> None:
    kind = model_files.read_object(policy / model_files.CONFIG)["model_type"]
    if kind != MTPConfig.model_type:
        raise ModelError(f"{policy} is a {kind} model, which needs no export: tools take it as it is")
    if (policy / "critic.json").exists():
        raise ModelError(f"{policy} is a critic: a plain architecture has no place for its value head")


def _write(policy: Path, folder: Path, heads: bool) -> Export:
    model = read_model(str(policy), str(policy))
    assert isinstance(model, MTPForCausalLM)
    expected_BTV = _logits(model)
    plain = plain_model(model)
    with said_by_the_disk(folder):
        plain.save_pretrained(folder)
    for path in model_files.tokenizer_files(policy):
        (folder / path.relative_to(policy)).parent.mkdir(exist_ok=True)
        write_bytes(folder / path.relative_to(policy), path.read_bytes())
    if heads:
        replaces = model.last_layer_name.replace("model", _name(plain, plain.get_decoder()), 1)
        _write_heads(model, folder / HEADS, replaces)
    number, num_heads = plain.num_parameters(), model.config.n_future
    del model, plain
    found_BTV = _logits(read_model(str(folder), str(folder)))
    difference = (found_BTV.double() - expected_BTV.double()).abs().max().item()
    if not difference <= _RTOL * expected_BTV.abs().max().item():
        raise ModelError(f"{policy}: the plain model's logits differ by {difference:.2g} on random tokens: it was not exported")
    (architecture,) = model_files.read_object(folder / model_files.CONFIG)["architectures"]
    return Export(architecture, number, num_heads, difference, bool(model_files.tokenizer_files(policy)))


@torch.no_grad()
def _logits(model: PreTrainedModel) -> torch.Tensor:
    """On random tokens (B, T), the first row padded on its left, (B, T, V)."""
    ids_BT = torch.randint(model.config.vocab_size, (_ROWS, _LENGTH), generator=torch.Generator().manual_seed(0))
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :_PADDING] = 0
    logits: torch.Tensor = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
    return logits * mask_BT.unsqueeze(-1)


def plain_model(model: MTPForCausalLM) -> PreTrainedModel:
    """Head 0 as the causal language model of its family that transformers has. Shares the tensors; to be saved, not run."""
    with torch.device("meta"):
        plain: PreTrainedModel = AutoModelForCausalLM.from_config(model.config.decoder_config)
    plain.load_state_dict(_plain_state(model, plain), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _plain_state(model: MTPForCausalLM, plain: PreTrainedModel) -> dict[str, torch.Tensor]:
    """`model`'s tensors under the names that `plain` has for them."""
    decoder, unembedding = _name(plain, plain.get_decoder()), _name(plain, plain.get_output_embeddings())
    last = model.last_layer_name
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("unembedding.lm_head."):
            state[name.replace("unembedding.lm_head", unembedding)] = tensor
        elif name.startswith(f"{last}.blocks.0.") or not name.startswith(f"{last}.blocks."):
            state[name.replace(f"{last}.blocks.0.", f"{last}.").replace("model", decoder, 1)] = tensor
    return state


def _name(model: PreTrainedModel, part: torch.nn.Module) -> str:
    (name,) = (name for name, module in model.named_modules() if module is part)
    return name


def _write_heads(model: MTPForCausalLM, folder: Path, replaces: str) -> None:
    """`heads.safetensors`: `heads.K.NAME`, where NAME is a tensor of the last layer, for K = 1, 2, ...; `heads.json`."""
    folder.mkdir()
    tensors = {
        f"heads.{number}.{name}": tensor.contiguous()
        for number, head in enumerate(model.heads)
        for name, tensor in head.state_dict().items()
        if number
    }
    write_tensors(tensors, folder / "heads.safetensors")
    about = {"format": 1, "n_future": model.config.n_future, "replaces": replaces, **vars(model.config.layout)}
    write_json(folder / "heads.json", about)
