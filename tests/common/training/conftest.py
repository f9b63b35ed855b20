"""Loops that train a GAN of nothing but NumPy."""

import numpy as np
import pytest

from common import plotting
from common.data.batches import Batches
from common.training.loop import Loop
from common.training.run_folder import RunFolder
from tests.common.training.fake_gan import CONFIG, FakeGAN


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out the curves at the end, which take longer than all the rest."""
    monkeypatch.setattr(plotting, "save_losses", lambda *_: None)


@pytest.fixture
def new(tmp_path, no_figures):
    """A loop over 20 pictures in 5 batches; all folders are let go of in the end."""
    folders = []

    def make(name="run", epochs=3, resume=False, gan=None, **options):
        if folders:
            folders[-1].close()
        folder = RunFolder(tmp_path / name, resume)
        folders.append(folder)
        if not resume:
            folder.write_config(CONFIG)
        images = np.random.RandomState(1).randint(0, 256, [20, 4, 4]).astype("uint8")
        random = np.random.RandomState(7)
        made = Loop(gan or FakeGAN(), Batches(images, 4), folder, folder.read_config(), random, epochs, **options)
        if resume:
            made.resume()
        return made

    yield make
    for folder in folders:
        folder.close()
