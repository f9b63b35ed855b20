"""What several test files make or look at in the same way."""

import io

import numpy as np
from PIL import Image

from common.errors import run_command


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
