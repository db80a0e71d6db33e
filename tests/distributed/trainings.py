"""A small workspace for whole stages on real ranks: tables, a pretrained model, and each stage's outputs compared as files."""

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tests.distributed.harness import enter_world, run_processes, scramble
from tests.tables import VOCAB, make_tables
from tests.workspaces import PROJECT
from wmtp.config import LaunchConfig
from wmtp.config.arms import ColumnConfig, make_run
from wmtp.config.compose import build
from wmtp.config.training import ModelConfig
from wmtp.models.build import build_model
from wmtp.models.export import plain_model
from wmtp.notice import listen
from wmtp.stages import (
    score_base,
    score_reference,
    score_start,
    score_values,
    score_wrong,
    train_critic,
    train_policy,
    tune_reference,
    tune_wrong,
)
from wmtp.stages.context import StageContext
from wmtp.stages.declared import declared_only
from wmtp.tracking import NullTracker

RUN = "rho1-s3"
STAGES = {
    "tune_reference@s0": (tune_reference, ("artifacts/reference/s0", "artifacts/tuning/reference/s0")),
    "score_reference@s0": (score_reference, ("artifacts/scores/reference/s0",)),
    "train_critic@s0": (train_critic, ("artifacts/critic/s0", "artifacts/tuning/critic/s0")),
    "score_values@s0": (score_values, ("artifacts/scores/value/s0",)),
    "score_base@s0": (score_base, ("artifacts/scores/base/s0",)),
    "score_start@s3": (score_start, ("artifacts/scores/start/s3",)),
    "tune_wrong@s0": (tune_wrong, ("artifacts/wrong/s0", "artifacts/tuning/wrong/s0")),
    "score_wrong@s0": (score_wrong, ("artifacts/scores/wrong/s0",)),
    f"train_policy@{RUN}": (train_policy, (f"artifacts/policy/{RUN}", f"artifacts/training/{RUN}")),
}
TRAININGS = ("tune_reference@s0", "train_critic@s0", f"train_policy@{RUN}")

FURTHER = {"n_future": 3, "n_layers": 3}

_MEASURED = ("time_s", "wall_s", "tokens_per_s", "perf/", "peak_memory_bytes")


def make_workspace(root, *, dropout=0.2):
    """`root/artifacts/data` with every table, and `root/pretrained`, a model whose attention has dropout."""
    data = root / "artifacts/data"
    for seed, name in enumerate(("train", "reference", "validation", "critic", "critic_validation")):
        made, *_ = make_tables(root / "tables", num_rows=24, name=name, seed=seed)
    data.parent.mkdir()
    made.rename(data)
    (data / "tokenizer").mkdir()
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    words.save(str(data / "tokenizer/tokenizer.json"))
    shape = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)
    model = build_model(shape, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=9)
    model.config.decoder_config.attention_dropout = dropout
    model.save_pretrained(root / "pretrained")
    plain_model(model).save_pretrained(root / "plain")
    return root


def make_config(root, *, adapters=False, init="reference", train=(), optim=(), seed=4, heads=None, runtime=(), dropout=0.2):
    """Three trainings with dropout, all from `root/pretrained` but for a critic that starts from the reference.

    heads: how the policy's are trained; it has two more then, on a plain model that is in `root/plain`.
    """
    model = {"pretrained": str(root / "pretrained"), "n_future": 1, "n_layers": 2}
    if adapters:
        model["lora"] = {"rank": 2, "dropout": dropout}
    shared = {
        "model": model,
        "optim": {"name": "adamw", "warmup_steps": 2, "weight_decay": 0.01, **dict(optim)},
        "train": {
            "steps": 6,
            "global_batch_size": 8,
            "micro_batch_size": 4,
            "eval_interval": 3,
            **dict(train),
        },
    }
    further = {**model, **FURTHER, "pretrained": str(root / "plain")}
    seeded = {**shared, "train": {**shared["train"], "seed": seed}}
    critic = {**seeded, "model": model if init == "scratch" else {"n_future": 1}}  # what nothing reads is refused
    sections = {
        "tune_reference": seeded,
        "train_critic": {**critic, "init": init, "head": "mlp", "dropout": dropout},
        "train_policy": shared if heads is None else {**shared, "model": further, "heads": heads},
        "arms": {"rho1": {"weighting": {"name": "rho1"}}},
        "runtime": {"log_interval": 1, "checkpoint_interval": 2, **dict(runtime)},
    }
    config = build(sections, profile="test")
    columns = {group: {"s0": ColumnConfig(0)} for group in ("base", "reference", "value", "wrong")}
    columns["start"] = {"s3": ColumnConfig(3)}
    return replace(config, runs={RUN: make_run(config.arms["rho1"], "rho1", 3, upstream=0)}, columns=columns)


