"""Meta's checkpoints compute here what they compute there, whatever they are cut into, and come back as they were."""

import json
import zipfile

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unit.models import meta
from tests.unit.models.tiny import llama, tiny
from wmtp import model_files
from wmtp.errors import ConfigError, ModelError
from wmtp.models.convert import from_meta, split_rotary_halves, to_meta
from wmtp.models.load import prove_heads

IDS = torch.randint(0, meta.VOCAB, (2, 40), generator=torch.Generator().manual_seed(1))
SCALED = {"use_scaled_rope": True, "rope_theta": 500000.0}
CHANGES = {
    "plain": {},
    "as many heads of keys": {"n_kv_heads": None},
    "scaled rotary": SCALED,
    "scaled by 32": {**SCALED, "rope_scaling_factor": 32.0, "rope_high_freq_factor": 2.0},
    "one head": {"n_future_tokens": 1},
}


def params_of(changes):
    return {key: value for key, value in (meta.SIZES | changes).items() if value is not None}


@pytest.mark.parametrize("kind", CHANGES)
def test_every_head_computes_what_metas_code_does(kind, tmp_path):
    params = params_of(CHANGES[kind])
    found = meta.tensors(params)
    from_meta(meta.write(tmp_path / "meta", found, params), tmp_path / "hf")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    prove_heads(model, "x")
    due = meta.all_logits(IDS, found, params)
    with torch.no_grad():
        logits = model.head_logits(IDS)
    assert len(logits) == len(due) == params["n_future_tokens"]
    for ours, theirs in zip(logits, due, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width_cut", [True, False])
def test_parts_for_model_parallelism_are_joined(width_cut, tmp_path):
    found = meta.tensors()
    from_meta(meta.write(tmp_path / "meta", found), tmp_path / "whole")
    from_meta(meta.write(tmp_path / "parts", found, parts=2, width_cut=width_cut), tmp_path / "joined")
    whole, joined = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "joined"))
    assert whole.keys() == joined.keys() and all(torch.equal(whole[name], joined[name]) for name in whole)


@pytest.mark.parametrize("changes", [{}, SCALED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_there_and_back_is_the_same_files_content(changes, dtype, tmp_path):
    params = params_of(changes)
    found = {name: tensor.to(dtype) for name, tensor in meta.tensors(params).items()}
    from_meta(meta.write(tmp_path / "meta", found, params), tmp_path / "hf")
    done = to_meta(tmp_path / "hf", tmp_path / "back")
    again = torch.load(tmp_path / "back" / "consolidated.pth", weights_only=True)
    assert again.keys() == found.keys() and all(torch.equal(again[name], found[name]) for name in found)
    with zipfile.ZipFile(tmp_path / "back" / "consolidated.pth") as archive:
        assert archive.testzip() is None, "every checksum is that of what is there"
    assert params.items() <= json.loads((tmp_path / "back" / "params.json").read_text()).items()
    assert done.num_parameters == sum(tensor.numel() for tensor in found.values()) and done.num_heads == 3


def test_what_is_written_is_shards_of_whole_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr("wmtp.models.convert.write_shards", small_shards)
    from_meta(meta.write(tmp_path / "meta", meta.tensors()), tmp_path / "hf")
    assert len(model_files.weight_files(tmp_path / "hf")) > 3
    prove_heads(AutoModelForCausalLM.from_pretrained(tmp_path / "hf"), "x")
    to_meta(tmp_path / "hf", tmp_path / "back")


def small_shards(*arguments, **options):
    from wmtp.models.shards import write_shards

    write_shards(*arguments, **{**options, "shard_bytes": 20_000})


@pytest.mark.parametrize("name", ["rope.freqs", "layers.0.attention.inner_attention.rope.freqs"])
def test_rotary_frequencies_are_those_of_the_settings_wherever_they_are(name, tmp_path):
    right = {name: meta.frequencies(meta.SIZES).bfloat16()}
    from_meta(meta.write(tmp_path / "meta", meta.tensors() | right), tmp_path / "hf")
    wrong = {name: meta.frequencies(meta.SIZES | {"rope_theta": 10000.0})}
    with pytest.raises(ModelError, match=f"{name} are not the frequencies of rope_theta=500, which params.json says"):
        from_meta(meta.write(tmp_path / "wrong", meta.tensors() | wrong), tmp_path / "no")


FAULTS = {
    r"dim=30, which 4 heads do not divide": ({"dim": 30}, {}),
    r"tensor model.embed_tokens.weight is \(37, 32\) and must be \(37, 64\)": ({"dim": 64, "n_kv_heads": 1}, {}),
    r"describes: tensor extra_heads.0.odd.weight is of no part of the model": ({}, {"extra_heads.0.odd.weight": torch.ones(2)}),
    r"tensor layers.00.attention.wq.weight is of no part of": ({}, {"layers.00.attention.wq.weight": torch.ones(32, 32)}),
    r"several dtypes: torch.bfloat16, torch.float32": ({}, {"norm.weight": torch.ones(32).bfloat16()}),
    r"tensor norm.weight holds NaN or Inf": ({}, {"norm.weight": torch.full((32,), torch.nan)}),
}  # fmt: skip


@pytest.mark.parametrize("line", FAULTS)
def test_files_that_are_not_what_they_describe_are_one_line(line, tmp_path):
    changes, more = FAULTS[line]
    meta.write(tmp_path / "meta", meta.tensors() | more, params_of(changes))
    with pytest.raises(ModelError, match=rf"^[^\n]*{line}[^\n]*$"):
        from_meta(tmp_path / "meta", tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["meta"]


def test_what_is_there_is_left_alone(tmp_path):
    meta.write(tmp_path / "meta", meta.tensors())
    with pytest.raises(ConfigError, match="meta is not empty: name a new folder"):
        from_meta(tmp_path / "meta", tmp_path / "meta")


def test_the_way_back_refuses_what_meta_has_no_place_for(tmp_path):
    tiny().save_pretrained(tmp_path / "granite")
    llama().save_pretrained(tmp_path / "plain")
    for name, line in (("granite", "heads on a granite model"), ("plain", "is a llama model, and Meta's files are of multi")):
        with pytest.raises(ModelError, match=line):
            to_meta(tmp_path / name, tmp_path / "back")


def test_rotary_rows_come_from_where_metas_pairs_are():
    """Meta turns rows 2i and 2i+1 of a head together, transformers rows i and i + half."""
    head_dim, rows = 6, 12
    ours = split_rotary_halves(torch.arange(float(rows)).view(rows, 1), head_dim).flatten().tolist()
    for head in range(rows // head_dim):
        for i in range(head_dim // 2):
            first = head * head_dim
            assert (ours[first + i], ours[first + head_dim // 2 + i]) == (first + 2 * i, first + 2 * i + 1)
