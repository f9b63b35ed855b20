"""Files that hold many pictures as one array: idx, NumPy's npz, CSV and MATLAB's mat."""

import gzip
import hashlib
import io
import itertools
import math
import struct
import sys
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from common.files import NPY_FAULTS, kind_of, refuse_pipe

LARGEST = 1 << 30  # bytes; EMNIST's largest part, by class, has 547 million
LONG_TEXT = 20 << 20  # bytes; reading a larger CSV file takes long, so a message announces it
LARGEST_TEXT = 4 << 30  # bytes of a CSV file, about four bytes of text for one byte of pictures
LARGEST_ARRAYS = 16 << 30  # bytes of the arrays that are read of an npz file, which may be floats
LONGEST_LINE = 16 << 20  # characters of a CSV file's line
MAT_HEAD, MAT_PACKED = 128, 15  # of a mat file: bytes of its header, and the type of a part that zlib has packed
BLOCK = 1 << 20  # bytes
SUFFIXES = (".npz", ".csv", ".csv.gz", ".mat")  # of the files that `read_table` reads
NPZ_KEYS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"))  # names of arrays in Keras's and in MedMNIST's files
LABEL_COLUMNS = ("label", "class", "target", "y")


class Table(NamedTuple):
    """The pictures of a part of a set.

    Attributes:
        images: uint8 [N, H, W] or [N, H, W, 3].
        labels: whole numbers [N], or None.
        mapping: {label: the character that it stands for}, or None if the file has no mapping.
        by_columns: whether pixels are stored column by column, so that rows and columns have to be swapped.
    """

    images: np.ndarray
    labels: np.ndarray | None
    mapping: dict | None = None
    by_columns: bool = False


class NoSuchPart(Exception):
    """The file has no part of that name."""


