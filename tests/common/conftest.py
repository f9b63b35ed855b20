"""Pictures to crop."""

import pytest

from tests.helpers import encoded, face


@pytest.fixture
def folder(tmp_path):
    """Twelve faces, named as CelebA's."""
    path = tmp_path / "img_align_celeba"
    path.mkdir()
    for seed in range(12):
        (path / f"{seed + 1:06}.jpg").write_bytes(encoded(face(seed)))
    return path
