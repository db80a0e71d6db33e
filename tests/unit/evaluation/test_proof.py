"""Families complete texts in the fastest way that is their own, and one that has none is refused before it does."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMultimodalLM

from tests.unit.evaluation.models import byte_tokenizer
from tests.unit.evaluation.test_plain import MODELS
from tests.unit.models.families import SEEING, family, seeing, with_encoder
from wmtp.errors import ModelError
from wmtp.evaluation import proof
from wmtp.evaluation.generate import generate_batches
from wmtp.evaluation.plain import Plainly
from wmtp.evaluation.proof import PLAIN_WAYS, prove_batches, prove_plain, proven_way

TEXT = byte_tokenizer()
STATES = {
    "mamba": {"num_hidden_layers": 2, "state_size": 4},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": [1], "mamba_d_state": 8},
}


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "lfm2", "mixtral", "phi", *STATES])
def test_families_that_keep_their_state_in_the_cache_are_completed_in_batches(name):
    model = family(name, **STATES.get(name, {}), vocab_size=258)
    assert proven_way(model, TEXT, "x") is generate_batches
    assert proven_way(model.bfloat16(), TEXT, "x") is generate_batches


@pytest.mark.parametrize("name", SEEING)
def test_models_of_images_are_completed_in_batches_of_texts(name):
    assert proven_way(seeing(name, vocab_size=258), TEXT, "x") is generate_batches


@pytest.mark.parametrize("name", [name for name in MODELS if name != "qwen2_vl"])
def test_others_are_completed_a_prompt_at_a_time_and_a_line_says_so(name, capsys):
    way = "a prompt and a sample at a time" if name == "rwkv" else "a prompt at a time"
    model = MODELS[name]()
    assert str(proven_way(model, TEXT, "model X")) == way
    assert capsys.readouterr().out == f"model X: a {model.config.model_type} model completes {way}\n"


def test_a_state_outside_of_the_cache_is_found():
    """RecurrentGemma keeps its own in its modules, where rows cannot be repeated or let go of."""
    with pytest.raises(
        ModelError, match=r"^x: a recurrent_gemma model (does not complete texts here as|cannot complete texts)"
    ):
        prove_batches(MODELS["recurrent_gemma"](), TEXT, "x")


def test_what_is_left_of_the_prompt_before_is_found():
    """A model whose first token depends on the last one that it made: without a cache it never looks back."""
    model, last = MODELS["t5"](), []
    forward = model.forward

    def remembers(**inputs):
        output = forward(**inputs)
        if inputs.get("use_cache"):
            output.logits = output.logits + (3.0 * last[-1] if last and inputs["decoder_input_ids"].shape[1] == 1 else 0.0)
            last.append(output.logits[:, -1:].detach())
        return output

    model.forward = remembers
    for way in PLAIN_WAYS:
        last.clear()
        if way.use_cache:
            with pytest.raises(ModelError, match=r"a t5 model does not complete texts here as it does on its own: its logits"):
                prove_plain(model, TEXT, "x", way)
        else:
            prove_plain(model, TEXT, "x", way)
    assert proven_way(model, TEXT, "x") == Plainly(use_cache=False)


def test_rows_that_are_mixed_up_are_found(monkeypatch):
    monkeypatch.setattr(proof, "select_rows", lambda cache, rows: cache.batch_select_indices(torch.sort(rows).values))
    model = family("llama", vocab_size=258)
    with pytest.raises(ModelError, match="a llama model does not complete texts here as it does on its own: its logits differ"):
        prove_batches(model, TEXT, "x")
    assert proven_way(model, TEXT, "x") == Plainly()


def blip():
    config = AutoConfig.for_model(
        "blip",
        text_config={"vocab_size": 258, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                     "num_attention_heads": 2, "encoder_hidden_size": 16},
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 8, "patch_size": 4},
    )  # fmt: skip
    return AutoModelForMultimodalLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: with_encoder("prophetnet", vocab_size=258),
            "a prophetnet model does not complete texts here as it does on its",
        ),
        (lambda: with_encoder("bigbird_pegasus", attention_type="block_sparse"), "must say attention_type original_full$"),
        (blip, "a blip model cannot complete texts here: it reads pixel_values, and no text alone$"),
    ],
)
def test_what_completes_no_texts_is_one_line(make, said):
    with pytest.raises(ModelError, match=rf"^x: [^\n]*{said}"):
        proven_way(make(), TEXT, "x")


def test_what_a_family_does_not_take_is_one_line():
    model = family("llama", vocab_size=258)
    model.forward = lambda input_ids: model.model(input_ids)
    with pytest.raises(ModelError, match=r"^x: a llama model cannot complete texts here: [^\n]+$"):
        proven_way(model, TEXT, "x")
