"""Score columns hold each token's own number, and validation the mean over targets, whatever the batches."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.tables import VOCAB
from wmtp.config.training import ModelConfig
from wmtp.errors import DataError, NumericsError
from wmtp.models.build import build_model
from wmtp.models.value import ValueModel
from wmtp.tokens.data import TokenData
from wmtp.tokens.tables import read_table
from wmtp.training.scoring import critic_values, reference_nll, score_rows, validation_nll, write_scores


def make_model(n_future):
    config = ModelConfig(
        hidden_size=16, intermediate_size=24, n_layers=2 + n_future, n_heads=2, n_kv_heads=2, n_future=n_future
    )
    model = build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def data(tables):
    return TokenData.open(tables / "data", "train", columns={"reference_nll": tables / "reference"})


def row_of(data, row):
    return torch.tensor(data.tokens[data.offsets[row] : data.offsets[row + 1]].astype(np.int64))[None]


def score(world, data, function, folder, batch_tokens=70):
    scratch = folder / "scratch.npy"
    return torch.from_numpy(score_rows(world, data, function, scratch, batch_tokens=batch_tokens, say=print).copy())


def test_a_reference_nll_is_the_tokens_own_and_the_first_is_0(world, data, tmp_path):
    model = make_model(1)
    flat = score(world, data, reference_nll(model), tmp_path)
    assert flat.dtype == torch.float32 and len(flat) == len(data.tokens)
    for row in range(len(data)):
        ids = row_of(data, row)
        with torch.no_grad():
            logprobs = model(ids).logits[0].log_softmax(-1)
        expected = [0.0] + [-logprobs[t - 1, ids[0, t]].item() for t in range(1, ids.shape[1])]
        found = flat[data.offsets[row] : data.offsets[row + 1]]
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_a_value_is_the_probability_after_the_token(world, data, tmp_path):
    model = ValueModel(make_model(1), seed=0).eval()
    with torch.no_grad():
        model.head[-1].weight.fill_(0.3)
    flat = score(world, data, critic_values(model), tmp_path)
    for row in (0, 7, 47):
        span = slice(data.offsets[row], data.offsets[row + 1])
        with torch.no_grad():
            logits = model(row_of(data, row), torch.tensor(data.columns["reference_nll"][span])[None])[0]
        torch.testing.assert_close(flat[span], 1 / (1 + torch.exp(-logits)), rtol=1e-4, atol=1e-5)
    assert flat.std() > 0.01


@pytest.mark.parametrize("batch_tokens", [1, 33, 100_000])
def test_scores_do_not_depend_on_the_batches(world, data, tmp_path, batch_tokens):
    model = make_model(1)
    expected = score(world, data, reference_nll(model), tmp_path)
    torch.testing.assert_close(score(world, data, reference_nll(model), tmp_path, batch_tokens), expected, rtol=1e-4, atol=1e-5)


def test_a_broken_model_scores_nothing(world, data, tmp_path):
    model = make_model(1)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NumericsError, match=r"of .*train\.arrow are NaN or infinite"):
        score(world, data, reference_nll(model), tmp_path)


def test_a_column_is_read_back_by_the_data_that_it_was_made_for_and_by_no_other(world, data, tmp_path):
    flat = score(world, data, reference_nll(make_model(1)), tmp_path)
    write_scores(tmp_path / "train.arrow", data, "nll_start", flat.numpy())
    again = TokenData.open(data.path.parent, "train", columns={"nll_start": tmp_path})
    np.testing.assert_array_equal(again.columns["nll_start"], flat.numpy())
    other = read_table(tmp_path / "train.arrow").replace_schema_metadata({b"wmtp_fingerprint": b"other"})
    with pa.OSFile(str(tmp_path / "train.arrow"), "wb") as sink, pa.ipc.new_stream(sink, other.schema) as writer:
        writer.write_table(other)
    with pytest.raises(DataError, match="was made from another version"):
        TokenData.open(data.path.parent, "train", columns={"nll_start": tmp_path})


@pytest.mark.parametrize("batch_tokens", [1, 60, 100_000])
def test_validation_is_the_mean_over_each_heads_targets_in_the_response(world, data, batch_tokens):
    model = make_model(4)
    sums, counts = [0.0] * 4, [0] * 4
    for row in range(len(data)):
        ids = row_of(data, row)
        with torch.no_grad():
            logits = model.head_logits(ids)
        for h in range(4):
            for token in range(max(int(data.prompt_lens[row]), 1 + h), ids.shape[1]):
                sums[h] -= logits[h][0, token - 1 - h].log_softmax(-1)[ids[0, token]].item()
                counts[h] += 1
    with torch.no_grad():
        found = validation_nll(world, model, data, 4, batch_tokens=batch_tokens)
    assert found == pytest.approx({f"val/nll_head{h}": sums[h] / counts[h] for h in range(4)}, rel=1e-5)
    assert counts[0] > counts[3] > 0, "a far head has no target where the prompt is short"
