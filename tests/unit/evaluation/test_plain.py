"""Completions by transformers' own generation equal those of a loop that knows nothing of caches, rows or samplers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.unit.evaluation.models import EOS, byte_tokenizer, llama
from tests.unit.evaluation.test_generate import make_decoding, make_prompts
from tests.unit.models.families import WITH_ENCODER, family, randomised, seeing, with_encoder
from wmtp.evaluation.generate import generate, generate_batches
from wmtp.evaluation.nucleus import row_key, uniforms
from wmtp.evaluation.plain import Plainly, decoder_start, positions
from wmtp.evaluation.results import GREEDY
from wmtp.tokens.encode import ApartTokenizer

TOKENIZER = byte_tokenizer()
APART = ApartTokenizer(byte_tokenizer().tokenizer, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id)
FAST_STATES = {
    "llama": {},
    "gemma3_text": {},
    "mamba": {"num_hidden_layers": 2, "state_size": 4},
    "lfm2": {},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": [1], "mamba_d_state": 8},
}


def rwkv(vocab_size=258):
    torch.manual_seed(3)
    config = AutoConfig.for_model("rwkv", vocab_size=vocab_size, hidden_size=32, num_hidden_layers=2)
    return randomised(AutoModelForCausalLM.from_config(config, dtype=torch.float32), 0.3)


MODELS = {
    **{name: lambda name=name: with_encoder(name, vocab_size=258) for name in WITH_ENCODER if name != "prophetnet"},
    "rwkv": rwkv,
    "recurrent_gemma": lambda: family("recurrent_gemma", vocab_size=258, lru_width=32, attention_window_size=64),
    "qwen2_vl": lambda: seeing("qwen2_vl", vocab_size=258),
}
WAYS = {"rwkv": Plainly(together=False)}


def naive(model, prompt, sample, decoding):
    """One completion's tokens: the whole text read anew for each, and the nucleus taken token by token."""
    ids, made, start = torch.tensor([prompt.input_ids]), [], decoder_start(model)
    key = np.array([row_key(decoding.seed, prompt.task_id, sample)], dtype=np.uint64)
    while len(made) < decoding.max_new_tokens and (not made or made[-1] not in decoding.eos_token_ids):
        if start:
            texts = {"input_ids": ids, "decoder_input_ids": torch.tensor([[*start, *made]])}
        else:
            texts = {"input_ids": torch.tensor([[*prompt.input_ids, *made]])}
        with torch.no_grad():
            logits_V = model(**texts, use_cache=False).logits[0, -1].double()
        if sample == GREEDY:
            made.append(int(logits_V.argmax()))
            continue
        shares = (logits_V / decoding.temperature).softmax(dim=0).tolist()
        nucleus = []
        for token in sorted(range(len(shares)), key=lambda token: -shares[token]):
            nucleus.append(token)
            if sum(shares[token] for token in nucleus) >= decoding.top_p:
                break
        left = uniforms(key, len(made))[0] * sum(shares[token] for token in nucleus)
        for token in nucleus:
            left -= shares[token]
            if left < 0:
                break
        made.append(token)
    return made


def completed(way, model, prompts, decoding, text=TOKENIZER, **more):
    rows = [answer for some in way(model, text, prompts, decoding, **more) for answer in some]
    return {(answer.task_id, answer.sample): answer for answer in rows}


@pytest.mark.parametrize("name", MODELS)
def test_greedy_and_drawn_tokens_are_those_of_a_naive_loop(name):
    model, prompts = MODELS[name](), make_prompts(3, seed=2)
    decoding = make_decoding(num_samples=2, max_new_tokens=8, eos_token_ids=(EOS, *range(0, 256, 16)))
    found = completed(WAYS.get(name, Plainly()), model, prompts, decoding)
    for prompt in prompts:
        for sample in decoding.samples:
            due, answer = naive(model, prompt, sample, decoding), found[prompt.task_id, sample]
            ended = due[-1] in decoding.eos_token_ids
            assert answer.num_tokens == answer.num_forwards == len(due)
            assert answer.completion == TOKENIZER.decode(due[:-1] if ended else due)
            assert answer.finish == ("eos" if ended else "length")
    assert len({answer.num_tokens for answer in found.values()}) > 1 or len({a.completion for a in found.values()}) > 3


@pytest.mark.parametrize("way", [Plainly(), Plainly(together=False), Plainly(use_cache=False)], ids=str)
@pytest.mark.parametrize("name", FAST_STATES)
def test_models_that_batches_fit_complete_the_same(name, way):
    model = family(name, **FAST_STATES[name], vocab_size=258, eos_token_id=None)
    prompts, decoding = make_prompts(4), make_decoding(num_samples=2, max_new_tokens=12, stop=("e", "qu"))
    due = generate(model, TOKENIZER, prompts, decoding)
    found = completed(way, model, prompts, decoding)
    assert [found[answer.task_id, answer.sample] for answer in due] == due


