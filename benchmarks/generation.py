"""Greedy tokens per second: plain decoding, self-speculative decoding, and transformers' own generate on the same model.

    make demo && python benchmarks/generation.py      # the demo's baseline policy and its test prompts
    python benchmarks/generation.py --model FOLDER --problems PROBLEMS.jsonl

The variants take turns in one process with one thread; medians over rounds. All must produce the same completions.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from wmtp.evaluation.completer import Completer
from wmtp.evaluation.generate import Decoding, Prompt, generate
from wmtp.evaluation.nll import num_heads
from wmtp.problems.files import read_problems
from wmtp.problems.render import as_comment
from wmtp.tokens.encode import TextTokenizer


def ours(model: Any, text: TextTokenizer, prompts: list[Prompt], decoding: Decoding) -> tuple[list[str], int, int]:
    """Completions, their tokens, and the forward passes that a row took part in."""
    done = generate(model, text, prompts, decoding)
    return [c.completion for c in done], sum(c.num_tokens for c in done), sum(c.num_forwards for c in done)


@torch.inference_mode()
def theirs(model: Any, text: TextTokenizer, prompts: list[Prompt], decoding: Decoding) -> tuple[list[str], int, int]:
    """The same through `model.generate`, in batches of prompts of similar lengths as ours."""
    texts: dict[str, str] = {}
    tokens = 0
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.input_ids), prompt.task_id))
    (eos,) = decoding.eos_token_ids
    for start in range(0, len(ordered), decoding.batch_size):
        batch = ordered[start : start + decoding.batch_size]
        width = max(len(prompt.input_ids) for prompt in batch)
        rows = [[text.pad_token_id] * (width - len(prompt.input_ids)) + list(prompt.input_ids) for prompt in batch]
        mask = [[0] * (width - len(prompt.input_ids)) + [1] * len(prompt.input_ids) for prompt in batch]
        output = model.generate(
            torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            eos_token_id=eos,
            pad_token_id=text.pad_token_id,
        )
        for prompt, row in zip(batch, output[:, width:].tolist(), strict=True):
            length = row.index(eos) if eos in row else len(row)
            tokens += min(length + 1, len(row))
            texts[prompt.task_id] = text.decode(row[:length])
    return [texts[prompt.task_id] for prompt in prompts], tokens, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("artifacts/policy/baseline-s0"))
    parser.add_argument("--problems", type=Path, default=Path("artifacts/data/test_problems.jsonl"))
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.model.exists():
        sys.exit(f"{arguments.model} does not exist: run `make demo` first, or name a model and problems")
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    completer = Completer.load(str(arguments.model), device)
    model, text = completer.model, completer.prompter.text
    prompts = [
        Prompt(problem.problem_id, text.encode_prompt(as_comment(problem)))
        for problem in read_problems(arguments.problems)[: arguments.prompts]
    ]
    plain = Decoding(
        num_samples=0, temperature=1.0, top_p=1.0, seed=0, max_new_tokens=128, batch_size=1, eos_token_ids=(text.eos_token_id,)
    )
    variants: dict[str, tuple[Any, dict[str, int]]] = {"transformers generate": (theirs, {}), "plain": (ours, {})}
    variants |= {f"{n} proposal(s)": (ours, {"num_drafts": n}) for n in range(1, num_heads(model))}
    print(f"{arguments.model}, {device}, {len(prompts)} prompts, greedy\n")
    print("| batch | decoding | tokens/s | against plain | against transformers | tokens per forward |")
    print("| --- | --- | --- | --- | --- | --- |")
    for batch_size in arguments.batch_size:
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        results = {}
        for _ in range(arguments.rounds):
            for name, (run, how) in variants.items():
                started = time.perf_counter()
                results[name] = run(model, text, prompts, replace(plain, batch_size=batch_size, **how))
                seconds[name].append(time.perf_counter() - started)
        if len({tuple(texts) for texts, _, _ in results.values()}) != 1:
            sys.exit("the variants do not agree on the completions")
        speed = {name: results[name][1] / statistics.median(seconds[name]) for name in variants}
        for name, (_, tokens, forwards) in results.items():
            print(
                f"| {batch_size} | {name} | {speed[name]:,.0f} | {speed[name] / speed['plain']:.2f}x "
                f"| {speed[name] / speed['transformers generate']:.2f}x | {tokens / forwards:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
