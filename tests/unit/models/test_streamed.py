"""A model whose parameters are read while it runs says what it says with all of them."""

import pytest
import torch

from tests.unit.models.families import family, padded_tokens
from wmtp.models.heads import layers_name
from wmtp.models.slices import open_model
from wmtp.models.streamed import stream


@torch.no_grad()
@pytest.mark.parametrize("name", ["gemma2", "mixtral", "glm4_moe", "opt", "qwen3_next", "granite"])
def test_the_same_bits_and_no_parameter_is_left(name, tmp_path):
    source = family(name)
    source.save_pretrained(tmp_path)
    opened, (ids, mask) = open_model(tmp_path, "the model"), padded_tokens()
    decoder, model, most = opened.model.get_decoder(), opened.model.eval(), []
    layers = getattr(decoder, layers_name(decoder))
    stream(model, opened.sources, layers)

    def look(*_):
        most.append(sum(p.numel() for p in model.parameters() if not p.is_meta))

    for layer in layers:
        layer.register_forward_pre_hook(look)  # runs before the layer has its own
    found = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    assert torch.equal(found, source(input_ids=ids, attention_mask=mask, use_cache=False).logits)
    assert most == [0] * len(layers) and all(parameter.is_meta for parameter in model.parameters())
