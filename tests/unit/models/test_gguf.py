"""A GGUF file becomes the model that its blocks stand for, by ggml's description of them and llama.cpp's order of rows."""

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.unit.models import meta
from tests.unit.models.gguf_files import HEADS, KV_HEADS, NAMES, write_gguf, write_lfm2
from wmtp.errors import ModelError
from wmtp.models.gguf import write_folder

CODE = "def f(x):\n\tif x > 1234:\n        return '\u00e9t\u00e9 \U0001f600'  # \u00b2\u00bd\n\n"


def rows_of_transformers(weight, heads):
    """llama.cpp turns rows 2i and 2i+1 of a head together, transformers i and i + half."""
    size = weight.shape[0] // heads
    order = [h * size + 2 * i + half for h in range(heads) for half in range(2) for i in range(size // 2)]
    return weight[torch.tensor(order)]


def halves(blocks):
    return blocks.view("<f2").astype(np.float32)


def q8_0(blocks):
    """A float16 factor, and 32 signed bytes."""
    return halves(blocks[:, :2].copy()) * blocks[:, 2:].view(np.int8)


def nibbles(packed):
    """16 bytes hold 32 numbers: the first 16 in their low halves."""
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)


def q4_0(blocks):
    return halves(blocks[:, :2].copy()) * (nibbles(blocks[:, 2:]) - 8)


def q4_1(blocks):
    """A factor, an offset."""
    return halves(blocks[:, :2].copy()) * nibbles(blocks[:, 4:]) + halves(blocks[:, 2:4].copy())


KINDS = {"Q8_0": (q8_0, 34), "Q4_0": (q4_0, 18), "Q4_1": (q4_1, 20), "F16": (halves, 2), "F32": (lambda x: x.view("<f4"), 4)}
"""What a block's bytes stand for, and how many there are."""


def plain_values(tensor):
    """A tensor of a GGUF file, read by hand."""
    read, size = KINDS[tensor.tensor_type.name]
    shape = [int(n) for n in tensor.shape][::-1]  # ggml counts dimensions from the innermost
    blocks = np.frombuffer(tensor.data.tobytes(), dtype=np.uint8).reshape(-1, size).copy()
    return torch.from_numpy(read(blocks).reshape(shape).copy())


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "Q4_0", "F16"])
def test_tensors_are_what_their_blocks_say(tmp_path, kind):
    file = write_gguf(tmp_path / "model.gguf", kind)
    found = write_folder(file, tmp_path / "hf")
    assert found["dtype"] == "float32" and found["dequantised_from"][kind] == 15 and found["name"] == "tiny"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    tensors = dict(model.named_parameters())
    for tensor in gguf.GGUFReader(str(file)).tensors:
        due = plain_values(tensor)
        group, number, *rest = tensor.name.split(".")
        if group == "blk":
            if rest[0] in ("attn_q", "attn_k"):
                due = rows_of_transformers(due, HEADS if rest[0] == "attn_q" else KV_HEADS)
            name = f"model.layers.{number}.{NAMES[rest[0]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight", "output": "lm_head.weight"}[
                group
            ]
        assert torch.equal(tensors.pop(name), due), tensor.name
    assert not tensors


def test_the_folder_is_a_model_with_its_tokenizer(tmp_path):
    write_folder(write_gguf(tmp_path / "model.gguf"), tmp_path / "hf")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer.decode(tokenizer(CODE)["input_ids"]) == CODE
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("<|end|>", "<|start|>")


def test_digits_are_split_off_as_the_file_says(tmp_path):
    """The vocabulary has a merge of two digits, which text that is split at digits never comes to."""
    for way, pieces in (("smollm", ["1", "2", "a"]), ("gpt-2", ["12", "a"])):
        write_folder(write_gguf(tmp_path / f"{way}.gguf", way=way), tmp_path / way)
        assert AutoTokenizer.from_pretrained(tmp_path / way).tokenize("12a") == pieces


