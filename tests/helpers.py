"""What several test files make or look at in the same way."""

import gzip
import io
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from common.errors import run_command

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@contextmanager
def narrowed():
    """The book's networks have few channels in the block."""
    from static_mnist import book

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"gf_dim": 4, "df_dim": 4, "gfc_dim": 64, "dfc_dim": 32}.items():
            patch.setattr(book, name, value)
        yield


@contextmanager
def narrowed_faces():
    """The faces' networks have an eighth of their channels in the block."""
    from paddle.nn.initializer import Normal

    from dygraph_celeba import networks

    def fewer(channels):
        return channels if channels in (1, 2, 3, networks.G_DIMENSION) else channels // 8

    def narrow(make, numbers):  # so many of the first arguments are channels
        return lambda *args: make(*map(fewer, args[:numbers]), *args[numbers:])

    with pytest.MonkeyPatch.context() as patch:
        for name, numbers in {"conv": 2, "deconv": 2, "bn": 1}.items():
            patch.setattr(networks, name, narrow(getattr(networks, name), numbers))
        # As in the full networks a sum of so many products is large enough that pictures are not black
        patch.setattr(networks, "conv_initializer", Normal(mean=0.0, std=0.02 * 8 ** 0.5))
        yield


def one_step(recipe, run):
    """Train a recipe of static_mnist on the embedded digits for one step, in the folder ``run``; return the folder."""
    from static_mnist import train

    train.main(["--recipe", recipe, "--dataset", "digits", "--batch_size", "8", "--max_steps", "1",
                "--output", str(run)])
    return run


def caller(main, capture):
    """A function that calls a command in this process: exit code, stdout, stderr.

    Args:
        main: of the command.
        capture: pytest's ``capsys`` or ``capfd``.
    """
    def call(*args):
        capture.readouterr()
        code = run_command(lambda: main([str(arg) for arg in args]))
        return code, *capture.readouterr()

    return call


def idx(array):
    """The bytes of an idx file that holds an array of bytes."""
    return b"".join(int(number).to_bytes(4, "big") for number in (0x800 + array.ndim, *array.shape)) + array.tobytes()


def jpeg(seed=0, width=178, height=218):
    """The bytes of a JPEG file of CelebA's size."""
    noise = np.random.RandomState(seed).randint(60, 256, (height // 8, width // 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


def content(path):
    """Everything in a folder, but for the lock: path → bytes."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != ".lock"}


def moved(before, after):
    """The names of the arrays that a step has changed."""
    return {name for name in before if not np.array_equal(before[name], after[name])}


def face(seed=0, width=178, height=218, mode="RGB"):
    """A smooth picture with noise, never black."""
    noise = np.random.RandomState(seed).randint(60, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.BICUBIC).point(lambda v: max(v, 30)).convert(mode)


def faces(folder, count, suffix=".png"):
    """Write 64×64 pictures of coarse noise, as cropped faces are, into a new folder; return it."""
    folder.mkdir()
    random = np.random.RandomState(0)
    for number in range(count):
        small = Image.fromarray(random.randint(0, 256, [8, 8, 3]).astype("uint8"))
        small.resize((64, 64)).save(folder / f"{number:06d}{suffix}")
    return folder


def encoded(image, kind="JPEG", **options):
    """The bytes of a Pillow image as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def archive(path, members):
    """A zip archive of (name, bytes); returns its path."""
    with zipfile.ZipFile(path, "w") as stream:
        for name, data in members:
            stream.writestr(zipfile.ZipInfo(name), data)
    return path


# MNIST's files


def pictures(count=12):
    """Noise: uint8 [count, 28, 28]."""
    return np.random.RandomState(count).randint(0, 256, (count, 28, 28)).astype(np.uint8)


def labels(count=12):
    """0 … 9 and again, uint8 [count]."""
    return (np.arange(count) % 10).astype(np.uint8)


def put(folder, images=None, tags=None, suffix=".gz", names=(IMAGES, LABELS)):
    """An images and a labels file in a folder; returns their paths."""
    folder.mkdir(exist_ok=True, parents=True)
    images, tags = pictures() if images is None else images, labels() if tags is None else tags
    paths = []
    for name, array in zip(names, (images, tags), strict=True):
        data = idx(array)
        paths.append(folder / (name + suffix))
        paths[-1].write_bytes(gzip.compress(data, mtime=0) if suffix else data)
    return paths


def emnist(folder, part, count=47, **kwargs):
    """The two files of a part of EMNIST; returns their paths."""
    tags = np.arange(count, dtype=np.uint8)
    names = f"emnist-{part}-images-idx3-ubyte", f"emnist-{part}-labels-idx1-ubyte"
    return put(folder, pictures(count), kwargs.pop("tags", tags), names=names)
