"""`import wmtp`: the library's names, looked up when they are asked for."""

import subprocess
import sys

import pytest

import wmtp
from wmtp import library


def test_the_names_are_the_librarys():
    assert wmtp.__all__ == library.__all__ == sorted(library.__all__)
    assert all(getattr(wmtp, name) is getattr(library, name) for name in wmtp.__all__)
    assert set(wmtp.__all__) <= set(dir(wmtp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wmtp.nothing


def test_importing_loads_neither_torch_nor_transformers():
    code = "import sys, wmtp; from wmtp import tasksets; assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
