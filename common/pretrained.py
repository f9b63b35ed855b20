"""Trained generators that come with the project: ``common/weights/NAME.safetensors``.

    gan = load("pretrained:book")                 # see common.generator
    config, arrays, record = read(path_of("book"))

A file holds only the arrays that drawing needs, rounded, and a record that tells the run, its data, and how good the
pictures of this very file are. ``tools/pack_generator.py`` makes a file from any run. In a file

    NAME                float32: vectors and small arrays, such as biases and moving averages
    NAME, NAME.scale    int8 and float32: the array is their product; each output channel has its scale
    NAME, NAME.scale    uint8: a large array, six bits a number, see `six_bits`; its shape is in the record
"""

from contextlib import suppress
from pathlib import Path

import numpy as np

from common import recipe as recipes
from common.errors import ROOT, UserError
from common.training import checkpoint

PREFIX = "pretrained:"  # of a name in place of a run's folder
WEIGHTS = Path(__file__).with_name("weights")
SMALL = 4096  # an array with no more numbers stays float32
LARGE = 2_000_000  # an array with no fewer numbers has six bits a number; with eight all files together are too large


def names(package=None):
    """The names of the generators that come with the project, or of those for a package's ``generate.py``.

    A damaged file belongs to no package.
    """
    # A packing that is not finished has written a hidden file aside
    found = sorted(path.stem for path in WEIGHTS.glob("[!.]*.safetensors"))
    if package is None:
        return found
    kept = []
    for name in found:
        with suppress(UserError, KeyError, TypeError):
            if checkpoint.read_record(path_of(name))["config"]["recipe"] in recipes.names(package):
                kept.append(name)
    return kept


def path_of(name):
    """The path of a generator's file.

    Raises:
        UserError: there is no such generator.
    """
    known = names()
    if name not in known:
        there = f"only {', '.join(known)}" if known else "none comes with this copy of the project"
        raise UserError(f"there is no pretrained generator {str(name)!r}, {there}")
    return WEIGHTS / f"{name}.safetensors"


def read(path):
    """Read a generator and check its digest.

    Returns:
        (config, arrays, record): the run's config, as in `common.generator.make`; name → float32 array; the record.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        arrays, record = checkpoint.load(path)
        return record["config"], restored(arrays, record["shapes"]), record
    except (UserError, KeyError, TypeError, ValueError) as error:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        raise UserError(f"{shown} is damaged, or no generator of tools/pack_generator.py; pack it anew, or bring "
                        f"back the one that comes with the project: git checkout {shown}") from error


def rounded(arrays):
    """Round arrays to few bits.

    Args:
        arrays: name → float32 array. Axis 1 of a matrix or kernel counts output channels, as in dense layers and
            transposed convolutions.

    Returns:
        (arrays as in the file, shapes): shapes of the large arrays by name.
    """
    found, shapes = {}, {}
    for name, array in arrays.items():
        if array.ndim < 2 or array.size <= SMALL:
            found[name] = array
            continue
        large = array.size >= LARGE
        scale = np.abs(array).max(tuple(axis for axis in range(array.ndim) if axis != 1), keepdims=True)
        scale = np.where(scale == 0, 1, scale / (31 if large else 127)).astype("float32")
        whole = np.rint(array / scale).astype("int8")
        found[f"{name}.scale"] = scale
        found[name] = six_bits(whole) if large else whole
        if large:
            shapes[name] = list(array.shape)
    return found, shapes


def restored(arrays, shapes):
    """The float32 arrays behind what `rounded` returned."""
    found = {}
    for name, array in arrays.items():
        if f"{name}.scale" in arrays:
            whole = from_six_bits(array, shapes[name]) if name in shapes else array
            found[name] = whole.astype("float32") * arrays[f"{name}.scale"]
        elif name.removesuffix(".scale") not in arrays or not name.endswith(".scale"):
            found[name] = array
    return found


def six_bits(whole):
    """Pack whole numbers, −32 … 31, as six bits each, highest bit first: uint8 [⌈n · 6 / 8⌉]."""
    bits = np.unpackbits((whole.ravel() + 32).astype("uint8")[:, None], axis=1)[:, 2:]
    return np.packbits(bits)


def from_six_bits(packed, shape):
    """The whole numbers that `six_bits` packed, int8 of this shape."""
    bits = np.unpackbits(packed, count=6 * int(np.prod(shape))).reshape(-1, 6)
    numbers = np.packbits(bits, axis=1)[:, 0] >> 2
    return (numbers.astype("int8") - 32).reshape(shape)
