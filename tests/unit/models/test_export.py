"""What is exported computes what the policy did, for whoever loads it, without wmtp."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, LlamaForCausalLM

from tests.unit.models.families import family
from tests.unit.models.tiny import VOCAB, llama, tiny
from tests.unit.tokens.families import family as tokenizer
from wmtp.cli import main
from wmtp.config.training import LoraConfig
from wmtp.models import export as module
from wmtp.models.load import from_causal_lm
from wmtp.models.lora import add_adapters
from wmtp.models.save import write_language_model

pytestmark = pytest.mark.slow

IDS = torch.randint(2, VOCAB, (3, 30), generator=torch.Generator().manual_seed(5))
MASK = torch.ones_like(IDS)
MASK[1, :7] = 0

ELSEWHERE = """
import json, sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

inputs = load_file(sys.argv[1])
found = {}
for folder in sys.argv[3:]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found[folder] = model(**inputs).logits
    about = json.load(open(f"{folder}/mtp_heads/heads.json"))
    heads = load_file(f"{folder}/mtp_heads/heads.safetensors")
    last = model.get_submodule(about["replaces"])
    for head in range(1, about["n_future"]):
        prefix = f"heads.{head}."
        last.load_state_dict({k.removeprefix(prefix): v for k, v in heads.items() if k.startswith(prefix)})
        found[f"{folder}/{head}"] = model(**inputs).logits
    assert AutoTokenizer.from_pretrained(folder)("a b").input_ids
