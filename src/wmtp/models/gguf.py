"""A GGUF file as a Hugging Face folder: weights dequantised to float32, and the tokenizer that the file describes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.integrations.gguf.dequant import GGML_NAME
from transformers.integrations.gguf.gguf_config_mapping import GGUF_CONFIG_ARCHS
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.integrations.gguf.reader import GgufHeader, load_gguf_state_dict, read_gguf_metadata
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from wmtp.checks import installing
from wmtp.errors import ModelError, described
from wmtp.models.file_tensors import require_every_tensor
from wmtp.models.load import require_numbers
from wmtp.models.shards import said_by_the_disk

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")
"""Names of llama.cpp's for GPT-2's way to split text after every digit has been split off. transformers has GPT-2's alone."""

_MARKS = ("quantization_config", "_name_or_path", "_model_name_or_path")

_BY_SHAPES = (
    *("block_count", "embedding_length", "feed_forward_length", "expert_feed_forward_length", "vocab_size"),
    *("expert_shared_feed_forward_length", "context_length", "tensor_data_layout", "rope.scaling.finetuned"),
)
"""Settings that tensors' shapes prove, or that compute nothing."""

_NAMES = {
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.sliding_window": ("sliding_window",),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "logit_scale": ("logit_scale", "logits_scaling"),
}
"""transformers' names for settings that it does not read of every architecture, where they are others."""
_OF_ROTARY = {
    "rope.freq_base": "rope_theta",
    "rope.scaling.type": "rope_type",
    "rope.scaling.factor": "factor",
    "rope.scaling.attn_factor": "attention_factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
}
"""The same for settings of rotary embeddings, which are at any depth of transformers' own."""

_FACTORS = "rope_freqs.weight"
_LLAMA_3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}

_UNQUANTISED = {0: "F32", 1: "F16", 30: "BF16"}

_AS_GPT2 = ("gpt-2", "phi-2", "olmo", "mpt")