def read_idx(path):
    """Read an idx file of unsigned bytes. It may be gzip-compressed, whatever its name ends in.

    Returns:
        (array, md5): uint8 array of the shape in the file's header; and the hexadecimal md5 of the unpacked file.

    Raises:
        UserError: the file is unreadable, damaged, no idx file, or shorter or longer than its header says.
    """
    path = Path(path)
    refuse_pipe(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
        with gzip.open(path) if start[:2] == b"\x1f\x8b" else path.open("rb") as stream:
            header = stream.read(4)
            if len(header) < 4 or header[:3] != b"\0\0\x08" or not 1 <= header[3] <= 4:
                what = (header == start[:4] and kind_of(start)) or f"it begins with {header!r}"
                raise UserError(f"{path} is no idx file of bytes: {what}; take the right file")
            dimensions = stream.read(4 * header[3])
            shape = tuple(map(int, np.frombuffer(dimensions[:len(dimensions) // 4 * 4], ">u4")))
            size = int(np.prod(shape, dtype=object))
            if size > LARGEST:
                raise UserError(f"{path} claims to hold {size} bytes, more than any known set; take the right file")
            data = _read_upto(stream, size + 1)  # one byte more than expected, to notice a file that is too long
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the name") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); replace it by a whole copy") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; put a readable file there") from None
    if len(shape) != header[3] or len(data) != size:
        lack = "is cut short" if len(shape) != header[3] or len(data) < size else "has bytes behind its end"
        raise UserError(f"{path} {lack}: its header promises {shape}; replace it by a whole copy")
    return np.frombuffer(data, np.uint8).reshape(shape), hashlib.md5(header + dimensions + data).hexdigest()


def idx_md5(array):
    """The md5 that an array of bytes would have as an idx file."""
    header = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return hashlib.md5(header + np.ascontiguousarray(array, np.uint8).tobytes()).hexdigest()


def read_table(path, split="train"):
    """Read the pictures in an npz, CSV or mat file.

    - npz: ``x_train`` and ``y_train`` as Keras has them, or ``train_images`` and ``train_labels``; no pickle is read.
    - CSV: one row for each picture, with its label first, or in the column that the first line calls label or class.
      The first line may be a heading. Rows of a square number of values have no label. A CSV file is one part.
    - mat: EMNIST's structure ``dataset`` with ``train`` and ``test``.

    Args:
        path: the file.
        split: ``train`` or ``test``.

    Returns:
        `Table`.

    Raises:
        NoSuchPart: the file has no such part.
        UserError: the file is unreadable, damaged or of another kind, has values outside 0 … 255, or has not as many
            labels as pictures.
    """
    path = Path(path)
    refuse_pipe(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; put a readable file there") from None
    kind = kind_of(start)
    if kind == "a zip archive" and path.suffix.lower() == ".npz":
        table = _read_npz(path, split)
    elif kind == "a MATLAB file":
        table = _read_mat(path, split)
    elif path.name.lower().endswith((".csv", ".csv.gz")) and kind in ("", "packed with gzip"):
        table = _read_csv(path, size)
    else:
        hint = "unpack it and name the folder" if "archive" in kind else "take the right file"
        raise UserError(f"{path} is no table of pictures (npz, CSV, mat), but {kind or 'of an unknown kind'}; {hint}")
    images, labels = _pictures(path, table.images), table.labels
    if not len(images):
        raise UserError(f"{path} holds no pictures; take the right file")
    if labels is not None:
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iuf" or labels.size != len(images):
            raise UserError(f"{path} has {len(images)} pictures, but {labels.size} labels of type {labels.dtype}; "
                            "take the right file")
        labels = labels.reshape(-1)
        if (labels < 0).any() or (labels % 1 != 0).any():
            raise UserError(f"{path} has labels that are no whole numbers from 0; take the right file")
        labels = labels.astype(np.int64)
    return table._replace(images=images, labels=labels)


def _read_npz(path, split):
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = {name.format(split) for names in NPZ_KEYS for name in names}
            found = [info for info in archive.infolist() if info.filename.removesuffix(".npy") in wanted]
            size = sum(info.file_size for info in found)
        if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in found):
            raise UserError(f"{path} is packed as NumPy packs no file; take another copy")
        if size > LARGEST_ARRAYS:
            raise UserError(f"{path} claims to hold {size:,} bytes, more than any known set; take the right file")
        with np.load(path, allow_pickle=False) as arrays:
            for names in NPZ_KEYS:
                images, labels = (name.format(split) for name in names)
                if images in arrays:
                    return Table(arrays[images], arrays.get(labels))
            if any(name.format("train") in arrays for name, _ in NPZ_KEYS):
                raise NoSuchPart
            names = ", ".join(arrays.files[:5]) or "nothing"
    except (*NPY_FAULTS, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        pickled = "it holds Python objects, which are not read" if "allow_pickle" in str(error) else str(error)
        raise UserError(f"cannot read {path}: {pickled}; take another copy") from None
    raise UserError(f"{path} holds {names}, and no x_{split} and y_{split} as Keras's mnist.npz; take the right file")


def _read_csv(path, size):
    if size > LARGEST_TEXT:
        raise UserError(f"{path} has {size:,} bytes, more than any known set; take the right file")
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig")
            lines = _bounded(path, text)
            first = next(lines, "")
            sign = max(",;\t", key=first.count)
            fields = [field.strip().strip('"').lower() for field in first.split(sign)]
            heading = _is_heading(fields)
            rows = lines if heading else itertools.chain([first], lines)
            if size > LONG_TEXT:
                print(f"reading {path}, which takes some seconds", file=sys.stderr, flush=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a file without rows
                values = np.loadtxt(rows, np.float32, delimiter=sign, ndmin=2, comments=None, quotechar='"')
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text; take the right file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged ({error}); replace it by a whole copy") from None
    except ValueError as error:
        reason = str(error).partition("\n")[0].partition("; use")[0]  # the rest is advice to programmers
        raise UserError(f"{path} is no table of numbers: {reason}; take the right file") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; put a readable file there") from None
    if not values.size:
        raise UserError(f"{path} holds no pictures; take the right file")
    columns = values.shape[1]
    named = next((fields.index(name) for name in LABEL_COLUMNS if name in fields), None) if heading else None
    if named is None and math.isqrt(columns) ** 2 == columns:
        return Table(values, None)
    at = named or 0
    return Table(np.delete(values, at, axis=1), values[:, at])


def _bounded(path, text):
    """The lines of a text, which may be packed.

    Raises:
        UserError: they are too long or too many.
    """
    size = 0
    while line := text.readline(LONGEST_LINE):
        size += len(line)
        if len(line) == LONGEST_LINE or size > LARGEST_TEXT:
            raise UserError(f"{path} has {size:,} characters or more, and no table of pictures; take the right file")
        yield line


def _is_heading(fields):
    """Whether the fields of a table's first line, in small letters, are names: words, or 0, 1, 2, … as pandas has them.

    A line of numbers in which one is missing or misspelt is no heading: a picture would be lost without a word.
    """
    counted = [str(number) for number in range(len(fields))]
    if fields == counted and len(fields) > 256:  # no picture goes beyond 255
        return True
    return any(not _is_number(field) and any(map(str.isalpha, field)) for field in fields)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_mat(path, split):
    from scipy.io import loadmat

    if (size := _unpacked(path)) > LARGEST_ARRAYS:
        raise UserError(f"{path} unpacks to {size:,} bytes or more, more than any known set; take the right file")
    try:
        stored = loadmat(path, variable_names=["dataset"])["dataset"][0, 0]
        if split not in stored.dtype.names:
            raise NoSuchPart
        part, mapping = stored[split][0, 0], stored["mapping"] if "mapping" in stored.dtype.names else None
        names = None if mapping is None else {int(row[0]): chr(int(row[1])) for row in mapping}
        return Table(part["images"], part["labels"], names, by_columns=True)
    except NoSuchPart:
        raise
    except Exception as error:  # SciPy raises nearly every kind of exception for a damaged or foreign file
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise UserError(f"{path} is not as EMNIST's mat files are: {reason}; take the right file") from None


def _unpacked(path):
    """The bytes of a mat file's variables when they are unpacked, counted until they are more than `LARGEST_ARRAYS`."""
    total = 0
    try:
        with path.open("rb") as stream:
            for size in _parts(stream):
                total += size
                if total > LARGEST_ARRAYS:
                    break
    except (OSError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}; take another copy") from None
    return total


def _parts(stream):
    """Yield how many bytes the parts of a mat file have; those of a packed part come block by block, unpacked."""
    order = "<" if stream.read(MAT_HEAD)[-2:] == b"IM" else ">"
    while len(head := stream.read(8)) == 8:
        kind, left = struct.unpack(order + "II", head)
        if kind != MAT_PACKED:
            yield left
            stream.seek(left, io.SEEK_CUR)
            continue
        unpacker = zlib.decompressobj()
        while block := stream.read(min(left, BLOCK)):
            left -= len(block)
            while block:
                yield len(unpacker.decompress(block, BLOCK))
                block = unpacker.unconsumed_tail


def _pictures(path, values):
    """An array of pictures in any usual shape and type as uint8 [N, H, W] or [N, H, W, 3]."""
    values = np.asarray(values)
    if values.dtype.kind not in "buif":
        raise UserError(f"{path} holds values of type {values.dtype}, and no pictures; take the right file")
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim == 2 and math.isqrt(values.shape[1]) ** 2 == values.shape[1]:
        side = math.isqrt(values.shape[1])
        values = values.reshape(-1, side, side)
    if values.ndim != 3 and values.shape[3:] != (3,) or not all(values.shape[1:]):
        raise UserError(f"{path} holds an array of shape {values.shape}, and no pictures; take the right file")
    if not values.size or values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 255):  # true for NaN as well
        raise UserError(f"{path} holds values from {low:g} to {high:g}, 0 to 255 are expected; take the right file")
    if values.dtype.kind == "f" and high <= 1 or values.dtype.kind == "b":
        print(f"{path.name}: values from 0 to 1 become 0 to 255", file=sys.stderr)
        values = values * 255.0
    return np.rint(values).astype(np.uint8, order="C")  # hashlib takes no array in Fortran's order


def _read_upto(stream, size):
    """Read up to ``size`` bytes, in blocks, so that a false size in a header takes up no memory."""
    data = bytearray()
    while len(data) < size and (block := stream.read(min(BLOCK, size - len(data)))):
        data += block
    return data
