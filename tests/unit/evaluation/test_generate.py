import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.evaluation.models import EOS, PAD, byte_tokenizer, llama, mtp
from wmtp.evaluation.generate import Decoding, Prompt, generate, generate_batches, made_answer
from wmtp.evaluation.results import GREEDY

TOKENIZER = byte_tokenizer()


def make_decoding(**changes):
    settings = {
        "num_samples": 3,
        "temperature": 0.9,
        "top_p": 0.95,
        "seed": 1,
        "max_new_tokens": 20,
        "batch_size": 64,
        "eos_token_ids": (EOS,),
    }
    return Decoding(**{**settings, **changes})


def make_prompts(number, seed=0):
    generator = np.random.default_rng(seed)
    return [Prompt(f"task/{i}", tuple(generator.integers(0, 256, generator.integers(1, 12)).tolist())) for i in range(number)]


@pytest.mark.parametrize("model", [llama(0), llama(1), mtp(2), mtp(3, n_future=1)], ids=["llama", "llama1", "mtp", "mtp1"])
def test_greedy_equals_transformers_generate(model):
    prompts = make_prompts(7)
    ours = generate(model, TOKENIZER, prompts, make_decoding(num_samples=0, max_new_tokens=30))
    for prompt, completion in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt.input_ids])
        theirs = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False, eos_token_id=EOS, pad_token_id=PAD
        )
        tokens = theirs[0, ids.shape[1] :].tolist()
        assert completion.num_tokens == len(tokens)
        kept = tokens[:-1] if tokens[-1] == EOS else tokens
        assert completion.completion == TOKENIZER.tokenizer.decode(kept, skip_special_tokens=False)
        assert completion.finish == ("eos" if tokens[-1] == EOS else "length")


def test_temperature_0_is_greedy_for_every_sample():
    model, prompts = llama(2), make_prompts(3)
    drawn = generate(model, TOKENIZER, prompts, make_decoding(num_samples=2, temperature=0.0, greedy=False))
    (greedy,) = ([c.completion for c in generate(model, TOKENIZER, prompts, make_decoding(num_samples=0))],)
    assert [c.sample for c in drawn] == [0, 1] * 3
    assert [c.completion for c in drawn] == [text for text in greedy for _ in range(2)]


def test_what_tokens_say_ends_at_the_first_end_token_and_the_first_stop_string():
    decoding = make_decoding(eos_token_ids=(EOS, *TOKENIZER.encode_prompt("!")), stop=("\nQ:", "<|eos|>"), max_new_tokens=9)
    for text, completion, finish in (
        ("ab!cd", "ab", "eos"),
        ("ab\nQ: c", "ab", "stop"),
        ("ab\nQ:!", "ab", "stop"),
        ("abcdefghi", "abcdefghi", "length"),
        ("!", "", "eos"),
    ):
        made = made_answer(TOKENIZER, Prompt("t", (1,)), 3, TOKENIZER.encode_prompt(text), decoding)
        assert (made.completion, made.finish, made.num_tokens, made.sample) == (completion, finish, len(text), 3)


def test_results_do_not_depend_on_batches_order_or_share_of_the_tasks():
    model, prompts = mtp(4), make_prompts(9)
    whole = generate(model, TOKENIZER, prompts, make_decoding())
    assert [(c.task_id, c.sample) for c in whole] == [(p.task_id, s) for p in prompts for s in (GREEDY, 0, 1, 2)]
    for batch_size in (1, 3, 7):
        assert generate(model, TOKENIZER, prompts, make_decoding(batch_size=batch_size)) == whole
    halves = generate(model, TOKENIZER, prompts[::2], make_decoding()) + generate(
        model, TOKENIZER, prompts[1::2], make_decoding()
    )
    assert sorted(halves, key=repr) == sorted(whole, key=repr)
    assert generate(model, TOKENIZER, prompts, make_decoding(seed=2)) != whole


def test_rows_that_end_leave_the_others_alone():
    """Every row ends at its own time; each must read as if it had been alone."""
    model, prompts = llama(5), make_prompts(6, seed=3)
    first_bytes = tuple(range(0, 256, 12))
    decoding = make_decoding(eos_token_ids=(EOS, *first_bytes), num_samples=4, max_new_tokens=25)
    together = generate(model, TOKENIZER, prompts, decoding)
    alone = [c for prompt in prompts for c in generate(model, TOKENIZER, [prompt], decoding)]
    assert together == alone
    assert {c.finish for c in together} == {"eos", "length"} or len({c.num_tokens for c in together}) > 5


def test_stop_strings_end_a_completion_before_them():
    model, prompts = llama(6), make_prompts(5, seed=4)
    free = generate(model, TOKENIZER, prompts, make_decoding(max_new_tokens=40))
    target = next(c for c in free if c.finish == "length")
    stop = target.completion[10:12]
    stopped = generate(model, TOKENIZER, prompts, make_decoding(max_new_tokens=40, stop=(stop, "never there")))
    for before, after in zip(free, stopped, strict=True):
        assert stop not in after.completion
        assert after.completion == before.completion.split(stop)[0]
        assert after.finish == ("stop" if stop in before.completion else before.finish)
        assert after.num_tokens <= before.num_tokens


