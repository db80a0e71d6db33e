"""params.json is a Llama's configuration where its numbers are ones, and of nothing that is not."""

import math

import pytest

from tests.unit.models import meta
from wmtp.errors import ModelError
from wmtp.models.meta_files import MetaFiles
from wmtp.models.meta_params import config_of, params_of, unread_keys


def files(tmp_path, changes):
    params = {key: value for key, value in (meta.SIZES | changes).items() if value is not None}
    return MetaFiles.find(meta.write(tmp_path / "meta", meta.tensors(), params))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dim": None}, "must say dim, a positive whole number, and says None"),
        ({"n_heads": "four"}, "must say n_heads, .* says 'four'"),
        ({"n_heads": True}, "must say n_heads, .* says True"),
        ({"n_kv_heads": None}, "says no n_kv_heads, and wk has 16 rows: 2 heads of 8, not 4"),
        ({"n_kv_heads": 0}, "must say n_kv_heads, .* says 0"),
        ({"norm_eps": "1e-5"}, "norm_eps must be a positive number, and is '1e-5'"),
        ({"norm_eps": -1}, "norm_eps must be a positive number, and is -1"),
        ({"rope_theta": math.nan}, "rope_theta must be a positive number, and is nan"),
        ({"max_seq_len": 2.5}, "must say max_seq_len, a positive whole number, and says 2.5"),
        ({"use_scaled_rope": "false"}, "use_scaled_rope must be true or false, and is 'false'"),
        ({"use_scaled_rope": True, "rope_scaling_factor": "8"}, "rope_scaling_factor must be a positive number, and is '8'"),
        ({"vocab_size": 99}, "says vocab_size=99, and output.weight has 37 rows"),
        ({"n_layers": 3}, "says n_layers=3 and n_future_tokens=3, and the files hold 2 layers and 2 extra heads"),
        ({"n_layers": 10**9}, "says n_layers=1000000000 and .* hold 2 layers and 2 extra heads"),
        ({"n_future_tokens": 2}, "says n_layers=4 and n_future_tokens=2, and the files hold 2 layers and 2 extra heads"),
    ],
)
def test_what_is_no_number_or_of_other_files_is_one_line(changes, line, tmp_path):
    with pytest.raises(ModelError, match=rf"^[^\n]*params\.json[^\n]*{line}[^\n]*$"):
        config_of(files(tmp_path, changes))


def test_what_is_left_out_is_the_tensors(tmp_path):
    config = config_of(files(tmp_path, {"n_future_tokens": None, "vocab_size": -1, "max_seq_len": None}))
    llama = config.decoder_config
    assert (config.n_future, llama.vocab_size, llama.max_position_embeddings) == (3, 37, 4096)


def test_keys_that_say_nothing_here_are_named(tmp_path):
    more = {"multiple_of": 256, "ffn_dim_multiplier": 1.3, "rope_scaling_factor": 8, "use_qk_norm": True}
    assert unread_keys(files(tmp_path, more)) == ["rope_scaling_factor", "use_qk_norm"]
    assert unread_keys(files(tmp_path, {**more, "use_scaled_rope": True})) == ["use_qk_norm"]


SCALED = {"use_scaled_rope": True, "rope_theta": 500000.0, "rope_scaling_factor": 32.0}


@pytest.mark.parametrize("changes", [{}, SCALED])
def test_the_way_back_says_the_same(changes, tmp_path):
    params = params_of(config_of(files(tmp_path, changes)), "x")
    assert (meta.SIZES | changes).items() <= params.items() and params["vocab_size"] == 37


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"head_dim": 16},
        {"attention_dropout": 0.1},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0}},
    ],
)
def test_what_metas_files_have_no_place_for_is_named(changes, tmp_path):
    config = config_of(files(tmp_path, {}))
    for key, value in changes.items():
        setattr(config.decoder_config, key, value)
    with pytest.raises(ModelError, match=f"^x: Meta's files have no place for {next(iter(changes))}="):
        params_of(config, "x")
