"""Checkpoints as Meta's code lays them out, and that code's forward in plain PyTorch with complex rotary embeddings."""

import json
import math

import torch

SIZES = {"dim": 32, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5, "rope_theta": 500.0, "n_future_tokens": 3}
VOCAB, INNER = 37, 40
_CUT = {"wq": 0, "wk": 0, "wv": 0, "w1": 0, "w3": 0, "output": 0, "wo": 1, "w2": 1}


def frequencies(params):
    size = params["dim"] // params["n_heads"]
    return params["rope_theta"] ** (-torch.arange(0, size, 2).double() / size)


def scaled(freqs, params):
    """Llama 3.1: long waves are stretched, those between get a part of both."""
    factor, high = params.get("rope_scaling_factor", 8), params.get("rope_high_freq_factor", 4)
    found = []
    for freq in freqs:
        length = 2 * math.pi / freq
        if length < 8192 / high:
            found.append(freq)
        elif length > 8192:
            found.append(freq / factor)
        else:
            smooth = (8192 / length - 1) / (high - 1)
            found.append((1 - smooth) * freq / factor + smooth * freq)
    return torch.stack(found)


def tensors(params=SIZES, seed=0):
    """Random, by Meta's names."""
    generator = torch.Generator().manual_seed(seed)
    dim, kv = params["dim"], params["dim"] // params["n_heads"] * params.get("n_kv_heads", params["n_heads"])
    shapes = {"tok_embeddings": (VOCAB, dim), "norm": (dim,), "output": (VOCAB, dim)}
    heads = params["n_future_tokens"]
    places = [f"layers.{n}" for n in range(params["n_layers"] - heads + 1)] + [f"extra_heads.{k}" for k in range(heads - 1)]
    for place in places:
        shapes |= {
            f"{place}.attention.wq": (dim, dim), f"{place}.attention.wk": (kv, dim), f"{place}.attention.wv": (kv, dim),
            f"{place}.attention.wo": (dim, dim), f"{place}.feed_forward.w1": (INNER, dim),
            f"{place}.feed_forward.w2": (dim, INNER), f"{place}.feed_forward.w3": (INNER, dim),
            f"{place}.attention_norm": (dim,), f"{place}.ffn_norm": (dim,),
        }  # fmt: skip
    return {f"{name}.weight": torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def write(folder, found, params=SIZES, *, parts=1, width_cut=True):
    """`consolidated.pth`, or as many numbered parts; `width_cut`: embeddings are cut along their width, as before Llama 3."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(params))
    for part in range(parts):
        mine = {}
        for name, tensor in found.items():
            cut = _CUT.get(name.split(".")[-2])
            cut = int(width_cut) if name.startswith("tok_embeddings") else cut
            mine[name] = tensor if cut is None else tensor.chunk(parts, dim=cut)[part].clone()
        torch.save(mine, folder / ("consolidated.pth" if parts == 1 else f"consolidated.{part:02d}.pth"))
    return folder


def norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def rotated(x_BTHD, turns_TD):
    """Neighbouring numbers are one complex number, which is turned."""
    pairs = torch.view_as_complex(x_BTHD.reshape(*x_BTHD.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns_TD[None, :, None]).flatten(-2)


def block(x_BTD, found, place, params, turns_TD):
    def weight(name):
        return found[f"{place}.{name}.weight"].double()

    heads, kv = params["n_heads"], params.get("n_kv_heads", params["n_heads"])
    batch, length, dim = x_BTD.shape
    size, eps = dim // heads, params["norm_eps"]
    y = norm(x_BTD, weight("attention_norm"), eps)
    q = rotated((y @ weight("attention.wq").T).view(batch, length, heads, size), turns_TD)
    k = rotated((y @ weight("attention.wk").T).view(batch, length, kv, size), turns_TD)
    v = (y @ weight("attention.wv").T).view(batch, length, kv, size)
    k, v = (t.repeat_interleave(heads // kv, dim=2) for t in (k, v))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / size**0.5
    scores = scores + torch.full((length, length), -torch.inf).triu(1)
    mixed = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).reshape(batch, length, dim)
    x_BTD = x_BTD + mixed @ weight("attention.wo").T
    y = norm(x_BTD, weight("ffn_norm"), eps)
    gate = y @ weight("feed_forward.w1").T
    return x_BTD + (gate * gate.sigmoid() * (y @ weight("feed_forward.w3").T)) @ weight("feed_forward.w2").T


def all_logits(ids_BT, found, params=SIZES):
    """Of every head, in float64."""
    freqs = frequencies(params)
    freqs = scaled(freqs, params) if params.get("use_scaled_rope") else freqs
    angles_TD = torch.outer(torch.arange(ids_BT.shape[1]).double(), freqs)
    turns_TD = torch.polar(torch.ones_like(angles_TD), angles_TD)
    trunk = params["n_layers"] - params["n_future_tokens"]
    x_BTD = found["tok_embeddings.weight"].double()[ids_BT]
    for n in range(trunk):
        x_BTD = block(x_BTD, found, f"layers.{n}", params, turns_TD)
    places = [f"layers.{trunk}", *(f"extra_heads.{k}" for k in range(params["n_future_tokens"] - 1))]
    outputs = (block(x_BTD, found, place, params, turns_TD) for place in places)
    last = found["norm.weight"].double()
    return [norm(out, last, params["norm_eps"]) @ found["output.weight"].double().T for out in outputs]
