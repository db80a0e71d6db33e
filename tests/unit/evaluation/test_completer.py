"""From a model folder to answers, with the tokenizers that models come with."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.unit.evaluation.test_plain import rwkv
from tests.unit.models.families import family as model_family
from tests.unit.models.families import seeing, with_encoder
from tests.unit.tokens.families import BOS, EOS, NAMES, family
from wmtp import tasksets
from wmtp.errors import ConfigError, DataError, ModelError
from wmtp.evaluation.completer import Completer
from wmtp.evaluation.generate import Decoding
from wmtp.problems.render import before_stop
from wmtp.types import AssertTest, Problem

CPU = torch.device("cpu")
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
DECODING = Decoding(num_samples=0, temperature=1.0, top_p=1.0, seed=0, max_new_tokens=40, batch_size=8)
HUMANEVAL = tasksets.get("humaneval")
PROBLEM = Problem("HumanEval/0", "def f(x):\n", (AssertTest("assert f(1)"),))
HEADLESS = {
    "bart": lambda: with_encoder("bart", vocab_size=400),
    "qwen2_vl": lambda: seeing("qwen2_vl", vocab_size=400),
    "rwkv": lambda: rwkv(400),
    "recurrent_gemma": lambda: model_family("recurrent_gemma", vocab_size=400, lru_width=32, attention_window_size=64),
}


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
    (row,) = completer.prompter.text.encode_rows([(problem.prompt, f"{body}\ndef f(x):")])
    assert (BOS in row.ids[: row.prompt_len]) == bool(family(name)[1])
    scripted = Scripted(completer.model, row.prompt_len, row.ids[row.prompt_len :])
    ((answer,),) = replace(completer, model=scripted).answers(HUMANEVAL, [problem], DECODING)
    assert (answer.completion, answer.finish) == (body, "stop")
    assert HUMANEVAL.program(problem, answer.completion).source == problem.prompt + body


def test_prompts_are_the_training_rows_own(tmp_path):
    problem = Problem("HumanEval/0", 'def f(x):\n    """</s> <s>"""\n', (AssertTest("assert f(1)"),))
    for name in NAMES:
        text = Completer.load(str(save(tmp_path, name)), CPU).prompter.text
        for answer in ("    return x", "\n", "x"):
            (row,) = text.encode_rows([(HUMANEVAL.prompt(problem), answer)])
            assert text.encode_prompt(HUMANEVAL.prompt(problem)) == tuple(row.ids[: row.prompt_len])
            assert row.ids.count(EOS) == 1


def test_weights_are_used_in_the_dtype_that_is_asked_for(tmp_path):
    folder = str(save(tmp_path, "gpt2"))
    assert Completer.load(folder, CPU).dtype == "float32"
    assert Completer.load(folder, CPU, dtype="bfloat16").dtype == "bfloat16"


def test_a_prompt_that_fills_the_models_positions_is_refused_before_anything_is_generated(tmp_path):
    completer = Completer.load(str(save(tmp_path, "gpt2")), CPU)
    completer.model.config.max_position_embeddings = 5
    problems = [Problem(f"HumanEval/{i}", "def f():\n" * (1 + i), (AssertTest("assert f(1)"),)) for i in range(3)]
    with pytest.raises(
        DataError, match=r"the prompt of HumanEval/2 has \d+ tokens, and \S+ has 5 positions for prompt and answer"
    ):
        completer.answers(HUMANEVAL, problems, DECODING)


def test_a_model_that_is_not_all_there_is_refused(tmp_path):
    save(tmp_path, "gpt2")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"tensor model\.layers\.0\.mlp\.up_proj\.weight is missing$"):
        Completer.load(str(tmp_path), CPU)
    with pytest.raises(ModelError, match=r"model \S*nothing"):
        Completer.load(str(tmp_path / "nothing"), CPU)


def test_completions_are_told_apart_by_all_that_decides_them(tmp_path):
    problems = [Problem(f"HumanEval/{i}", f"def f{i}(x):\n", (AssertTest("assert f(1)"),)) for i in range(2)]
    completer = Completer.load(str(save(tmp_path, "gpt2")), CPU)
    before = completer.identity(HUMANEVAL, problems, DECODING)

    def different(completer=completer, taskset=HUMANEVAL, problems=problems, **decoding):
        now = completer.identity(taskset, problems, replace(DECODING, **decoding))
        return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}

    assert different(Completer.load(str(tmp_path), CPU)) == different(batch_size=3, num_drafts=2) == set()
    for name, value in (("temperature", 0.2), ("top_p", 0.9), ("seed", 1), ("max_new_tokens", 41), ("num_samples", 1)):
        assert different(**{name: value}) == {name}
    assert different(greedy=False) == {"greedy"} and different(problems=problems[:1]) == {"set of prompts"}
    assert different(taskset=replace(HUMANEVAL, stop=("x",))) == {"stop"}
    assert different(taskset=replace(HUMANEVAL, prompt=lambda problem: "#" + problem.prompt)) == {"set of prompts"}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 9}')
    assert different() == {"generation_config.json"}
    assert different(Completer.load(str(tmp_path), CPU)) == {"generation_config.json", "eos_token_ids"}
    coarse = replace(completer, model=completer.model.bfloat16())
    assert different(coarse) == {"generation_config.json", "dtype", "num_drafts"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", -1, r"model\.safetensors \(\d+,?\d* bytes\) is cut off"),
        ("config.json", b'{"model_type": "nonsense"}', "model .*nonsense"),
        ("config.json", b'{"model_type": "llama", "hidden_size": "wide"}', "model "),
        ("config.json", b'{"model_type": "llama", "vocab_size": 401, "hidden_size": 16}', "model "),
        ("tokenizer.json", None, "holds no tokenizer"),
        ("tokenizer.json", b"{}", "tokenizer.json is no tokenizer"),
        ("tokenizer.json", b"\xff", "tokenizer.json is not valid JSON"),
        ("tokenizer.json", b"[" * 100_000, "tokenizer.json is not valid JSON"),
        ("tokenizer_config.json", b"\xff", "tokenizer_config.json is not valid JSON"),
        ("tokenizer_config.json", b"[" * 100_000, "tokenizer_config.json is not valid JSON: nested too deep"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json must hold a JSON object"),
    ],
)
def test_a_broken_folder_is_one_line(tmp_path, name, content, said):
    path = save(tmp_path, "gpt2") / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises((ModelError, DataError), match=said) as refused:
        Completer.load(str(tmp_path), CPU)
    assert "\n" not in str(refused.value) and refused.value.exit_code == 2


def test_a_tokenizer_of_another_model_is_refused_before_anything_is_generated(tmp_path):
    """Special tokens that texts never become may be more than embeddings are (Gemma 3's smaller models have one)."""
    problem = Problem("HumanEval/0", "def f(x):\n", (AssertTest("assert f(1)"),))
    completer = Completer.load(str(save(tmp_path, "gpt2")), CPU)
    largest = completer.prompter.text.largest_id
    completer.model.config.vocab_size = largest
    with pytest.raises(DataError, match=f"has {largest} embeddings, and its tokenizer makes token {largest}: it is another"):
        list(completer.answers(HUMANEVAL, [problem], DECODING))
    completer.model.config.vocab_size = 400
    completer.prompter.text.tokenizer.add_special_tokens([f"<{i}>" for i in range(400)])
    assert completer.prompter.text.vocab_size > 400 and list(completer.answers(HUMANEVAL, [problem], DECODING))


def test_a_padding_that_the_model_has_no_row_for_is_another_token(tmp_path):
    """`[PAD]` behind a vocabulary, added by whoever fine-tuned the model, is padding alone and never read."""
    problems = [Problem(f"HumanEval/{i}", "def f(x):\n" * (i + 1), (AssertTest("assert f(1)"),)) for i in range(2)]
    folder = save(tmp_path, "gpt2")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([*(f"<{i}>" for i in range(400)), "[PAD]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    due = list(Completer.load(str(folder), CPU).answers(HUMANEVAL, problems, DECODING))  # padded with its end token
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "[PAD]"}))
    completer = Completer.load(str(folder), CPU)
    assert completer.prompter.text.vocab_size > 400 > completer.prompter.text.pad_token_id
    assert list(completer.answers(HUMANEVAL, problems, DECODING)) == due


