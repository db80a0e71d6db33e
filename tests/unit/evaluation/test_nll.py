import pytest
import torch
from transformers import LlamaConfig

from tests.packing import pack_by_hand
from tests.tables import VOCAB, make_tables
from wmtp.errors import EvaluationError
from wmtp.evaluation.nll import ByDocument, head_scores, head_sums
from wmtp.models.mtp import MTPConfig, MTPForCausalLM
from wmtp.tokens.data import TokenData


def make_model(n_future):
    torch.manual_seed(0)
    llama = LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_attention_heads=2, num_hidden_layers=2)
    model = MTPForCausalLM(MTPConfig(text_config=llama, n_future=n_future)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_equals_a_loop_over_rows_and_tokens(tmp_path):
    folder, _, _ = make_tables(tmp_path, num_rows=10, name="validation")
    model, data = make_model(3), TokenData.open(folder, "validation")
    scores = head_scores(head_sums(model, data))
    sums = [[0.0, 0, 0] for _ in range(3)]
    for row in range(10):
        tokens = torch.tensor(data.tokens[data.offsets[row] : data.offsets[row + 1]], dtype=torch.long)
        all_logits = model.head_logits(tokens.unsqueeze(0))
        for h in range(3):
            for target in range(int(data.prompt_lens[row]), len(tokens)):
                source = target - 1 - h
                if source < 0:
                    continue
                logprobs = torch.log_softmax(all_logits[h][0, source], dim=-1)
                sums[h][0] -= logprobs[tokens[target]].item()
                sums[h][1] += int(logprobs.argmax() == tokens[target])
                sums[h][2] += 1
    for h in range(3):
        assert scores.num_tokens[h] == sums[h][2]
        assert scores.nll[h] == pytest.approx(sums[h][0] / sums[h][2], rel=1e-5)
        assert scores.accuracy[h] == pytest.approx(sums[h][1] / sums[h][2])


def test_shares_of_the_ranks_add_up(tmp_path):
    folder, _, _ = make_tables(tmp_path, num_rows=13, name="validation")
    model, data = make_model(2), TokenData.open(folder, "validation")
    whole = head_sums(model, data)
    parts = sum(head_sums(model, data, rank=rank, world_size=3) for rank in range(3))
    assert torch.allclose(whole, parts, rtol=1e-6)


def test_nothing_to_measure_and_nonsense_are_errors():
    with pytest.raises(EvaluationError, match="no target for head 1"):
        head_scores(torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    with pytest.raises(EvaluationError, match="not finite"):
        head_scores(torch.tensor([[float("nan")], [1.0], [2.0]]))


def test_packed_documents_score_as_each_of_them_alone(tmp_path):
    folders = make_tables(tmp_path, num_rows=14)
    packed_folder, _, rows = pack_by_hand(folders, tmp_path, 48)
    model, alone = make_model(3), TokenData.open(folders[0], "train")
    packed = TokenData.open(packed_folder, "train")
    assert len(rows) < 14
    by_document = ByDocument(packed, torch.device("cpu"))
    sums = head_sums(model, packed, by_document=by_document)
    torch.testing.assert_close(sums, head_sums(model, alone), rtol=1e-5, atol=1e-6)
    assert by_document.places == [f"texts:{i}" for i in range(14)]
    for i in range(14):
        tokens = torch.tensor(alone.tokens[alone.offsets[i] : alone.offsets[i + 1]], dtype=torch.long)
        logprobs = torch.log_softmax(model.head_logits(tokens.unsqueeze(0))[0][0], dim=-1)
        targets = range(int(alone.prompt_lens[i]), len(tokens))
        nll = -sum(logprobs[place - 1, tokens[place]].item() for place in targets)
        assert by_document.sums_2D[:, i].tolist() == pytest.approx([nll, len(targets)], rel=1e-5)
