"""What the tests of the training command make and look at: runs of narrow networks, on 40 pictures of noise."""

import json

import numpy as np
from PIL import Image

from common.training import checkpoint
from tests.helpers import idx

PICTURES, BATCH, EPOCHS = 40, 3, 2
BATCHES = PICTURES // BATCH  # 13 an epoch; the last picture is left out


def write_pictures(folder, seed=0, size=28):
    """MNIST's two training files, with 40 pictures of noise."""
    folder.mkdir(exist_ok=True)
    images = np.random.RandomState(seed).randint(0, 256, [PICTURES, size, size]).astype("uint8")
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(PICTURES).astype("uint8") % 10))
    return images


class Folder:
    """A place with data, and the options of the reference run."""

    def __init__(self, path):
        self.path, self.data = path, path / "data"
        self.images = write_pictures(self.data)

    def training(self, output, *args):
        return ["--data_dir", self.data, "--batch_size", BATCH, "--epoch", EPOCHS, "--output", output, *args]


def metrics(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def config(path):
    return json.loads((path / "config.json").read_text(encoding="utf-8"))


def newest(path):
    return checkpoint.listing(path / "checkpoints")[-1]


def result(path):
    """What no interruption may change: last checkpoint, metrics, pixels of all pictures."""
    arrays, record = checkpoint.load(newest(path))
    pixels = {str(file.relative_to(path)): np.asarray(Image.open(file)).tobytes() for file in path.rglob("*.png")}
    return newest(path).name, {name: array.tobytes() for name, array in arrays.items()}, \
        (record["step"], record["random"]), (path / "metrics.jsonl").read_bytes(), pixels