def test_ends_that_are_no_numbers_are_refused(tmp_path):
    folder = save(tmp_path, "gpt2")
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, "x"]}')
    with pytest.raises(DataError, match=r"generation_config.json: eos_token_id must be tokens' numbers, and is \[1, 'x'\]"):
        Completer.load(str(folder), CPU)


def saved(folder, model, name="roberta"):
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(family(name)[0])
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "bos_token": "<s>"}')
    return str(folder)


@pytest.mark.parametrize("name", ["roberta", "appends its end", "llama2", "gpt2"])
def test_an_encoders_prompt_and_its_answer_are_texts_of_their_own(tmp_path, name):
    """As transformers' tokenizer writes a text and reads what the decoder wrote, special tokens apart."""
    where = saved(tmp_path, with_encoder("t5", vocab_size=400), name)
    completer = Completer.load(where, CPU, causal=False)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}')
    theirs = AutoTokenizer.from_pretrained(where, truncation_side="right")
    for text in ("def f(x):\n", "Question: how many?\nAnswer:"):
        ids = completer.prompter.text.encode_prompt(text)
        assert list(ids) == theirs(text, truncation=False, padding=False)["input_ids"]
        assert completer.prompter.text.decode([*ids, BOS]) == theirs.decode([*ids, BOS], skip_special_tokens=True)
    identity = completer.identity(HUMANEVAL, [PROBLEM], DECODING)
    assert identity["decoder_start"] == [2] and identity["eos_token_ids"] == [EOS]
    (answers,) = completer.answers(HUMANEVAL, [PROBLEM], DECODING)
    assert [answer.task_id for answer in answers] == ["HumanEval/0"]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_decoder_writes_keeps_its_indentation_and_stops_are_found(tmp_path, name):
    """After a special token, as CodeT5 and BART write one first. Tokenizers that put a space before a text alone that starts
    with none take one away from any, as transformers' do.
    """
    completer = Completer.load(saved(tmp_path, with_encoder("t5", vocab_size=400), name), CPU, causal=False)
    body = "    return x\n\n    a\n"
    text = completer.prompter.text.tokenizer.encode(f"{body}\ndef f(x):", add_special_tokens=False).ids
    script = iter([BOS, *text, *[EOS] * 9])

    def scripted(model, inputs, output):
        output.logits[:, -1] = torch.nn.functional.one_hot(torch.tensor(next(script)), 400).float()

    completer.model.register_forward_hook(scripted)
    ((answer,),) = completer.answers(HUMANEVAL, [PROBLEM], DECODING)
    due = body.removeprefix(" ") if name in ("mistral", "metaspace always") else body
    assert (answer.completion, answer.finish) == (due, "stop") and next(script) != EOS


