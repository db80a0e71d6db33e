"""What configurations say of themselves."""

import pytest

from wmtp.errors import ConfigError
from wmtp.headlines import headlines


def test_a_file_says_its_first_comment_line(tmp_path):
    folder = tmp_path / "configs/arms"
    folder.mkdir(parents=True)
    (folder / "b.yaml").write_text("# Half of them.\n# And more.\nx: 1\n")
    (folder / "a.yaml").write_text("x: 1\n# later\n")
    (folder / "notes.txt").write_text("# no\n")
    assert headlines(tmp_path, "arms") == {"a": "", "b": "Half of them."}


def test_a_folder_without_any_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"configs/profiles holds no \.yaml file"):
        headlines(tmp_path, "profiles")
