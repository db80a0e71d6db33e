"""`import wmtp.models` makes a saved model known to transformers, in either order of imports; `import wmtp` changes nothing."""

import subprocess
import sys

import pytest
from transformers import LlamaConfig

from wmtp.models import MTPConfig, MTPForCausalLM

pytestmark = pytest.mark.slow

IMPORTS = ["import wmtp.models", "from transformers import GPT2LMHeadModel, LlamaForCausalLM, AutoModelForCausalLM"]


@pytest.fixture
def saved(tmp_path):
    llama = LlamaConfig(vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    MTPForCausalLM(MTPConfig(text_config=llama, n_future=2)).save_pretrained(tmp_path)
    return tmp_path


def python(*lines, code=0):
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("lines", [IMPORTS, IMPORTS[::-1]])
def test_a_saved_model_is_loaded_by_name_after_importing_the_models(lines, saved):
    use = f"print(type(AutoModelForCausalLM.from_pretrained({str(saved)!r})).__name__)"
    assert python(*lines, use).stdout == "MTPForCausalLM\n"


@pytest.mark.parametrize("more", ["", ", trust_remote_code=True"])
def test_without_that_transformers_says_what_to_import(saved, more):
    use = f"AutoModelForCausalLM.from_pretrained({str(saved)!r}{more})"
    said = python("import wmtp", IMPORTS[1], use, code=1).stderr
    assert "`import wmtp.models`" in said and "`wmtp export`" in said


def test_with_that_trusting_a_models_own_code_changes_nothing(saved):
    use = f"print(type(AutoModelForCausalLM.from_pretrained({str(saved)!r}, trust_remote_code=True)).__name__)"
    assert python(*IMPORTS, use).stdout == "MTPForCausalLM\n"


def test_importing_wmtp_imports_neither_transformers_nor_torch_and_hooks_nothing():
    code = (
        "import sys; before = [*sys.meta_path]; import wmtp",
        "print('transformers' in sys.modules or 'torch' in sys.modules or sys.meta_path != before)",
    )
    assert python(*code).stdout == "False\n"