assert not any(name.partition(".")[0] == "wmtp" for name in sys.modules)
save_file({name: logits.contiguous() for name, logits in found.items()}, sys.argv[2])
"""
"""A program that knows transformers and the layout of further heads, and nothing of wmtp."""


def with_adapters():
    """A model as a training with LoRA saves it, and what it was while it had its adapters."""
    model = from_causal_lm(llama(), 2).eval()
    add_adapters(model, LoraConfig(rank=2), seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model


def save(model, folder):
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer("llama2")[0])
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "summary.json").write_text("{}")
    return folder


def heads_apart(model):
    """Every head says something else."""
    with torch.no_grad():
        for number, head in enumerate(model.heads):
            for parameter in head.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.1)
    return model


@torch.no_grad()
def test_head_0_is_the_plain_model_bit_for_bit_and_further_heads_are_its_last_layer(tmp_path):
    grouped = {"head_dim": 6, "attention_bias": True, "mlp_bias": True}
    policies = {
        "tied": tiny(tie=True),
        "untied": tiny(tie=False, n_future=2),
        "put_on_llama": heads_apart(from_causal_lm(llama(**grouped), 3).eval()),
        "put_on_tied_llama": heads_apart(from_causal_lm(llama(tie_word_embeddings=True), 2).eval()),
    }
    due = {}
    for name, model in policies.items():
        save(model, tmp_path / name)
        out = tmp_path / f"{name}-plain"
        assert main(["export", str(tmp_path / name), str(out), "--heads"]) == 0
        due[str(out)] = model(input_ids=IDS, attention_mask=MASK).logits
        due |= {f"{out}/{h}": logits for h, logits in enumerate(model.head_logits(IDS, MASK)) if h}
        assert {path.name for path in out.iterdir()} == {
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "mtp_heads",
            "tokenizer.json",
            "tokenizer_config.json",
        }
    inputs = tmp_path / "inputs.safetensors"
    save_file({"input_ids": IDS, "attention_mask": MASK}, inputs)
    outs = [name for name in due if name.endswith("-plain")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", ELSEWHERE, str(inputs), str(tmp_path / "found.safetensors"), *outs]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "found.safetensors")
    assert found.keys() == due.keys() and len(due) == 3 + 2 + 3 + 2
    seen = MASK.bool()
    assert [name for name in due if not torch.equal(found[name][seen], due[name][seen])] == []


@pytest.mark.parametrize("name", ["qwen2", "granite", "mixtral"])
def test_what_heads_were_put_on_comes_back_as_its_family_writes_it(tmp_path, name):
    """The same files as the model's own, tensor by tensor: experts apart, under the family's names, tied or not."""
    source = family(name)
    source.save_pretrained(tmp_path / "own")
    from_causal_lm(source, 3).save_pretrained(tmp_path / "policy")
    done = module.export(tmp_path / "policy", tmp_path / "plain")
    assert done.difference == 0 and done.num_heads == 3
    own, plain = (load_file(tmp_path / where / "model.safetensors") for where in ("own", "plain"))
    assert own.keys() == plain.keys() and all(torch.equal(own[key], plain[key]) for key in own)
    settings = [json.loads((tmp_path / where / "config.json").read_text()) for where in ("own", "plain")]
    assert settings[0] == settings[1]


@torch.no_grad()
def test_adapters_are_merged(tmp_path, capsys):
    model = with_adapters()
    expected = model(input_ids=IDS).logits
    (tmp_path / "policy").mkdir()
    write_language_model(model, tmp_path / "policy", is_main=True)
    assert main(["export", str(tmp_path / "policy"), str(tmp_path / "plain")]) == 0
    said = capsys.readouterr().out
    assert "LlamaForCausalLM" in said and "bit for bit" in said and "policy has no tokenizer, so" in said
    exported = LlamaForCausalLM.from_pretrained(tmp_path / "plain").eval()
    assert not any("lora" in name for name, _ in exported.named_parameters())
    torch.testing.assert_close(exported(input_ids=IDS).logits, expected, rtol=0, atol=1e-5)
    assert (exported(input_ids=IDS).logits - llama()(input_ids=IDS).logits).abs().max() > 1e-3


def test_the_files_dtype_is_kept(tmp_path):
    save(tiny().bfloat16(), tmp_path / "policy")
    assert main(["export", str(tmp_path / "policy"), str(tmp_path / "plain")]) == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "plain/model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "plain/config.json").read_text())["dtype"] == "bfloat16"


def refused(capsys, *argv):
    assert main(["export", *map(str, argv)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_what_can_not_be_exported_or_not_there_is_refused(tmp_path, capsys):
    policy = save(tiny(), tmp_path / "policy")
    llama().save_pretrained(tmp_path / "llama")
    critic = save(tiny(), tmp_path / "critic")
    (critic / "critic.json").write_text("{}")
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for source, target, said in (
        (tmp_path / "none", tmp_path / "out", "none does not exist"),
        (full / "notes.txt", tmp_path / "out", "notes.txt is a file"),
        (full, tmp_path / "out", "full/config.json: No such file"),
        (tmp_path / "llama", tmp_path / "out", "llama is a llama model, which needs no export"),
        (critic, tmp_path / "out", "critic is a critic"),
        (policy, full, "full is not empty: name a new folder"),
        (policy, full / "notes.txt", "notes.txt is a file: name a new folder"),
        (policy, full / "notes.txt/out", "Not a directory"),
        (policy, policy / "plain", "is inside of"),
    ):
        assert said in refused(capsys, source, target)
    weights = policy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "model.safetensors (" in refused(capsys, policy, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plain_model_that_says_something_else_gets_no_name(tmp_path, capsys, monkeypatch):
    policy = save(tiny(tie=False), tmp_path / "policy")
    real = module.plain_model

    def other(model):
        plain = real(model)
        with torch.no_grad():
            plain.lm_head.weight = torch.nn.Parameter(plain.lm_head.weight * 1.01)
        return plain

    monkeypatch.setattr(module, "plain_model", other)
    assert "logits differ by" in refused(capsys, policy, tmp_path / "plain")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_an_export_that_is_ended_leaves_nothing_and_an_empty_folder_is_filled(tmp_path, monkeypatch):
    policy = save(tiny(), tmp_path / "policy")
    (tmp_path / "plain").mkdir()
    real, calls = module._logits, []

    def ends(model):
        calls.append(model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(model)

    monkeypatch.setattr(module, "_logits", ends)
    assert main(["export", str(policy), str(tmp_path / "plain")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "policy"] and not any((tmp_path / "plain").iterdir())
    assert main(["export", str(policy), str(tmp_path / "plain")]) == 0
    assert AutoConfig.from_pretrained(tmp_path / "plain").num_hidden_layers == 2
