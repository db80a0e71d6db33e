"""What a critic starts from, and how it is judged."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.distributed.harness import full_state
from tests.tables import VOCAB, make_tables
from tests.unit.models.tiny import filled
from wmtp.config.schema import CriticConfig
from wmtp.config.training import ModelConfig
from wmtp.models.build import build_model
from wmtp.stages.train_critic import build_critic, evaluate_critic
from wmtp.tokens.data import TokenData

SHAPE = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)


@pytest.fixture
def data(tmp_path):
    folder, reference, _ = make_tables(tmp_path)
    return TokenData.open(folder, "train", columns={"reference_nll": reference})


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("init", ["reference", "scratch"])
def test_a_critic_starts_from_the_tuned_reference_or_from_its_seed(world, data, tmp_path, init, head):
    reference = build_model(SHAPE, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=9)
    reference.save_pretrained(tmp_path / "reference")
    model = SHAPE if init == "scratch" else CriticConfig().model
    section = CriticConfig(init=init, head=head, model=model, dropout=0.25, reference_nll_input=False)
    section = replace(section, train=replace(section.train, seed=4))
    folders = (tmp_path / "reference", tmp_path / "data/tokenizer")
    critic = build_critic(section, data.meta, *folders)
    found, again = (full_state(filled(one, world)) for one in (critic, build_critic(section, data.meta, *folders)))
    assert found.keys() == again.keys() and all(torch.equal(found[name], again[name]) for name in found)
    own = build_model(SHAPE, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=4)
    source = reference if init == "reference" else own
    assert all(torch.equal(found[f"backbone.{name}"], tensor) for name, tensor in source.state_dict().items())
    assert critic.settings == {"head": head, "dropout": 0.25, "reference_nll_input": False}


class Said(torch.nn.Module):
    """A critic that says the same of the last token of a row as of the row's first token: its number over the vocabulary's."""

    def forward(self, input_ids, reference_nll_BT):
        return torch.logit((input_ids[:, :1].float() + 1) / (VOCAB + 2)).expand(input_ids.shape)


def test_the_value_after_the_last_token_and_the_largest_surprise_of_the_response_are_judged(world, data, tmp_path):
    found = evaluate_critic(world, Said(), data, tmp_path / "values.npy")
    value = (data.tokens[data.offsets[:-1]] + 1.0) / (VOCAB + 2)
    assert found["brier"] == pytest.approx(float(np.mean((data.is_correct - value) ** 2)), rel=1e-4)
    worst = [
        data.columns["reference_nll"][data.offsets[row] + data.prompt_lens[row] : data.offsets[row + 1]].max()
        for row in range(len(data))
    ]
    right, wrong = np.array(worst)[data.is_correct], np.array(worst)[~data.is_correct]
    ordered = [(a < b) + 0.5 * (a == b) for a in right for b in wrong]
    assert found["auc_max_reference_nll"] == pytest.approx(np.mean(ordered)) and found["num_examples"] == len(data)
    assert not (tmp_path / "values.npy").exists()
