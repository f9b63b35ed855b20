"""Folders and archives of pictures."""

import pytest

from common.data.picture_files import PictureFiles
from common.errors import UserError
from tests.helpers import archive, encoded, face


def test_no_archive_and_damaged_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="not a zip archive"):
        PictureFiles(tmp_path / "a.zip")
    whole = archive(tmp_path / "b.zip", [("1.jpg", encoded(face()))]).read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[:-30])
    with pytest.raises(UserError, match="damaged"):
        PictureFiles(tmp_path / "b.zip")
