"""What a notebook gets from models, against plain forwards of one text at a time in float64."""

import json
import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import wmtp
from tests.unit.evaluation.test_plain import rwkv
from tests.unit.library.conftest import EXAMPLES
from tests.unit.models.families import seeing, with_encoder
from wmtp.errors import CheckpointError, ConfigError, ModelError
from wmtp.tokens.tokenizer import save_tokenizer


def ids_of(folder, example):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt, whole = (tokenizer.encode(text).ids for text in (example.prompt, example.prompt + example.solution))
    assert whole[: len(prompt)] == prompt
    end = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
    return [*whole, tokenizer.token_to_id(end)], len(prompt)


def naive_nll(model, ids, stride=1):
    """(T, H): of token t under head h, from the logits."""
    with torch.inference_mode():
        logits = model.head_logits(torch.tensor([ids]))
    table = np.full((len(ids), len(logits)), np.nan)
    for h, logits_BTV in enumerate(logits):
        for t in range(1 + h * stride, len(ids)):
            table[t, h] = -torch.log_softmax(logits_BTV[0, t - 1 - h * stride].double(), dim=-1)[ids[t]]
    return table


def test_every_token_has_its_nll_under_every_head(folders):
    policy = wmtp.load_model(folders / "policy")
    frames = policy.nll(EXAMPLES)
    for example, frame in zip(EXAMPLES, frames, strict=True):
        ids, prompt_len = ids_of(folders / "policy", example)
        assert frame["id"].tolist() == ids and frame["is_prompt"].sum() == prompt_len
        assert "".join(frame["token"][:-1]) == example.prompt + example.solution
        found = frame[["nll_head0", "nll_head1", "nll_head2"]].to_numpy()
        np.testing.assert_allclose(found, naive_nll(policy.model, ids), rtol=1e-4)


@pytest.mark.parametrize("stride", [2, 9])
def test_heads_with_a_stride_see_so_much_less_before_a_token(folders, stride):
    """With the longer one, the last head never has a target."""
    policy = wmtp.load_model(folders / "policy")
    config = policy.model.config
    config.head_variant, config.head_stride = "stride", stride
    (frame,) = policy.nll(EXAMPLES[:1])
    ids, _ = ids_of(folders / "policy", EXAMPLES[0])
    np.testing.assert_allclose(frame.filter(like="nll_head").to_numpy(), naive_nll(policy.model, ids, stride), rtol=1e-4)
    (weights,) = wmtp.token_weights({"weighting": {"name": "uniform"}}, EXAMPLES[:1], policy=policy)
    for h in range(3):
        due = ~weights["is_prompt"] & (np.arange(len(ids)) >= 1 + h * stride)
        assert (weights[f"weight_head{h}"] == 1).tolist() == due.tolist()


def test_a_model_without_heads_has_one(folders, tmp_path):
    text = wmtp.load_model(folders / "policy").text
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    plain = LlamaForCausalLM(LlamaConfig(vocab_size=text.vocab_size, **sizes)).eval()
    plain.save_pretrained(tmp_path)
    save_tokenizer(text, tmp_path, 64)
    (frame,) = wmtp.load_model(tmp_path).nll(EXAMPLES[:1])
    with torch.inference_mode():
        expected = plain(torch.tensor([frame["id"].tolist()]), labels=torch.tensor([frame["id"].tolist()])).loss
    assert [name for name in frame if name.startswith("nll")] == ["nll_head0"]
    assert frame["nll_head0"].mean() == pytest.approx(float(expected), rel=1e-4)


def test_greedy_completions_are_the_most_probable_tokens_and_proposals_change_nothing(folders):
    policy = wmtp.load_model(folders / "policy")
    prompts = [example.prompt for example in EXAMPLES[:2]]
    plain = policy.generate(prompts, max_new_tokens=12)
    drafted = policy.generate(prompts, max_new_tokens=12, num_drafts=2)
    assert [answer.completion for answer in plain] == [answer.completion for answer in drafted]
    ids = list(policy.text.encode_prompt(prompts[0]))
    start = len(ids)
    with torch.inference_mode():
        for _ in range(12):
            ids.append(int(policy.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in policy.eos_token_ids:
                break
    kept = [token for token in ids[start:] if token not in policy.eos_token_ids]
    assert plain[0].completion == policy.text.decode(kept)


def test_samples_are_as_many_as_asked_for_and_repeat(folders):
    policy = wmtp.load_model(folders / "policy")
    drawn = policy.generate(["x"], num_samples=3, max_new_tokens=6, seed=5)
    assert [answer.sample for answer in drawn] == [0, 1, 2]
    again = policy.generate(["y", "x"], num_samples=3, max_new_tokens=6, seed=5)
    assert len(again) == 6


def test_a_critic_says_the_value_of_every_token(folders):
    reference, critic = wmtp.load_model(folders / "reference"), wmtp.load_critic(folders / "critic")
    frames = critic.values(EXAMPLES, reference)
    for example, frame in zip(EXAMPLES, frames, strict=True):
        ids, _ = ids_of(folders / "critic", example)
        nll = torch.tensor(naive_nll(reference.model, ids)[:, 0], dtype=torch.float32).nan_to_num(0.0)
        with torch.inference_mode():
            logits = critic.model(torch.tensor([ids]), nll.unsqueeze(0))[0]
        expected = [1 / (1 + math.exp(-float(x))) for x in logits]
        np.testing.assert_allclose(frame["value"], expected, rtol=1e-4)
    with pytest.raises(ValueError, match="give `reference`"):
        critic.values(EXAMPLES)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: with_encoder("t5"), "a t5 model has an encoder: it is no causal language model$"),
        (lambda: seeing("qwen2_vl"), "has no causal language model of type qwen2_vl$"),
        (lambda: rwkv(400), "heads cannot be put on it: its decoder takes no "),
    ],
)
def test_what_heads_cannot_be_put_on_is_one_line(tmp_path, folders, make, said):
    make().save_pretrained(tmp_path)
    save_tokenizer(wmtp.load_model(folders / "policy").text, tmp_path, 64)
    with pytest.raises(ModelError, match=rf"^model [^\n]*({said})"):
        wmtp.load_model(tmp_path)


def test_what_is_no_model_is_said(tmp_path, folders):
    with pytest.raises(ModelError):
        wmtp.load_model(tmp_path)
    with pytest.raises(CheckpointError, match=r"policy is not a critic, which has a critic\.json$"):
        wmtp.load_critic(folders / "policy")
    with pytest.raises(ValueError, match="at least one example"):
        wmtp.load_model(folders / "policy").nll([])


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda model: model.generate("# Return"), TypeError, "prompts must be a list of str, not str: '# Return'"),
        (lambda model: model.generate(["a", 1]), TypeError, "prompts must be a list of str"),
        (lambda model: model.nll("text"), TypeError, "examples must be a list of Example, not str"),
        (lambda model: model.nll([("a", "b")]), TypeError, "examples must be a list of Example, not list"),
        (lambda model: model.generate(["a"], max_new_tokens=0), ValueError, "max_new_tokens=0 must be at least 1"),
        (lambda model: model.generate(["a"], num_drafts=99), ConfigError, "num_drafts=99 is more than .* can propose: "),
    ],
)
def test_a_hurried_call_is_refused(folders, ask, error, said):
    with pytest.raises(error, match=said):
        ask(wmtp.load_model(folders / "policy"))