class Witness(NullTracker):
    """Writes down where its rank's generator is whenever a step is logged, and may send the process a signal then."""

    def __init__(self, path, step=None, number=signal.SIGKILL):
        self.path, self.step, self.number = path, step, number

    def log_metrics(self, metrics, step):
        with self.path.open("a") as file:
            file.write(hashlib.sha256(torch.get_rng_state().numpy()).hexdigest() + "\n")
        if step == self.step:
            os.kill(os.getpid(), self.number)


def run_stage(root, config, name, *, device="cpu", signal_at=()):
    """In this process, which is a rank if torchrun's variables say so; the stage's metrics. `signal_at`: (step, signal)."""
    rank, (stage, outputs) = int(os.environ.get("RANK", "0")), STAGES[name]
    context = StageContext(
        name=name,
        root=root,
        outputs={path: root / path for path in outputs},
        resume=root / "resume" / name,
        fingerprint="",
        launch=LaunchConfig(device=device),
        tracker=Witness(root / f"drawn-{name}-{rank}", *signal_at),
        rank=rank,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        runtime=config.runtime,
    )
    for path in context.outputs.values():
        path.mkdir(parents=True, exist_ok=True)
    return stage.run(declared_only(config, _declared(config, name), name), context).metrics


def _run_stages(root, config, names, signals):
    listen()
    results = {}
    for number, name in enumerate(names):
        enter_world(number)
        scramble()
        results[name] = run_stage(root, config, name, signal_at=(signals or {}).get(int(os.environ["RANK"]), ()))
    return results


def _declared(config, name):
    """What dvc.yaml lets the stage read of the configuration."""
    stage, _, key = name.partition("@")
    keys = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"][stage]["do"]["params"]
    arm = config.runs[key].arm if key in config.runs else ""
    return [each.replace("${key}", key).replace("${item.arm}", arm) for each in keys]


def run_stages(root, config, *names, ranks=2, kill_at=None, signals=None, tmp_path):
    """Run the stages one after another in `root`; rank 0's {stage: metrics}.

    `kill_at`: (step, rank); `signals`: rank -> (step, signal).
    """
    signals = {kill_at[1]: (kill_at[0], signal.SIGKILL)} if kill_at else signals
    return run_processes(ranks, _run_stages, root, config, names, signals, tmp_path=tmp_path, num_worlds=len(names))[0]


def contents(root, *names):
    """Every file that the stages wrote, what is measured with a clock or of the memory left out."""
    files = [path for name in names for output in STAGES[name][1] for path in sorted((root / output).rglob("*"))]
    return {str(path.relative_to(root)): _content(path) for path in files if path.is_file()}


def _content(path: Path):
    if path.suffix == ".jsonl":
        return [_without_clock(json.loads(line)) for line in path.read_text().splitlines()]
    return _without_clock(json.loads(path.read_text())) if path.name == "summary.json" else path.read_bytes()


def _without_clock(record):
    return {key: value for key, value in record.items() if not any(name in key for name in _MEASURED)}
