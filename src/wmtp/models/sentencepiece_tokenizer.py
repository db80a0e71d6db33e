"""A SentencePiece `tokenizer.model` as `tokenizer.json`: the same pieces for the same text, spaces and tabs included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers.convert_slow_tokenizer import import_protobuf
from transformers.tokenization_utils_base import generate_merges

from wmtp.errors import ModelError

MODEL_FILE = "tokenizer.model"
_BPE = 2
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_SPACE = "\u2581"


def write_tokenizer(source: Path, folder: Path, num_embeddings: int) -> dict[str, int]:
    """Write `tokenizer.json` and `tokenizer_config.json`, and a copy of `source`, to `folder`.

    Texts start with the beginning-of-text token where the model has one, as Meta's own code has it.

    Args:
        num_embeddings: of the model that reads its tokens.
    Returns:
        `bos_token_id`, `eos_token_id`, `pad_token_id`, those that there are.
    Raises:
        ModelError: no SentencePiece model, or not all of it, or one with more tokens than the model embeds, or one that does
            to text what is not done here (see `_require_plain`).
    """
    proto = _read(source)
    if len(proto.pieces) > num_embeddings:
        raise ModelError(f"{source} has {len(proto.pieces)} tokens, and the model {num_embeddings} embeddings: it is another's")
    trainer = proto.trainer_spec
    _require_plain(proto, source)
    tokenizer = _tokenizer(proto)
    ids = {"unk": trainer.unk_id, "bos": trainer.bos_id, "eos": trainer.eos_id, "pad": trainer.pad_id}
    ids = {name: number for name, number in ids.items() if 0 <= number < len(proto.pieces)}
    names = {name: proto.pieces[number].piece for name, number in ids.items()}
    if "bos" in ids:
        bos = names["bos"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B:1"], special_tokens=[(bos, ids["bos"])]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": "bos" in ids,
        **{f"{name}_token": token for name, token in names.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(source, folder / MODEL_FILE)
    return {f"{name}_token_id": number for name, number in ids.items() if name != "unk"}


def _read(source: Path) -> Any:
    proto = import_protobuf().ModelProto()
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ModelError(f"{source}: {error.strerror}") from None
    try:
        proto.ParseFromString(content)
        is_model = len(proto.pieces) > 0
    except Exception:  # of protobuf, which raises nothing more special
        is_model = False
    if not is_model:
        raise ModelError(f"{source} is no SentencePiece model: --without-tokenizer converts the weights alone")
    return proto


def _require_plain(proto: Any, source: Path) -> None:
    """What Llama's tokenizers are: byte-pair encoding that falls back to bytes and changes nothing of a text."""
    normalizer = proto.normalizer_spec
    faults = {
        "is no byte-pair encoding": proto.trainer_spec.model_type != _BPE,
        "knows no bytes to fall back to, and loses characters": not proto.trainer_spec.byte_fallback,
        f"normalises text ({normalizer.name})": bool(normalizer.precompiled_charsmap),
        "removes spaces": normalizer.remove_extra_whitespaces,
        "leaves spaces unmarked": not normalizer.escape_whitespaces,
        "has symbols of its user's": any(piece.type == _USER_DEFINED for piece in proto.pieces),
        "marks spaces after words": proto.trainer_spec.treat_whitespace_as_suffix,
    }
    for fault, is_so in faults.items():
        if is_so:
            raise ModelError(f"{source} {fault}: such a tokenizer is not converted (--without-tokenizer: the weights alone)")


def _tokenizer(proto: Any) -> Any:
    pieces = [(piece.piece, piece.type, piece.score) for piece in proto.pieces]
    vocabulary = {text: number for number, (text, _, _) in enumerate(pieces)}
    scores = {text: score for text, kind, score in pieces if kind == _NORMAL}
    others = {text for text, kind, _ in pieces if kind != _NORMAL}
    unknown = pieces[proto.trainer_spec.unk_id][0]
    merges = generate_merges(vocabulary, scores, skip_tokens=others)
    bpe = models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    tokenizer: Any = Tokenizer(bpe)
    has_prefix = proto.normalizer_spec.add_dummy_prefix
    prefix: list[Any] = [normalizers.Prepend(_SPACE)] if has_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", _SPACE)])
    strip: list[Any] = [decoders.Strip(" ", 1, 0)] if has_prefix else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    control = [AddedToken(text, normalized=False, special=True) for text, kind, _ in pieces if kind == _CONTROL]
    tokenizer.add_special_tokens(control)
    return tokenizer
