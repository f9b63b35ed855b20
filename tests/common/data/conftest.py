"""No test of data reaches the network or the user's own cache; and pictures for several files of tests."""

from dataclasses import replace

import pytest

from common.data import datasets
from tests.helpers import jpeg


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No test reaches a real mirror or the user's own cache; those of downloads name a local server."""
    for key, published in datasets.PUBLISHED.items():
        monkeypatch.setitem(datasets.PUBLISHED, key, replace(published, mirrors=("http://127.0.0.1:9/",)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def folder(tmp_path):
    """Four of CelebA's pictures, as `tests.helpers.jpeg` makes them."""
    path = tmp_path / "faces"
    path.mkdir()
    for number in (3, 1, 7, 5):
        (path / f"{number:06}.jpg").write_bytes(jpeg(number))
    return path
