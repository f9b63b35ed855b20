"""Pictures for several files of tests, and a home folder for each test, because packed pictures lie in its cache."""

import pytest

from tests.helpers import jpeg


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """No test finds what another one has packed."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path):
    """Four of CelebA's pictures, as `tests.helpers.jpeg` makes them."""
    path = tmp_path / "faces"
    path.mkdir()
    for number in (3, 1, 7, 5):
        (path / f"{number:06}.jpg").write_bytes(jpeg(number))
    return path