def write_folder(file: Path, folder: Path) -> dict[str, Any]:
    """Write model and tokenizer of `file` to `folder`.

    Returns:
        Where it comes from: the file's digest, what its tensors were held in and how many of each, its own name and licence.
    Raises:
        ModelError: no package gguf, no GGUF file or not all of one, an architecture, a setting or a tokenizer that is not
            known, a tensor that is missing or too many.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{file}: reading it needs the package gguf: {installing('gguf')}")
    try:
        metadata, _ = read_gguf_metadata(str(file))
        header = GgufHeader.from_file(str(file))
    except Exception as error:  # whatever the reader met in somebody's file
        raise ModelError(f"{file} cannot be read as GGUF: {described(error)}") from None
    _require_whole(file, metadata, header)
    tokenizer = _tokenizer(file, metadata)
    model = _dequantised(file)
    _require_settings(file, metadata, _keys_read(metadata, header), model.config)
    num_factors = _scale_rotary(file, header, model.config)
    _require_all_numbers(file, header, model, num_factors)
    model = _plain(model)
    if len(tokenizer) > model.config.vocab_size:
        raise ModelError(f"{file} has {len(tokenizer)} tokens and {model.config.vocab_size} embeddings")
    with said_by_the_disk(folder):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    names = {**GGML_NAME, **_UNQUANTISED}
    kinds = Counter(names.get(kind, f"type {kind}") for kind in header.ggml_types.values())
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "file": file.name,
        "sha256": digest,
        "name": metadata.get("general.name"),
        "licence": metadata.get("general.license"),
        "dequantised_from": dict(sorted(kinds.items())),
        "dtype": "float32",
    }


def _require_whole(file: Path, metadata: Mapping[str, Any], header: GgufHeader) -> None:
    if metadata.get("split.count", 1) > 1:
        raise ModelError(f"{file} is one of {metadata['split.count']} files of a model: join them (llama-gguf-split --merge)")
    if "tokenizer.ggml.tokens" not in metadata:
        raise ModelError(f"{file} holds no tokenizer: fetch the model's own folder")
    size, due = file.stat().st_size, header.data_start + max((one.offset + one.nbytes for one in header.tensors), default=0)
    if size < due:
        raise ModelError(f"{file} is cut off: it has {size:,} bytes, and its tensors end at {due:,}")


def _keys_read(metadata: Mapping[str, Any], header: GgufHeader) -> set[str]:
    """The settings that transformers makes a model's from, by their names behind the architecture's."""
    kind = metadata["general.architecture"]
    if kind in GGUF_CONFIG_ARCHS:  # a function, which asks for what it knows
        asked = _Asked(metadata)
        GGUF_CONFIG_ARCHS[kind](asked, tuple(header.ggml_types))
        return {key.removeprefix(f"{kind}.") for key in asked.keys_read}
    read: Any = GGUF_CONFIG_MAPPING
    known: Mapping[str, Any] = next((keys for name, keys in read.items() if _letters(name) == _letters(kind)), {})
    return {key for key, name in known.items() if name is not None}


class _Asked(dict[str, Any]):
    """Settings that remember which of them were asked for."""

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__(settings)
        self.keys_read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys_read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_read.add(key)
        return super().get(key, default)


def _require_settings(file: Path, metadata: Mapping[str, Any], keys_read: set[str], config: Any) -> None:
    """transformers passes over what it does not know of a file's settings: the model would compute something else.

    Raises:
        ModelError: names a setting that the model does not have.
    """
    kind = metadata["general.architecture"]
    for key, value in metadata.items():
        rest = key.removeprefix(f"{kind}.")
        if rest != key and rest not in keys_read and rest not in _BY_SHAPES and not _has(config, rest, value):
            raise ModelError(f"{file} says {key}={value!r}, which transformers does not read: fetch the model's own folder")


def _has(config: Any, key: str, value: Any) -> bool:
    """Whether a model is as the file says; of what it has no setting, the file must say that there is none."""
    if key in _OF_ROTARY:
        return value in (0, "none") or any(_same(value, one) for one in _all_of(config.to_dict(), _OF_ROTARY[key]))
    heads = getattr(config, "head_dim", None) or config.hidden_size // (getattr(config, "num_attention_heads", None) or 1)
    if key == "rope.dimension_count":
        return any(_same(value, int(heads * part)) for part in (*_all_of(config.to_dict(), "partial_rotary_factor"), 1.0))
    names = _NAMES.get(key, (key.replace(".", "_"), key.rpartition(".")[2]))
    if names == ("head_dim",):
        return _same(value, heads)
    found = [getattr(config, name) for name in names if hasattr(config, name)]
    return any(_same(value, one) for one in found) if found else value in (0, "none")


def _same(said: Any, has: Any) -> bool:
    """Numbers of a file are float32."""
    numbers = isinstance(said, int | float) and isinstance(has, int | float)
    return math.isclose(said, has, rel_tol=1e-6) if numbers else bool(said == has)


def _all_of(settings: Mapping[str, Any], key: str) -> list[Any]:
    """The values of a key at any depth."""
    found = [settings[key]] if settings.get(key) is not None else []
    return found + [value for part in settings.values() if isinstance(part, dict) for value in _all_of(part, key)]


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "")


def _scale_rotary(file: Path, header: GgufHeader, config: Any) -> int:
    """Have the settings of a Llama 3 say what its file holds as a tensor, of which the number of elements is returned.

    The tensor is what rotary frequencies are divided by: that of the longest wave is the factor, and the others follow.

    Raises:
        ModelError: they are not Llama 3's.
    """
    if _FACTORS not in header.ggml_types or config.model_type != "llama":
        return 0
    factors = load_gguf_state_dict(header)[_FACTORS][...].flatten().double()
    plain = config.rope_parameters
    config.rope_parameters = {**_LLAMA_3, "rope_theta": plain["rope_theta"], "factor": float(factors.max())}
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device=torch.device("cpu"))
    numbers = torch.arange(0, 2 * len(scaled), 2, dtype=torch.float64) / (2 * len(scaled))
    due = plain["rope_theta"] ** -numbers / scaled.double()
    if factors.shape != due.shape or not torch.allclose(factors, due, rtol=1e-4):
        raise ModelError(f"{file}: {_FACTORS} are not Llama 3's factors of rotary frequencies: fetch the model's own folder")
    return len(factors)


def _require_all_numbers(file: Path, header: GgufHeader, model: PreTrainedModel, num_others: int) -> None:
    """Raises ModelError: tensors that have no place in the model, which transformers passes over, or no numbers."""
    held = sum(math.prod(one.shape) for one in header.tensors) - num_others
    used = sum(parameter.numel() for parameter in model.parameters())
    if held != used:
        odd = next((f" ({one.name}, say)" for one in header.tensors if one.name.startswith("rope_")), "")
        raise ModelError(f"{file} holds {held:,} numbers{odd} and the model {used:,}: fetch the model's own folder")
    require_numbers(model.named_parameters(), str(file))


def _dequantised(file: Path) -> PreTrainedModel:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # transformers raises whatever it meets in somebody's files
        raise ModelError(f"{file}: {described(error)}") from error
    model, info = loaded
    require_every_tensor(info, str(file))
    return model


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The same model without the marks of what it was read from, which transformers refuses to save."""
    config = type(model.config).from_dict({key: value for key, value in model.config.to_dict().items() if key not in _MARKS})
    with torch.device("meta"):
        plain: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _tokenizer(file: Path, metadata: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """The file's own tokens alone: transformers adds others where it has a default (GPT-2's end of text)."""
    try:
        read = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    except Exception as error:
        raise ModelError(f"{file}: its tokenizer cannot be read: {described(error)}") from error
    parts = json.loads(read.backend_tokenizer.to_str())
    num_tokens = metadata["tokenizer.ggml.tokens"]
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["id"] < num_tokens]
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    kind, way = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "gpt-2")
    if kind == "gpt2" and way not in GGUF_PRE_TOKENIZER_SPLITS:
        if way not in (*_DIGITS_APART, *_AS_GPT2):
            raise ModelError(f"{file}: its tokenizer splits text as {way!r}, which is not known: fetch the model's own folder")
        _split_as(tokenizer, way)
    special = {name: token for name, token in read.special_tokens_map.items() if tokenizer.token_to_id(str(token)) is not None}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=read.chat_template, clean_up_tokenization_spaces=False, **special
    )


def _split_as(tokenizer: Any, way: str) -> None:
    """As llama.cpp splits text before merges are applied (`llama-vocab.cpp`)."""
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if way in _DIGITS_APART else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
