"""docs/make_concepts.py draws what it is given."""

import importlib.util

import pandas as pd

from tests.workspaces import PROJECT


def test_every_token_and_panel_is_in_the_picture(tmp_path):
    spec = importlib.util.spec_from_file_location("make_concepts", PROJECT / "docs/make_concepts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tokens = ["a =", " b", "\n", "c", "==", "1", "<|eos|>", "x", "y", "z"]
    columns = {"policy": 1.0, "reference": 0.5, "excess": 0.5, "selected": True, "value": 0.4, "weight": 1.2}
    module.draw(pd.DataFrame({"token": tokens, **columns}), tmp_path / "made/concepts.svg")
    text = (tmp_path / "made/concepts.svg").read_text()
    assert all(f">{shown}</text>" in text for shown in ("a =", "b", "\\n", "==", "&lt;|eos|&gt;"))
    assert all(word in text for word in ("Heads:", "NLL:", "Excess:", "Value:", "Weight:", "head 3"))
