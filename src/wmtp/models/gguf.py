"""A GGUF file as a Hugging Face folder: weights dequantised to float32, and the tokenizer that the file describes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.integrations.gguf.dequant import GGML_NAME
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

from wmtp.errors import ModelError, described
from wmtp.models.file_tensors import require_every_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")
"""Names of llama.cpp's for GPT-2's way to split text after every digit has been split off. transformers has GPT-2's alone."""

_MARKS = ("quantization_config", "_name_or_path", "_model_name_or_path")

_UNQUANTISED = {0: "F32", 1: "F16", 30: "BF16"}

_AS_GPT2 = ("gpt-2", "phi-2", "olmo", "mpt")


def write_folder(file: Path, folder: Path) -> dict[str, Any]:
    """Write model and tokenizer of `file` to `folder`.

    Returns:
        Where it comes from: the file's digest, what its tensors were held in and how many of each, its own name and licence.
    Raises:
        ModelError: no package gguf, no GGUF file, an architecture or a tokenizer that is not known, a tensor that is
            missing or too many.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{file}: reading it needs the package gguf: pip install 'wmtp[gguf]'")
    try:
        metadata, _ = read_gguf_metadata(str(file))
        header = GgufHeader.from_file(str(file))
    except Exception as error:  # whatever the reader met in somebody's file
        raise ModelError(f"{file} cannot be read as GGUF: {described(error)}") from None
    tokenizer = _tokenizer(file, metadata)
    model = _plain(_dequantised(file))
    if len(tokenizer) > model.config.vocab_size:
        raise ModelError(f"{file} has {len(tokenizer)} tokens and {model.config.vocab_size} embeddings")
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