@pytest.mark.parametrize("name", ["t5", "bart", "rwkv"])
def test_results_do_not_depend_on_batches_order_or_share_of_the_tasks(name):
    model, prompts, way = MODELS[name](), make_prompts(4), WAYS.get(name, Plainly())
    decoding = make_decoding(max_new_tokens=8)
    whole = completed(way, model, prompts, decoding)
    assert whole.keys() == {(prompt.task_id, sample) for prompt in prompts for sample in (GREEDY, 0, 1, 2)}
    for batch_size in (1, 3):
        assert completed(way, model, prompts, replace(decoding, batch_size=batch_size)) == whole
    halves = completed(way, model, prompts[1::2], decoding) | completed(way, model, prompts[::2], decoding)
    assert halves == whole != completed(way, model, prompts, replace(decoding, seed=5))
    done = {("task/0", sample) for sample in decoding.samples} | {("task/1", GREEDY), ("task/3", 2)}
    rest = completed(way, model, prompts, decoding, done=done)
    assert rest == {key: answer for key, answer in whole.items() if key not in done}


def test_the_rows_of_a_batch_are_no_more_than_its_size(monkeypatch):
    model, seen = MODELS["t5"](), []
    real = Plainly.write
    monkeypatch.setattr(
        Plainly, "write", lambda self, model, ids_RT, *more: (seen.append(len(ids_RT)), real(self, model, ids_RT, *more))
    )
    completed(Plainly(), model, make_prompts(2), make_decoding(num_samples=4, max_new_tokens=2, batch_size=3))
    assert seen == [3, 2, 3, 2]
    seen.clear()
    completed(Plainly(together=False), model, make_prompts(1), make_decoding(num_samples=2, max_new_tokens=2))
    assert seen == [1, 1, 1]


def test_it_is_told_how_far_the_rows_at_work_are_and_no_row_is_made_longer_than_it_is():
    model, told, passes = MODELS["t5"](), [], []
    model.decoder.register_forward_hook(lambda *_: passes.append(1))
    decoding = make_decoding(max_new_tokens=30, eos_token_ids=(EOS, *range(0, 256, 4)), greedy=False, temperature=2.0)
    (answers,) = Plainly()(model, TOKENIZER, make_prompts(1), decoding, on_pass=told.append)
    longest = max(answer.num_tokens for answer in answers)
    assert len(passes) == len(told) == longest < 30 and told[-1] == 0.0
    for number, made in enumerate(told, start=1):
        assert made == pytest.approx(sum(number / 30 for answer in answers if answer.num_tokens > number))


def test_settings_for_generation_decide_nothing_but_what_a_decoder_starts_with():
    model, prompts, decoding = MODELS["bart"](), make_prompts(2), make_decoding(num_samples=1, max_new_tokens=10)
    due = completed(Plainly(), model, prompts, decoding)
    settings = model.generation_config
    settings.num_beams, settings.no_repeat_ngram_size, settings.repetition_penalty, settings.min_length = 4, 1, 9.0, 10
    settings.suppress_tokens, settings.do_sample, settings.eos_token_id = list(range(100)), True, [1]
    assert completed(Plainly(), model, prompts, decoding) == due and model.generation_config is settings
    assert decoder_start(model) == (2,)
    settings.forced_bos_token_id = 77
    assert decoder_start(model) == (2, 77)
    forced = completed(Plainly(), model, prompts, decoding)
    for (task, sample), answer in forced.items():
        prompt = next(prompt for prompt in prompts if prompt.task_id == task)
        assert answer.completion == TOKENIZER.decode(naive(model, prompt, sample, decoding))
    settings.decoder_start_token_id, settings.bos_token_id = None, 9
    assert decoder_start(model) == (9, 77) and decoder_start(llama()) == ()


def test_what_a_decoder_writes_is_a_text_of_its_own_without_special_tokens():
    """Its end token ends it all the same."""
    model, prompts = MODELS["t5"](), make_prompts(3)
    decoding = make_decoding(num_samples=2, max_new_tokens=12)
    found = completed(Plainly(), model, prompts, decoding, APART)
    for prompt in prompts:
        for sample in decoding.samples:
            tokens = naive(model, prompt, sample, decoding)
            text = APART.tokenizer.decode(tokens, skip_special_tokens=True)
            answer = found[prompt.task_id, sample]
            assert (answer.completion, answer.num_tokens) == (text, len(tokens))


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="no tokens"):
        completed(Plainly(), llama(), [replace(make_prompts(1)[0], input_ids=())], make_decoding())
    with pytest.raises(ValueError, match="no tokens"):
        completed(generate_batches, llama(), [replace(make_prompts(1)[0], input_ids=())], make_decoding())


def test_how_many_tokens_are_read_and_written_at_most():
    assert positions(llama()) == (2048, 2048)
    assert positions(seeing("qwen2_vl")) == positions(with_encoder("bart")) == (64, 64)
    assert positions(with_encoder("t5")) == (None, None)
    assert positions(with_encoder("led", max_encoder_position_embeddings=128)) == (128, 64)
