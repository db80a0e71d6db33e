"""The critic: a backbone with one value per token, P(solution is correct | prefix).

Shapes: B batch, T sequence, D width.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from wmtp.distributed import stream_seed
from wmtp.errors import CheckpointError, first_line
from wmtp.models.load import read_heads
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.save import Gathered, write_language_model
from wmtp.models.shards import write_tensors
from wmtp.models.slices import open_heads

_HEAD_FILE, _CONFIG_FILE = "value_head.safetensors", "critic.json"

_STREAM = 0x56414C  # not the numbers that the backbone's parameters were drawn from


class ValueModel(nn.Module):
    """V(s_t) in logits from a causal backbone.

    Args:
        backbone: its head 0's features are read.
        head: `linear`, or `mlp` (one hidden layer of the same width, GELU).
        dropout: on the features.
        reference_nll_input: add a learnt embedding of the reference NLL of the token just seen to that token's input;
            the surprise is the best single clue to a mistake.
        seed: of this module's own parameters, whatever was drawn for the backbone.
    """

    def __init__(
        self,
        backbone: MTPForCausalLM,
        *,
        head: str = "linear",
        dropout: float = 0.0,
        reference_nll_input: bool = True,
        seed: int = 0,
    ):
        super().__init__()
        width = backbone.config.hidden_size
        self.backbone = backbone
        self.settings = {"head": head, "dropout": dropout, "reference_nll_input": reference_nll_input}
        hidden = [nn.Linear(width, width), nn.GELU()] if head == "mlp" else []
        self.head = nn.Sequential(nn.Dropout(dropout), *hidden, nn.Linear(width, 1))
        self.nll_projection = nn.Linear(2, width) if reference_nll_input else None
        self._draw_parameters(torch.Generator().manual_seed(stream_seed(seed, _STREAM)))
        output = self.head[-1]
        assert isinstance(output, nn.Linear)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        if not backbone.config.tie_word_embeddings:
            backbone.unembedding.lm_head.requires_grad_(False)  # not used here

    def _draw_parameters(self, generator: torch.Generator) -> None:
        """torch's own distribution for linear layers, uniform within 1/sqrt(fan_in), from a generator of their own."""
        for linear in (*self.head, self.nll_projection):
            if isinstance(linear, nn.Linear):
                bound = linear.in_features**-0.5
                nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
                nn.init.uniform_(linear.bias, -bound, bound, generator=generator)

    def forward(self, input_ids: torch.Tensor, reference_nll_BT: torch.Tensor | None = None) -> torch.Tensor:
        """Value logits (B, T), float32; sigmoid makes them probabilities (0.5 at initialisation)."""
        clue_BTD = None
        if self.nll_projection is not None:
            assert reference_nll_BT is not None, "this critic reads the reference NLL"
            clues = torch.stack([reference_nll_BT, torch.log1p(reference_nll_BT)], dim=-1)
            clue_BTD = self.nll_projection(clues.to(self.nll_projection.weight.dtype))
        features_BTD = self.backbone.features(input_ids, clue_BTD)
        values = self.head(features_BTD).squeeze(-1).float().clone()  # FSDP wants no view
        return torch.as_tensor(values)


def write_value_model(model: ValueModel, folder: Path, *, is_main: bool, save_dtype: str | None = None) -> None:
    """Backbone in Hugging Face format; the value head's tensors and settings beside it. All ranks call it.

    Args:
        save_dtype: see `TrainConfig`.
    """
    tensors = Gathered(model, is_main=is_main, dtype=None if save_dtype is None else getattr(torch, save_dtype))
    rest = tensors.whole(name for name in tensors.shapes if not name.startswith("backbone."))
    if is_main:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors({name: tensor.contiguous() for name, tensor in rest.items()}, folder / _HEAD_FILE)
        (folder / _CONFIG_FILE).write_text(json.dumps(model.settings, indent=1) + "\n", encoding="utf-8")
    write_language_model(model.backbone, folder, is_main=is_main, save_dtype=save_dtype)


def load_value_model(folder: Path) -> ValueModel:
    """Read what `write_value_model` wrote.

    Raises:
        CheckpointError: a file is missing or does not fit.
    """
    return _value_model(folder, read_heads)


def open_value_model(folder: Path) -> ValueModel:
    """The same with a backbone that is still to be filled, by `wmtp.models.build.parallelize`.

    Raises:
        CheckpointError: a file is missing or does not fit.
    """
    return _value_model(folder, open_heads)


def _value_model(folder: Path, backbone: Callable[[Path, str], MTPForCausalLM]) -> ValueModel:
    if not (folder / _CONFIG_FILE).exists():
        raise CheckpointError(f"{folder} is not a critic, which has a {_CONFIG_FILE}")
    try:
        settings = json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
        head = load_file(folder / _HEAD_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is not a critic: {first_line(error)}") from None
    model = ValueModel(backbone(folder, f"the critic {folder.name}"), **settings)
    missing, unexpected = model.load_state_dict(head, strict=False)
    missing = [key for key in missing if not key.startswith("backbone.")]
    if missing or unexpected:
        raise CheckpointError(f"{folder / _HEAD_FILE}: missing {missing}, unexpected {unexpected}")
    return model
