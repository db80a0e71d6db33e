"""From a model folder to answers, with the tokenizers that models come with."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.tokens.families import BOS, EOS, NAMES, family
from wmtp import tasksets
from wmtp.errors import DataError, EvaluationError
from wmtp.evaluation.completer import Completer
from wmtp.evaluation.generate import Decoding
from wmtp.types import AssertTest, Problem

CPU = torch.device("cpu")
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
DECODING = Decoding(num_samples=0, temperature=1.0, top_p=1.0, seed=0, max_new_tokens=40, batch_size=8)
HUMANEVAL = tasksets.get("humaneval")


def save(folder, name, *, eos_token="</s>", generation_end=None):
    """A random model with a tokenizer of that family."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=400, **SIZES))
    model.generation_config.eos_token_id = generation_end
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(family(name)[0])
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos_token} if eos_token else {}))
    return folder


class Scripted(torch.nn.Module):
    """Says `ids` after any prompt, whatever it is; everything else is the model's own."""

    def __init__(self, model, prompt_len, ids):
        super().__init__()
        self.model, self.config, self.prompt_len, self.ids = model, model.config, prompt_len, ids

    def forward(self, *, position_ids, logits_to_keep, **inputs):
        output = self.model(position_ids=position_ids, logits_to_keep=logits_to_keep, **inputs)
        place = int(position_ids[0, -1]) + 1 - self.prompt_len
        output.logits[:] = torch.nn.functional.one_hot(torch.tensor(self.ids[min(place, len(self.ids) - 1)]), 400).float()
        return output


@pytest.mark.parametrize("name", NAMES)
def test_the_first_body_line_keeps_its_indentation_and_stops_are_found(tmp_path, name):
    completer = Completer.load(str(save(tmp_path, name)), CPU)
    problem = Problem("HumanEval/0", "def f(x):\n", (AssertTest("assert f(1)"),))
    body = "    return x\n\n    a\n"
    (row,) = completer.text.encode_rows([(problem.prompt, f"{body}\ndef f(x):")])
    assert (BOS in row.ids[: row.prompt_len]) == bool(family(name)[1])
    scripted = Scripted(completer.model, row.prompt_len, row.ids[row.prompt_len :])
    ((answer,),) = Completer("", scripted, completer.text, completer.eos_token_ids).answers(HUMANEVAL, [problem], DECODING)
    assert (answer.completion, answer.finish) == (body, "stop")
    assert HUMANEVAL.program(problem, answer.completion).source == problem.prompt + body


def test_prompts_are_the_training_rows_own(tmp_path):
    problem = Problem("HumanEval/0", 'def f(x):\n    """</s> <s>"""\n', (AssertTest("assert f(1)"),))
    for name in NAMES:
        text = Completer.load(str(save(tmp_path, name)), CPU).text
        for answer in ("    return x", "\n", "x"):
            (row,) = text.encode_rows([(HUMANEVAL.prompt(problem), answer)])
            assert text.encode_prompt(HUMANEVAL.prompt(problem)) == tuple(row.ids[: row.prompt_len])
            assert row.ids.count(EOS) == 1


def test_every_end_token_of_the_model_and_its_tokenizer_ends_a_completion(tmp_path):
    assert Completer.load(str(save(tmp_path, "gpt2", generation_end=[5, 2, 7])), CPU).eos_token_ids == (2, 5, 7)
    alone = Completer.load(str(save(tmp_path, "gpt2", eos_token=None, generation_end=7)), CPU)
    assert alone.eos_token_ids == (7,) and alone.text.pad_token_id == 7
    with pytest.raises(DataError, match="names no eos_token"):
        Completer.load(str(save(tmp_path, "gpt2", eos_token=None)), CPU)


def test_a_model_that_is_not_all_there_is_refused(tmp_path):
    save(tmp_path, "gpt2")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match=r"1 weights are missing, the first is model\.layers\.0\.mlp\.up_proj\.weight"):
        Completer.load(str(tmp_path), CPU)
    with pytest.raises(EvaluationError, match=r"model \S*nothing"):
        Completer.load(str(tmp_path / "nothing"), CPU)


def test_the_fingerprint_is_the_files(tmp_path):
    first = Completer.load(str(save(tmp_path, "gpt2")), CPU)
    before = first.fingerprint()
    assert Completer.load(str(tmp_path), CPU).fingerprint() == before
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 9}')
    assert first.fingerprint() != before
