"""The commands about models' folders, as they are typed."""

import pytest

from tests.unit.models.gguf_files import write_gguf
from tests.unit.models.tiny import tiny
from wmtp.cli import main


def test_fetch_says_what_became_of_the_file(tmp_path, capsys):
    file = write_gguf(tmp_path / "tiny.gguf")
    assert main(["model", "fetch", str(file), str(tmp_path / "hf")]) == 0
    line = f"{tmp_path / 'hf'}: tiny.gguf, dequantised to float32 (tensors were 5 F32, 15 Q8_0)\n"
    assert capsys.readouterr().out == line


def test_export_says_what_it_wrote(tmp_path, capsys):
    tiny().save_pretrained(tmp_path / "policy")
    assert main(["export", str(tmp_path / "policy"), str(tmp_path / "plain"), "--heads"]) == 0
    assert "GraniteForCausalLM" in (said := capsys.readouterr().out) and "2 further heads beside it" in said


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["model", "fetch", "", "x"], "argument source: is empty"),
        (["model", "fetch", "smollm2"], "the following arguments are required: target"),
        (["model", "fetch", "none.gguf", "x"], "none.gguf does not exist: name a GGUF file"),
        (["convert", "other", "a", "b"], "argument kind: unknown 'other'"),
    ],
)
def test_what_makes_no_sense_is_one_line(typed, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(typed) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and line in said