@pytest.mark.parametrize("num_drafts", [0, 2])
def test_a_completion_is_handed_over_when_it_ends_and_the_others_tell_how_far_they_are(num_drafts):
    model, prompts = mtp(5), make_prompts(6, seed=3)
    decoding = make_decoding(eos_token_ids=(EOS, *range(0, 256, 12)), max_new_tokens=25, num_drafts=num_drafts)
    told, handed = [], []
    for some in generate_batches(model, TOKENIZER, prompts, decoding, on_pass=told.append):
        handed.append(some)
        assert len({answer.num_forwards for answer in some}) == 1 and some[0].num_forwards == len(told)
    assert len(handed) > 5 and told[-1] == 0.0 and all(0 < made < 24 for made in told[:-1])
    rows = [answer for some in handed for answer in some]
    assert sorted(rows, key=repr) == sorted(generate(model, TOKENIZER, prompts, decoding), key=repr)
    lengths = {(row.task_id, row.sample): row.num_tokens for row in rows}
    if not num_drafts:
        for number, made in enumerate(told, start=1):  # a token a pass
            assert made == pytest.approx(sum(number / 25 for length in lengths.values() if length > number))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_what_is_done_is_not_made_again(batch_size):
    model, prompts = mtp(4), make_prompts(5)
    decoding = make_decoding(batch_size=batch_size)
    whole = {(row.task_id, row.sample): row for row in generate(model, TOKENIZER, prompts, decoding)}
    done = {("task/0", sample) for sample in decoding.samples} | {("task/1", GREEDY), ("task/3", 2)}
    rows = [row for some in generate_batches(model, TOKENIZER, prompts, decoding, done=done) for row in some]
    assert sorted(whole.keys() - done, key=repr) == sorted([(row.task_id, row.sample) for row in rows], key=repr)
    assert all(replace(whole[row.task_id, row.sample], num_forwards=0) == replace(row, num_forwards=0) for row in rows)


def test_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="no tokens"):
        generate(llama(), TOKENIZER, [Prompt("t", ())], make_decoding())


def agreeing(model, scale):
    """Blocks of the further heads that change little: proposals are then often, but not always, right."""
    for head in model.heads[1:]:
        for linear in (head.self_attn.o_proj, head.mlp.down_proj):
            linear.weight.data *= scale
    return model.double()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    n_future=st.integers(2, 4),
    num_drafts=st.integers(1, 5),
    scale=st.sampled_from([0.0, 0.3, 1.0]),
    number=st.integers(1, 6),
    max_new_tokens=st.integers(1, 30),
    batch_size=st.sampled_from([1, 5, 64]),
    num_samples=st.integers(0, 2),
    stops=st.booleans(),
)
def test_self_speculative_decoding_changes_nothing(
    seed, n_future, num_drafts, scale, number, max_new_tokens, batch_size, num_samples, stops
):
    """Greedy and sampled completions, token for token, whatever the heads propose."""
    model, prompts = agreeing(mtp(seed, n_future), scale), make_prompts(number, seed)
    decoding = make_decoding(
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        num_samples=num_samples,
        temperature=0.5,
        eos_token_ids=(EOS, *range(0, 256, 25)),
        stop=("e", "qu") if stops else (),
    )
    plain = generate(model, TOKENIZER, prompts, decoding)
    speculative = generate(model, TOKENIZER, prompts, replace(decoding, num_drafts=num_drafts))
    assert [replace(c, num_forwards=0) for c in speculative] == [replace(c, num_forwards=0) for c in plain]
    assert all(c.num_forwards == c.num_tokens for c in plain)
    assert all(c.num_tokens / (1 + min(num_drafts, n_future - 1)) <= c.num_forwards <= c.num_tokens for c in speculative)


def test_right_proposals_save_forward_passes():
    """Without blocks and with tied embeddings a model repeats its last token, and every head knows it."""
    model, prompts = agreeing(mtp(1, n_future=4), 0.0), make_prompts(20)
    for block in (*model.layers, model.heads[0]):
        block.self_attn.o_proj.weight.data.zero_()
        block.mlp.down_proj.weight.data.zero_()
    model.unembedding.lm_head.weight = model.get_input_embeddings().weight
    for num_drafts in (1, 3):
        decoding = make_decoding(num_samples=0, max_new_tokens=60, num_drafts=num_drafts)
        done = generate(model, TOKENIZER, prompts, decoding)
        assert {c.num_tokens for c in done} == {60}
        assert {c.num_forwards for c in done} == {1 + math.ceil(59 / (1 + num_drafts))}
    plain = generate(llama(), TOKENIZER, prompts, make_decoding(num_drafts=3))
    assert all(c.num_forwards == c.num_tokens for c in plain)