@pytest.mark.parametrize("name", ["rwkv", "recurrent_gemma", "qwen2_vl", "bart"])
def test_models_without_heads_are_completed_as_they_are(tmp_path, name):
    model = HEADLESS[name]()
    completer = Completer.load(saved(tmp_path, model), CPU, causal=False)
    ((answer,),) = completer.answers(HUMANEVAL, [PROBLEM], replace(DECODING, max_new_tokens=7))
    ids = torch.tensor([completer.prompter.text.encode_prompt(PROBLEM.prompt)])
    model.generation_config.forced_eos_token_id = None  # BART's, of the longest answer's last token
    whole = model.generate(ids, max_new_tokens=7, do_sample=False, eos_token_id=EOS, pad_token_id=0, attention_mask=ids > -1)
    made = whole[0, 1 if name == "bart" else ids.shape[1] :].tolist()
    stop = made.index(EOS) if EOS in made else None
    assert answer.completion == before_stop(completer.prompter.text.decode(made[:stop]), HUMANEVAL.stop)


@pytest.mark.parametrize(
    ("name", "said"),
    [("bart", "a bart model has an encoder: it is no causal"), ("qwen2_vl", "has no causal language model of type qwen2_vl")],
)
def test_what_carries_no_heads_is_refused_unless_it_is_asked_for(tmp_path, name, said):
    with pytest.raises(ModelError, match=rf"^model [^\n]*{said}"):
        Completer.load(saved(tmp_path, HEADLESS[name]()), CPU)


def test_prompts_and_answers_of_an_encoder_decoder_have_positions_of_their_own(tmp_path):
    completer = Completer.load(saved(tmp_path, with_encoder("bart", vocab_size=400)), CPU, causal=False)
    problem = Problem("HumanEval/0", "1 2 3 4 5 6 7 8 9 0 " * 9, (AssertTest("assert f(1)"),))
    length = len(completer.prompter.text.encode_prompt(problem.prompt))
    assert length > 64
    with pytest.raises(
        DataError, match=rf"of HumanEval/0 has {length} tokens, and \S+ has 64 positions for a prompt: ask with"
    ):
        completer.answers(HUMANEVAL, [problem], DECODING)
    fits = replace(problem, prompt=completer.prompter.text.decode(completer.prompter.text.encode_prompt(problem.prompt)[:63]))
    assert len(completer.prompter.text.encode_prompt(fits.prompt)) == 64
    assert list(completer.answers(HUMANEVAL, [fits], replace(DECODING, max_new_tokens=63)))
    with pytest.raises(ConfigError, match=r"^--max-new-tokens=64 must be at most 63: \S+ has 64 positions for an answer$"):
        completer.answers(HUMANEVAL, [fits], replace(DECODING, max_new_tokens=64))
