"""Meta's files are found whole, or the one that is missing or broken is named."""

import pytest
import torch

from tests.unit.models import meta
from wmtp.errors import ModelError
from wmtp.models.meta_files import MetaFiles


def test_tensors_are_read_by_name_and_joined(tmp_path):
    found = meta.tensors()
    files = MetaFiles.find(meta.write(tmp_path, found, parts=4))
    assert [path.name for path in files.files] == [f"consolidated.0{n}.pth" for n in range(4)]
    assert files.shapes == {name: tensor.shape for name, tensor in found.items()} and files.dtype == torch.float32
    names = ["layers.0.attention.wo.weight", "tok_embeddings.weight", "norm.weight"]
    assert all(torch.equal(tensor, found[name]) for name, tensor in files.read(names).items())


def test_what_is_missing_is_named(tmp_path):
    faults = {"none": r"none does not exist", "empty": r"empty holds no weights of Meta's"}
    (tmp_path / "empty").mkdir()
    meta.write(tmp_path / "gap", meta.tensors(), parts=4)
    (tmp_path / "gap" / "consolidated.02.pth").unlink()
    faults["gap"] = r"gap lacks consolidated.02.pth: 4 files make up the weights"
    meta.write(tmp_path / "odd", meta.tensors(), parts=2)
    torch.save({"norm.weight": torch.ones(2)}, tmp_path / "odd" / "consolidated.01.pth")
    faults["odd"] = r"do not hold the same tensors: extra_heads"
    meta.write(tmp_path / "cut", meta.tensors())
    whole = (tmp_path / "cut" / "consolidated.pth").read_bytes()
    (tmp_path / "cut" / "consolidated.pth").write_bytes(whole[: len(whole) // 2])
    faults["cut"] = r"consolidated.pth \([0-9,]+ bytes\) is cut off or broken"
    meta.write(tmp_path / "list", meta.tensors())
    torch.save([torch.ones(2)], tmp_path / "list" / "consolidated.pth")
    faults["list"] = r"is no checkpoint of Meta's"
    for name, line in faults.items():
        with pytest.raises(ModelError, match=rf"^[^\n]*{line}[^\n]*$"):
            _ = MetaFiles.find(tmp_path / name).shapes
    (tmp_path / "cut" / "params.json").unlink()
    with pytest.raises(ModelError, match=r"params.json: No such file"):
        _ = MetaFiles.find(tmp_path / "cut").params
