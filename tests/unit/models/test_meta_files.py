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


def changed(folder, part, **tensors):
    """Two parts, of which one holds other tensors."""
    meta.write(folder, meta.tensors(), parts=2)
    path = folder / f"consolidated.0{part}.pth"
    names = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    torch.save(torch.load(path, weights_only=True) | names, path)
    return folder


PARTS = {
    r"the parts of tensor layers.0.attention.wq.weight do not fit together: it is \(16, 32\) in consolidated.00.pth and "
    r"\(16, 31\) in consolidated.01.pth": {"layers__0__attention__wq__weight": torch.ones(16, 31)},
    r"tensor norm.weight do not fit together: it is \(32,\) in .* and \(16,\) in": {"norm__weight": torch.ones(16)},
    r"consolidated.01.pth: tensor output.weight is \(16,\) and must be a matrix": {"output__weight": torch.ones(16)},
    r"tensor norm.weight is not the same in consolidated.00.pth and consolidated.01.pth": {"norm__weight": torch.ones(32)},
    r"holds weights of several dtypes: torch.float16, torch.float32": {"output__weight": torch.ones(19, 32).half()},
    r"checkpoint of Meta's: norm.weight is no plain tensor": {"norm__weight": torch.ones(32).to_sparse()},
}


@pytest.mark.parametrize("line", PARTS)
def test_parts_that_do_not_fit_together_are_one_line(line, tmp_path):
    with pytest.raises(ModelError, match=rf"^[^\n]*{line}[^\n]*$"):
        files = MetaFiles.find(changed(tmp_path, 1, **PARTS[line]))
        _ = files.shapes, files.dtype, files.read(["norm.weight"])


def test_the_same_weights_twice_are_refused_whichever_are_meant(tmp_path):
    meta.write(tmp_path, meta.tensors(), parts=2)
    torch.save({}, tmp_path / "consolidated.1.pth")
    with pytest.raises(ModelError, match=r"holds part 1 twice: consolidated\.01\.pth and consolidated\.1\.pth"):
        MetaFiles.find(tmp_path)
    (tmp_path / "consolidated.1.pth").rename(tmp_path / "consolidated.pth")
    with pytest.raises(ModelError, match=r"holds its weights twice: consolidated\.pth and consolidated\.00\.pth"):
        MetaFiles.find(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_numbers_that_are_no_weights_as_they_are_are_refused(dtype, tmp_path):
    meta.write(tmp_path, {name: tensor.to(dtype) for name, tensor in meta.tensors().items()})
    with pytest.raises(ModelError, match=f"holds weights of {dtype}: they must be numbers of 16 or more bits"):
        _ = MetaFiles.find(tmp_path).dtype


def test_files_of_pytorchs_old_format_are_read(tmp_path):
    found = meta.tensors()
    meta.write(tmp_path, found)
    torch.save(found, tmp_path / "consolidated.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(MetaFiles.find(tmp_path).read(["norm.weight"])["norm.weight"], found["norm.weight"])
