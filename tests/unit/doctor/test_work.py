"""Every stage's work, against sums by hand."""

from dataclasses import replace

import pytest
import yaml

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.doctor.work import Lengths, works
from wmtp.models.flops import model_flops
from wmtp.models.skeleton import skeleton

pytestmark = pytest.mark.slow

LENGTHS = Lengths(mean=100.0, longest=192)


def of(*overrides, world_size=2, device="cpu"):
    config = compose(PROJECT, "toy", overrides=overrides)
    return config, {work.stage: work for work in works(config, PROJECT, LENGTHS, world_size=world_size, device=device)}


def test_the_stages_are_those_that_some_arm_needs_of_every_seed():
    assert list(of("arms=[baseline]")[1]) == ["train_policy@baseline-s0", "evaluate@baseline-s0"]
    upstream = ["tune_reference@s0", "score_reference@s0", "tune_reference@s1", "score_reference@s1"]
    assert list(of("arms=[rho1]", "seeds=[0,1]")[1])[:4] == upstream
    shared = ["tune_reference@s0", "score_reference@s0", "train_critic@s0", "score_values@s0"]
    assert list(of("arms=[verifiable]", "seeds=[0,1]", "share_upstream=true")[1])[:4] == shared


def test_whatever_the_pipeline_runs_with_a_model_is_counted():
    arms = ("baseline", "contrastive", "gae", "sstoken", "token_cleaning")
    config, found = of(f"arms=[{','.join(arms)}]", "seeds=[0,1]")
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    keys = {f"${{columns.{group}}}": list(keys) for group, keys in config.columns.items()} | {"${runs}": list(config.runs)}
    assert all(keys.values()), "some column is needed by no arm of this test"
    each = {name: keys.get(stage.get("foreach"), []) for name, stage in stages.items()}
    assert sorted(found) == sorted(f"{name}@{key}" for name, found_keys in each.items() for key in found_keys)
    assert all(work.flops > 0 and work.memory.total > 0 for work in found.values())


def test_a_trainings_work_is_its_examples_and_its_validations():
    config, found = of("arms=[baseline]")
    section, work = config.train_policy, found["train_policy@baseline-s0"]
    model = skeleton(section.model, vocab_size=config.data.tokenizer.vocab_size, max_length=192, n_future=2, folder=None)
    flops = model_flops(model)
    example = 100 * flops.per_token + 2 * 60 * flops.per_target + sum(layer.per_pair for layer in flops.attention) * 5050
    assert work.tokens == 4 * 8 * 100
    held_out = 10 * config.data.max_per_problem * 2  # validated at steps 2 and 4
    assert work.flops == pytest.approx(example * (32 + held_out / 3))
    numbers = sum(p.numel() for p in model.parameters())
    assert (work.disk_bytes, work.resume_bytes) == (4 * numbers, 12 * numbers * 3)


def test_recomputation_and_a_first_pass_are_a_third_more_each():
    _, plain = of("arms=[rho1]", "train_policy.train.eval_interval=100", "data.num_validation_problems=1")
    more = ("train_policy.train.activation_checkpointing=true", "train_policy.train.eval_interval=100")
    _, again = of("arms=[rho1]", *more, "train_policy.train.micro_batch_size=4", "data.num_validation_problems=1")
    ratio = again["train_policy@rho1-s0"].flops / plain["train_policy@rho1-s0"].flops
    assert 4 / 3 * 1.25 < ratio < 16 / 9


def test_completions_are_greedy_ones_and_samples():
    config, found = of("arms=[baseline]", world_size=1)
    work = found["evaluate@baseline-s0"]
    held_out = config.data.num_validation_problems * config.data.max_per_problem
    assert work.num_programs == 6 * 3 and work.tokens == 18 * (24 + 40) + held_out * 100
    assert work.forwards == 24 * -(-18 // config.runtime.generation_batch_size)


def test_the_dtype_that_is_saved_counts_on_disk_and_where_completions_are_made():
    _, wide = of("arms=[baseline]", device="cuda")
    _, narrow = of("arms=[baseline]", "train_policy.train.save_dtype=bfloat16", device="cuda")
    for name, attribute in (("train_policy", "disk_bytes"), ("evaluate", "weights")):
        key = f"{name}@baseline-s0"
        assert getattr(narrow[key], attribute) * 2 == getattr(wide[key], attribute) > 0
    assert (wide["evaluate@baseline-s0"].dtype, narrow["evaluate@baseline-s0"].dtype) == ("float32", "bfloat16")
    assert narrow["evaluate@baseline-s0"].memory.weights * 2 == wide["evaluate@baseline-s0"].memory.weights
    assert narrow["train_policy@baseline-s0"].resume_bytes == wide["train_policy@baseline-s0"].resume_bytes


def test_scoring_is_computed_in_its_own_dtype_and_needs_memory():
    for dtype in ("float32", "bfloat16"):
        _, found = of("arms=[verifiable]", f"score.dtype={dtype}", "train_policy.train.dtype=float32")
        for stage in ("score_reference@s0", "score_values@s0"):
            assert found[stage].dtype == dtype and found[stage].memory.step > 0 and "score.batch_tokens" in found[stage].smaller


def test_of_scoring_what_is_read_counts():
    config, found = of("arms=[verifiable]", "data.num_problems=7", world_size=1)
    model = skeleton(
        config.tune_reference.model, vocab_size=config.data.tokenizer.vocab_size, max_length=192, n_future=1, folder=None
    )
    flops = model_flops(model)
    values = 100 * flops.per_token + sum(layer.per_pair for layer in flops.attention) * 5050
    rows = 7 * config.data.max_per_problem
    assert found["score_values@s0"].flops == pytest.approx(rows * values / 3)
    assert found["score_reference@s0"].flops == pytest.approx(rows * (values + 60 * flops.per_target) / 3)
    made = {work.stage: work for work in works(config, PROJECT, replace(LENGTHS, num_rows=5), world_size=1, device="cpu")}
    assert made["score_values@s0"].tokens == 5 * 100


def test_token_order_is_trained_and_not_saved():
    _, found = of("arms=[token_order,ntp]")
    order, plain = found["train_policy@token_order-s0"], found["train_policy@ntp-s0"]
    assert order.flops > plain.flops and order.resume_bytes > plain.resume_bytes and order.disk_bytes == plain.disk_bytes


def test_of_documents_what_is_held_out_is_read_and_nothing_is_completed():
    config = compose(PROJECT, "text", overrides=["data.train_path=a.jsonl", "data.num_problems=50"])
    lengths = Lengths(mean=128.0, longest=128, prompt_frac=0.0)
    found = {work.stage: work for work in works(config, PROJECT, lengths, world_size=1, device="cuda")}
    work = next(work for stage, work in found.items() if stage.startswith("evaluate@"))
    assert (work.num_programs, work.forwards, work.tokens) == (0, 0, config.data.num_validation_problems * 128)
    assert work.memory.step > 0 and "generation" not in work.smaller


def test_arms_with_other_heads_have_their_own_work():
    _, found = of("arms=[baseline,sequential,stride,ntp]")
    flops = {name: found[f"train_policy@{name}-s0"].flops for name in ("baseline", "sequential", "stride", "ntp")}
    assert flops["sequential"] > flops["baseline"] == flops["stride"] and flops["ntp"] != flops["baseline"]
