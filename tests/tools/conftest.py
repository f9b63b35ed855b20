"""Tiny trained runs, one of each kind, for the tools that look at runs."""

import numpy as np
import pytest
from PIL import Image

from dygraph_celeba import train as faces_train
from static_mnist import train


@pytest.fixture(scope="module")
def book_run(tmp_path_factory, narrow):
    """The book's recipe with narrow networks on the embedded digits: two epochs of one step, two checkpoints."""
    run = tmp_path_factory.mktemp("book") / "run"
    train.main(["--dataset", "digits", "--batch_size", "900", "--epoch", "2", "--output", str(run)])
    return run


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A conditional GAN of the embedded digits, one step old."""
    run = tmp_path_factory.mktemp("cgan") / "run"
    train.main(["--recipe", "cgan", "--dataset", "digits", "--batch_size", "8", "--max_steps", "1",
                "--output", str(run)])
    return run


@pytest.fixture(scope="module")
def folder_run(class_folders):
    """A conditional GAN of 4×8 pictures of three classes, one step old."""
    run = class_folders.with_name("run")
    train.main(["--recipe", "cgan", "--dataset", str(class_folders), "--batch_size", "3", "--max_steps", "1",
                "--output", str(run)])
    return run


@pytest.fixture(scope="module")
def faces_run(tmp_path_factory):
    """The faces' recipe on 200 pictures of noise, one step old."""
    folder = tmp_path_factory.mktemp("faces")
    (folder / "imgs").mkdir()
    random = np.random.RandomState(0)
    for number in range(200):
        small = Image.fromarray(random.randint(0, 256, [8, 8, 3]).astype("uint8"))
        small.resize((64, 64)).save(folder / "imgs" / f"{number:06d}.png")
    faces_train.main(["--data_dir", str(folder / "imgs"), "--batch_size", "4", "--max_steps", "1",
                      "--output", str(folder / "run")])
    return folder / "run"
