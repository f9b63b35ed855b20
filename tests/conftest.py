"""Paddle is prepared once for all tests, as the commands prepare it: with its threads and quietly."""

import numpy as np
import pytest
from PIL import Image

from common.backend import runtime

runtime.prepare()


@pytest.fixture(autouse=True)
def dynamic_mode_after_all():
    """A test that builds programs leaves Paddle in its default mode."""
    yield
    import paddle

    paddle.disable_static()


@pytest.fixture(scope="module")
def narrow():
    """The book's networks have few channels from here to the end of the module; the names and their values."""
    from static_mnist import book

    channels = {"gf_dim": 4, "df_dim": 4, "gfc_dim": 64, "dfc_dim": 32}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in channels.items():
            patch.setattr(book, name, value)
        yield channels


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory):
    """A data set of one's own: a folder with sub-folders of 4×8 pictures of three classes."""
    data = tmp_path_factory.mktemp("classes") / "data"
    random = np.random.RandomState(0)
    for number, name in enumerate(["bag", "sneaker", "8"] * 2):
        path = data / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.randint(0, 256, [4, 8]).astype("uint8")).save(path)
    return data