def test_what_cannot_be_read_is_one_line(tmp_path):
    file = write_gguf(tmp_path / "model.gguf", way="of-tomorrow")
    with pytest.raises(ModelError, match=r"^\S+ its tokenizer splits text as 'of-tomorrow', which is not known"):
        write_folder(file, tmp_path / "hf")
    whole = write_gguf(tmp_path / "model.gguf").read_bytes()
    for cut in (whole[: len(whole) // 2], whole[:100], b"", b"{}"):
        file.write_bytes(cut)
        with pytest.raises(ModelError, match=r"^[^\n]+$"):
            write_folder(file, tmp_path / "hf")
    with pytest.raises(ModelError, match=r"tensor .*mlp.up_proj.weight is missing"):
        write_folder(write_gguf(file, without="blk.1.ffn_up.weight"), tmp_path / "hf")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"llama.rope.scaling.type": "yarn"}, r"says llama\.rope\.scaling\.type='yarn', which transformers does not read"),
        ({"llama.rope.scaling.factor": 4.0}, r"says llama\.rope\.scaling\.factor=4\.0, which"),
        ({"llama.attention.key_length": 32}, r"says llama\.attention\.key_length=32, which"),
        ({"llama.logit_scale": 0.5}, r"says llama\.logit_scale=0\.5, which"),
        ({"llama.of_tomorrow": "x"}, r"says llama\.of_tomorrow='x', which"),
        ({"split.count": 3}, r"is one of 3 files of a model: join them"),
    ],
)
def test_a_setting_that_the_model_would_not_have_is_named(settings, line, tmp_path):
    file = write_gguf(tmp_path / "model.gguf", settings=settings)
    with pytest.raises(ModelError, match=rf"^[^\n]*model\.gguf {line}[^\n]*$"):
        write_folder(file, tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_settings_that_the_model_has_anyway_are_taken(tmp_path):
    settings = {"llama.attention.key_length": 16, "llama.rope.scaling.type": "none", "llama.expert_count": 0}
    write_folder(write_gguf(tmp_path / "model.gguf", settings=settings), tmp_path / "hf")


def test_an_architecture_that_a_function_reads_is_checked_as_the_others_are(tmp_path):
    """LFM2 and Qwen3.5: transformers' functions ask for what they know and pass over the rest."""
    settings = {"lfm2.attention.key_length": 16, "lfm2.rope.scaling.type": "none", "lfm2.expert_count": 0}
    write_folder(write_lfm2(tmp_path / "model.gguf", settings=settings), tmp_path / "hf")
    config = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").config
    assert (config.layer_types, config.conv_L_cache) == (["conv", "full_attention"], 3)
    for key, value in (("rope.scaling.factor", 4.0), ("attention.sliding_window", 64), ("attention.key_length", 32)):
        file = write_lfm2(tmp_path / "odd.gguf", settings={f"lfm2.{key}": value})
        with pytest.raises(ModelError, match=rf"^[^\n]*odd\.gguf says lfm2\.{key}={value}, which transformers does not read"):
            write_folder(file, tmp_path / "no")


def test_llama_3s_rotary_factors_become_settings(tmp_path):
    """By Meta's own formula; transformers passes the tensor over."""
    params = {"dim": 64, "n_heads": HEADS, "rope_theta": 10000.0, "rope_scaling_factor": 32}
    due = meta.scaled(meta.frequencies(params), params)
    factors = (meta.frequencies(params) / due).numpy()
    write_folder(write_gguf(tmp_path / "model.gguf", tensors={"rope_freqs.weight": factors}), tmp_path / "hf")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert model.config.rope_parameters["rope_type"] == "llama3" and model.config.rope_parameters["factor"] == 32
    torch.testing.assert_close(model.model.rotary_emb.inv_freq.double(), due, rtol=1e-6, atol=0)
    file = write_gguf(tmp_path / "odd.gguf", tensors={"rope_freqs.weight": factors[::-1]})
    with pytest.raises(ModelError, match=r"odd\.gguf: rope_freqs\.weight are not Llama 3's factors of rotary frequencies"):
        write_folder(file, tmp_path / "no")


def test_numbers_that_the_model_has_no_place_for_are_told(tmp_path):
    file = write_gguf(tmp_path / "model.gguf", tensors={"blk.0.attn_q.bias": np.full(64, 0.5)})
    with pytest.raises(ModelError, match=r"holds [\d,]+ numbers and the model [\d,]+: fetch the model's own folder"):
        write_folder(file, tmp_path / "hf")
    with pytest.raises(ModelError, match=r"holds [\d,]+ numbers \(rope_factors_long\.weight, say\) and the model"):
        write_folder(write_gguf(file, tensors={"rope_factors_long.weight": np.ones(8)}), tmp_path / "hf")


def test_a_file_is_read_to_its_end(tmp_path):
    file = write_gguf(tmp_path / "model.gguf")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ModelError, match=r"model\.gguf is cut off: it has [\d,]+ bytes, and its tensors end at"):
        write_folder(file, tmp_path / "hf")
