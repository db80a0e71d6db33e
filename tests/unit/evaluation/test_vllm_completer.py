"""What is ours of the vLLM backend: its refusals and its parameters. The engine itself needs a GPU and its package."""

import importlib.util
import sys
from dataclasses import replace

import pytest

from wmtp.errors import ConfigError, ModelError
from wmtp.evaluation.generate import Decoding, Prompt
from wmtp.evaluation.results import GREEDY
from wmtp.evaluation.vllm_completer import require_plain, require_vllm, sampling

DECODING = Decoding(
    num_samples=2,
    temperature=0.8,
    top_p=0.95,
    seed=3,
    max_new_tokens=50,
    batch_size=8,
    eos_token_ids=(2, 7),
    stop=("\nclass", "</s>"),
)
PROMPT = Prompt("task/1", (5, 6))


def test_a_machine_without_vllm_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"--backend vllm needs the package vllm: pip install 'vllm<0.31,>=0.28'"):
        require_vllm(0, None)


def test_proposals_of_further_heads_are_refused():
    with pytest.raises(ConfigError, match="--num-drafts is of no use with --backend vllm"):
        require_vllm(2, None)


def test_a_temperature_that_it_would_raise_is_refused():
    with pytest.raises(ConfigError, match=r"--temperature 0\.001 is less than .*vllm can draw at: 0, or 0\.01 and more"):
        require_vllm(0, 0.001)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed here")
def test_the_engines_own_parameters_take_ours_as_they_are():
    from vllm import SamplingParams

    for sample in (GREEDY, 0):
        wanted = sampling(DECODING, PROMPT, sample)
        made = SamplingParams(**wanted)
        assert {name: getattr(made, name) for name in wanted} == wanted


def test_models_with_further_heads_are_exported_first():
    with pytest.raises(ModelError, match=r"write its head 0 by `wmtp export some/model DST` first"):
        require_plain("wmtp_mtp", "some/model")
    require_plain("llama", "some/model")


def test_every_completion_has_its_own_seed_and_all_the_stops():
    made = [sampling(DECODING, PROMPT, sample) for sample in (GREEDY, 0, 1)]
    assert [(one["temperature"], one["top_p"]) for one in made] == [(0.0, 1.0), (0.8, 0.95), (0.8, 0.95)]
    seeds = {one["seed"] for one in (*made, sampling(replace(DECODING, seed=4), PROMPT, 0))}
    assert len(seeds) == 4 and all(0 <= seed < 2**63 for seed in seeds)
    assert made[1] == sampling(DECODING, PROMPT, 0) != sampling(DECODING, replace(PROMPT, task_id="task/2"), 0)
    assert (made[0]["stop"], made[0]["stop_token_ids"], made[0]["max_tokens"]) == (["\nclass", "</s>"], [2, 7], 50)
    assert (
        made[0]["skip_special_tokens"] is False and sampling(replace(DECODING, temperature=0.0), PROMPT, 1)["temperature"] == 0
    )
