"""No test of data reaches the network or the user's own cache."""

from dataclasses import replace

import pytest

from common.data import datasets


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No test reaches a real mirror or the user's own cache; those of downloads name a local server."""
    for key, published in datasets.PUBLISHED.items():
        monkeypatch.setitem(datasets.PUBLISHED, key, replace(published, mirrors=("http://127.0.0.1:9/",)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
