"""A pipe where a file is expected is one line, not a wait without end."""

import os

import pytest

from common.comparison import figures
from common.data import datasets, folders
from common.errors import UserError
from common.evaluation import replay
from common.pictures.packed import PackedPictures
from common.pictures.picture_files import PictureFiles
from common.training import checkpoint
from common.training.records import Records
from tools import benchmark


@pytest.mark.parametrize(("name", "read"), [
    ("mnist.npz", lambda path: datasets.load("mnist", path, download=False)),
    ("train-images-idx3-ubyte", lambda path: datasets.load("mnist", path.parent, download=False)),
    ("own", folders.load), ("0001_0000.safetensors", checkpoint.load), ("faces.npy", PackedPictures),
    ("faces.zip", PictureFiles), ("config.json", lambda path: Records(path.parent).read_config()),
    ("figure.png", figures.read), ("trace.json", replay.load),
    ("bench.json", lambda path: benchmark.read([path]))])
def test_a_pipe_is_one_line(tmp_path, name, read):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="pipe or device|not a file|neither a folder nor a file|no folder"):
        read(tmp_path / name)


