"""Tiny GGUF files, as llama.cpp's converter lays them out, written with the gguf package."""

import gguf
import numpy as np

HEADS, KV_HEADS, LAYERS, WIDTH, INNER = 4, 2, 2, 64, 96
NUM_TOKENS = 259
NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
_SHAPES = {
    "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH // 2, WIDTH), "attn_v": (WIDTH // 2, WIDTH), "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER), "attn_norm": (WIDTH,),
    "ffn_norm": (WIDTH,),
}  # fmt: skip


def byte_tokens():
    """GPT-2's printable stand-ins of all bytes, in the order of the bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def write_gguf(path, kind="Q8_0", *, way="smollm", without=None, settings=(), tensors=()):
    """A Llama of random weights, its matrices held as `kind`, with a byte-level tokenizer that splits text as `way`.

    `settings`: further ones, by their whole names; `tensors`: further float32 ones.
    """
    writer = _begun(path, "llama", KV_HEADS, way, settings)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    for name, values in dict(tensors).items():
        writer.add_tensor(name, values.astype(np.float32))
    shapes = {f"blk.{n}.{name}.weight": shape for n in range(LAYERS) for name, shape in _SHAPES.items()}
    shapes |= {"token_embd.weight": (NUM_TOKENS, WIDTH), "output_norm.weight": (WIDTH,)}
    generator, quantisation = np.random.default_rng(0), gguf.GGMLQuantizationType[kind]
    for name, shape in shapes.items():
        values = generator.standard_normal(shape).astype(np.float32)
        if name == without:
            continue
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, quantisation), raw_dtype=quantisation)
    return _ended(writer, path)


def write_lfm2(path, settings=()):
    """A short convolution and a layer with attention, of random float32 weights; `settings` as above."""
    writer = _begun(path, "lfm2", [0, KV_HEADS], "lfm2", settings)
    writer.add_shortconv_l_cache(3)
    layer = ("attn_norm", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {f"blk.{n}.{name}.weight": _SHAPES[name] for n in range(2) for name in layer}
    shapes |= {f"blk.1.{name}.weight": shape for name, shape in _SHAPES.items() if name not in layer}
    shapes |= {f"blk.1.attn_{one}_norm.weight": (WIDTH // HEADS,) for one in "qk"}
    shapes |= {
        "blk.0.shortconv.conv.weight": (WIDTH, 3),
        "blk.0.shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
        "blk.0.shortconv.out_proj.weight": (WIDTH, WIDTH),
        "token_embd.weight": (NUM_TOKENS, WIDTH),
        "token_embd_norm.weight": (WIDTH,),
    }
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(name, generator.standard_normal(shape).astype(np.float32))
    return _ended(writer, path)


def _begun(path, architecture, kv_heads, way, settings):
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = [*byte_tokens(), "12", "<|start|>", "<|end|>"]
    assert len(tokens) == NUM_TOKENS
    writer.add_vocab_size(NUM_TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(way)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3, 3])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    for key, value in dict(settings).items():
        {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}[type(value)](key, value)
    return writer


def _ended(writer, path):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
