"""`wmtp evaluate`: a small model completes small benchmark files, and its completions run in the real sandbox."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from safetensors.numpy import load_file, save_file

from tests.unit.evaluation.benchmarks import HUMANEVAL, benchmark_files, dies_at, one_line, read_samples, write
from tests.unit.evaluation.test_plain import rwkv
from tests.unit.models.families import family as decoder
from tests.unit.models.families import seeing, with_encoder
from tests.unit.tokens.families import family
from wmtp import tasksets
from wmtp.cli import main
from wmtp.config.beside import facts_of
from wmtp.evaluation.asking import prompt_facts
from wmtp.problems.files import write_problems


@pytest.fixture
def files(tmp_path):
    return benchmark_files(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model whose tokenizer.json carries a BOS, an end token, truncation and padding."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    (folder / "tokenizer.json").write_text(family("llama2")[0])
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "bos_token": "<s>"}')
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=301, num_key_value_heads=2, **sizes)).save_pretrained(folder)
    return folder


HEADLESS = {
    "t5": lambda: with_encoder("t5", vocab_size=400),
    "bart": lambda: with_encoder("bart", vocab_size=400, max_position_embeddings=256),
    "qwen2_vl": lambda: seeing("qwen2_vl", vocab_size=400, max_position_embeddings=256),
    "rwkv": lambda: rwkv(400),
    "recurrent_gemma": lambda: decoder("recurrent_gemma", vocab_size=400, lru_width=32, attention_window_size=64),
}


def without_heads(folder, name):
    """A random model of a kind that carries no heads, with a tokenizer that writes `<s>` and `</s>` around a text."""
    HEADLESS[name]().save_pretrained(folder)
    (folder / "tokenizer.json").write_text(family("roberta")[0])
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "bos_token": "<s>"}')
    return folder


def evaluate(model, files, out, *more):
    options = ["--model", str(model), "--data", str(files["humaneval"]), "--out", str(out), "--k", "1,2"]
    return main(["evaluate", "humaneval", *options, "--max-new-tokens", "6", *more])


def test_any_causal_language_model_is_evaluated_by_one_command_and_its_completions_scored_again(files, tmp_path, model):
    command = [
        "evaluate",
        "humaneval",
        "--model",
        str(model),
        "--data",
        str(files["humaneval"]),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "wmtp.cli", *command, "--k", "1,2", "--max-new-tokens", "6"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["pass@1"], metrics["num_samples"], metrics["num_tasks"]) == (0.0, 2, 3)
    assert (metrics["model"], metrics["sampling"]["max_new_tokens"], metrics["generation"]["tokens"] > 9) == (
        str(model),
        6,
        True,
    )
    assert [(s["task_id"], s["sample"]) for s in read_samples(tmp_path / "out")] == [
        (task["task_id"], sample) for task in HUMANEVAL for sample in ("greedy", 0, 1)
    ]
    again = ["--samples", str(tmp_path / "out/samples.jsonl.gz"), "--out", str(tmp_path / "again"), "--k", "1,2"]
    assert main(["score", "humaneval", "--data", str(files["humaneval"]), *again]) == 0
    for key in ("pass@1", "greedy_pass@1", "verdicts", "greedy_verdicts"):
        assert json.loads((tmp_path / "again/metrics.json").read_text())[key] == metrics[key]


@pytest.mark.parametrize("name", ["humaneval", "mbpp", "gsm8k"])
def test_the_problems_that_a_pipeline_has_made_of_a_benchmark_are_its_tasks(files, tmp_path, model, name):
    """What `report.beside` needs: asked, judged and bounded as the runs, of the very file that they have."""
    made = tmp_path / "test_problems.jsonl"
    write_problems(made, tasksets.load_problems(name, str(files[name])))
    for data, out in ((files[name], "published"), (made, "made")):
        command = ["evaluate", name, "--model", str(model), "--data", str(data), "--out", str(tmp_path / out)]
        assert main([*command, "--k", "1,2", "--max-new-tokens", "6", "--num-shots", "0"]) == 0
    due, there = ([one | {"wall_s": 0} for one in read_samples(tmp_path / out)] for out in ("published", "made"))
    assert there == due and len(due) > 4
    published, found = (facts_of(json.loads((tmp_path / out / "metrics.json").read_text())) for out in ("published", "made"))
    assert found == published | {"dataset.md5": hashlib.md5(made.read_bytes()).hexdigest()}
    assert found["prompt"] == prompt_facts(tasksets.get(name)) and found["sandbox.limits"] is not None


def test_an_interrupted_evaluation_goes_on_and_never_with_another_models_completions(
    files, tmp_path, model, monkeypatch, capsys
):
    assert evaluate(model, files, tmp_path / "whole") == 0
    dies_at(4, monkeypatch)
    assert evaluate(model, files, tmp_path / "out", "--batch-size", "3") == 1
    assert len(list(tmp_path.glob(".out*"))) == 1
    other = shutil.copytree(model, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({**weights, "lm_head.weight": weights["lm_head.weight"] * 1.5}, other / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    for which, more, said in (
        (model, ["--seed", "1"], "(seed was 0, is 1)"),
        (model, ["--temperature", "0.2"], "(temperature was 0.8, is 0.2)"),
        (model, ["--max-new-tokens", "7"], "(max_new_tokens was 6, is 7)"),
        (model, ["--limit", "2"], "(another set of tasks)"),
        (other, [], "(another model.safetensors)"),
    ):
        assert evaluate(which, files, tmp_path / "out", *more) == 2
        assert said in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out").exists()
    assert evaluate(model, files, tmp_path / "out", "--batch-size", "3") == 0
    assert json.loads((tmp_path / "out/metrics.json").read_text())["generation"]["resumed_samples"] == 3
    drop = dict.fromkeys(("wall_s",))
    assert [{**s, **drop} for s in read_samples(tmp_path / "out")] == [{**s, **drop} for s in read_samples(tmp_path / "whole")]


@pytest.mark.parametrize("name", HEADLESS)
def test_models_that_carry_no_heads_are_evaluated_and_go_on_where_they_were(files, tmp_path, monkeypatch, capsys, name):
    where = without_heads(tmp_path / "model", name)
    assert evaluate(where, files, tmp_path / "whole") == 0
    dies_at(4, monkeypatch)
    assert evaluate(where, files, tmp_path / "out", "--batch-size", "2") == 1
    assert evaluate(where, files, tmp_path / "out", "--batch-size", "3") == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["num_tasks"] == 3 and metrics["generation"]["resumed_samples"] == 3
    assert metrics["identity"].get("decoder_start") == ([2] if name in ("t5", "bart") else None)
    drop = dict.fromkeys(("wall_s",))
    assert [{**s, **drop} for s in read_samples(tmp_path / "out")] == [{**s, **drop} for s in read_samples(tmp_path / "whole")]
    capsys.readouterr()
    for task in ("mbpp", "gsm8k"):
        shots = ["--num-shots", "0"] if task == "gsm8k" else []
        options = ["--model", str(where), "--data", str(files[task]), "--out", str(tmp_path / task), "--max-new-tokens", "4"]
        assert main(["evaluate", task, *options, *shots]) == 0
    assert evaluate(where, files, tmp_path / "out", "--num-drafts", "1") == 2
    assert "num_drafts=1 is more than this model's further heads can propose: 0" in capsys.readouterr().err.splitlines()[-1]


def test_what_a_model_with_an_encoder_cannot_do_is_one_line(files, tmp_path, capsys):
    where = without_heads(tmp_path / "model", "bart")
    capsys.readouterr()
    assert evaluate(where, files, tmp_path / "out", "--max-new-tokens", "256") == 2
    assert "--max-new-tokens=256 must be at most 255: " in capsys.readouterr().err.splitlines()[-1]
    settings = json.loads((where / "generation_config.json").read_text())
    for name in ("decoder_start_token_id", "bos_token_id"):
        settings.pop(name)
    (where / "generation_config.json").write_text(json.dumps(settings))
    assert evaluate(where, files, tmp_path / "out2") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: model ") and "`decoder_start_token_id` or `bos_token_id` has to be defined" in said


def test_one_greedy_completion_by_default_after_the_solved_examples_that_are_named(files, tmp_path, model):
    train = write(tmp_path / "train.jsonl", [{"question": f"{i}?", "answer": f"It is {i}.\n#### {i}"} for i in range(8)])
    options = ["--model", str(model), "--data", str(files["gsm8k"]), "--out", str(tmp_path / "out"), "--max-new-tokens", "3"]
    shots = ["--shots", str(train), "--num-shots", "2", "--shot-seed", "1234"]
    assert main(["evaluate", "gsm8k", *options, *shots]) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [sample["sample"] for sample in read_samples(tmp_path / "out")] == [0, 0] and metrics["pass@1"] == 0.0
    assert (metrics["sampling"]["temperature"], metrics["sampling"]["max_new_tokens"]) == (0.0, 3)
    prompt = metrics["prompt"]
    assert (prompt["format"], prompt["num_shots"], prompt["shots"]["source"]) == ("lm-eval", 2, str(train))
    assert len({each for ids in prompt["shots"]["ids"].values() for each in ids}) > 1 and prompt["stop"][0] == "Question:"
    assert metrics["identity"]["eos_token_ids"] and metrics["versions"].keys() >= {"torch", "transformers", "wmtp"}


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("gsm8k", [], "the prompt format lm-eval needs 5 solved examples: name the file"),
        ("humaneval", ["--prompt", "meta"], "humaneval has no prompt format 'meta': known are openai, bigcode, evalplus"),
        ("humaneval", ["--num-shots", "2"], "the prompt format openai has no solved examples"),
        ("humaneval", ["--chat-template", "on"], "the model's tokenizer has no chat template"),
        ("humaneval", ["--revision", "main"], "--revision main is of the hub, and"),
        ("humaneval", ["--backend", "vllm"], "--backend vllm needs the package vllm"),
        ("humaneval", ["--temperature", "0", "--num-samples", "2"], "would make 2 times the same completion"),
        ("gsm8k", ["--num-shots", "0", "--sanitize"], "answers of gsm8k are texts"),
        ("humaneval", ["--temperature", "-1"], "argument --temperature: must be a finite number of 0 or more"),
    ],
)
def test_what_a_prompt_cannot_be_is_one_line(files, tmp_path, model, capsys, monkeypatch, name, more, said):
    monkeypatch.setitem(sys.modules, "vllm", None)  # as where it is not installed
    options = ["--model", str(model), "--data", str(files[name]), "--out", str(tmp_path / "out")]
    assert main(["evaluate", name, *options, *more]) == 2
    assert said in one_line(capsys) and not (tmp_path / "out").exists()
