"""`import wmtp` is enough for transformers to know the model, in either order of the imports."""

import subprocess
import sys

import pytest

from wmtp.models import MTPConfig, MTPForCausalLM

IMPORTS = ["import wmtp", "from transformers import GPT2LMHeadModel, LlamaForCausalLM, AutoModelForCausalLM"]


@pytest.mark.parametrize("lines", [IMPORTS, IMPORTS[::-1]])
def test_a_saved_model_is_loaded_by_name_after_importing_wmtp(lines, tmp_path):
    config = MTPConfig(
        vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2, n_future=2
    )
    MTPForCausalLM(config).save_pretrained(tmp_path)
    use = f"print(type(AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", "\n".join([*lines, use])], capture_output=True, text=True, check=True)
    assert done.stdout == "MTPForCausalLM\n"


def test_importing_wmtp_does_not_import_transformers():
    code = "import sys, wmtp; print('transformers' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
