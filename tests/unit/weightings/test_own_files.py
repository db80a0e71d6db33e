"""A weighting's file as it is while somebody writes it."""

import pytest

from wmtp import weightings
from wmtp.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("draft_1", "x = 1\n", "must hold one subclass of Weighting, and holds 0"),
        ("draft_2", "import nothere\n", "cannot be imported: ModuleNotFoundError: No module named 'nothere'"),
        ("draft_3", "def (:\n", "cannot be imported: SyntaxError: "),
    ],
)
def test_a_file_that_holds_no_weighting_is_named(tmp_path, monkeypatch, name, text, said):
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(weightings, "__path__", [*weightings.__path__, str(tmp_path)])
    with pytest.raises(ConfigError, match=f"^weighting '{name}': src/wmtp/weightings/{name}.py {said}"):
        weightings.kind(name)
