"""The 28×28 pictures: from files, else downloaded, else the digits that scikit-learn brings along.

    pictures = load("auto")      # MNIST if it can be had, else the embedded digits, loudly
    pictures.images              # uint8 [N, 28, 28]

The book's and note 6's ``paddle.dataset.mnist`` reads the same files from the same folder.
"""

import gzip
import hashlib
import re
import shutil
import string
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.download import Unavailable, fetch
from common.errors import UserError
from common.files import expanded, replacing

CHOICES = ("auto", "mnist", "fashion", "emnist", "digits")
DEFAULT_DIR = {  # Paddle's own cache: what `paddle.vision.datasets` has downloaded is found
    "mnist": Path("~/.cache/paddle/dataset/mnist"),
    "fashion": Path("~/.cache/paddle/dataset/fashion-mnist"),
    "emnist": Path("~/.cache/paddle/dataset/emnist"),
}

LARGEST_IDX = 1 << 30  # bytes; EMNIST's largest part, by class, has 547 million


@dataclass(frozen=True)
class Pictures:
    """A set of pictures in memory.

    Attributes:
        name: "MNIST", "Fashion-MNIST", "EMNIST balanced-train", "digits": for titles.
        images: uint8 [N, H, W], 0 black to 255 white, or [N, H, W, 3]; grey 28×28 for all published sets.
        labels: whole numbers [N], or None where the folder has pictures without labels.
        classes: the names of the classes, ``classes[label]``.
        source: the folder, or "embedded in scikit-learn".
        checksum: md5 over images and labels as loaded, hexadecimal.
        fallback: True when ``auto`` had to take the embedded digits.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    source: str
    checksum: str
    fallback: bool = False


@dataclass(frozen=True)
class _Published:
    """What is known of a published set: where it is had, and the md5 of its files."""

    name: str
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    downloads: dict[str, str]  # file on the mirrors: its md5
    contents: dict[str, str]  # file: md5 of what is inside the .gz, whoever packed it
    limit: int = 100_000_000  # bytes that a mirror may send for one file


# EMNIST's 47 classes: lower-case letters that look like their capitals are merged with them.
_EMNIST_47 = string.digits + string.ascii_uppercase + "abdefghnqrt"

PUBLISHED = {
    "mnist": _Published(
        name="MNIST",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://dataset.bj.bcebos.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        classes=tuple(string.digits),
        downloads={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        contents={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
    "fashion": _Published(
        name="Fashion-MNIST",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://dataset.bj.bcebos.com/fashion_mnist/",
        ),
        classes=("t-shirt", "trouser", "pullover", "dress", "coat",
                 "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        downloads={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        contents={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
    "emnist": _Published(
        name="EMNIST",
        # No other public address serves this archive; NIST's older one answers with a page of text.
        mirrors=("https://biometrics.nist.gov/cs_links/EMNIST/",),
        classes=tuple(_EMNIST_47),
        downloads={"gzip.zip": "58c8d27c78d21e728a6bc7b3cc06412e"},  # every part of EMNIST in one archive
        contents={},
        limit=700_000_000,
    ),
}


class NotThere(UserError):
    """A part of a data set that is not at hand, or that does not exist. What is at hand but bad is no case of it."""


def load(dataset="auto", data_dir=None, split="train", download=True):
    """The pictures of a data set.

    Args:
        dataset: ``auto`` takes MNIST from ``data_dir``, else from the network, else the embedded digits
            (with a notice, and ``fallback`` set). ``mnist``, ``fashion`` and ``emnist`` never fall back.
            ``digits`` asks for the embedded ones.
        data_dir: the folder of the idx files, packed or not; Paddle's cache folder unless given. Of EMNIST it may be
            one part's file of images, which then is the training part.
        split: ``train`` or ``test``.
        download: False forbids the network.

    Returns:
        `Pictures`.

    Raises:
        UserError: a file is missing, unreadable, damaged or of another kind. ``auto`` raises it too:
            files that are there but bad are never passed over in silence.
    """
    if dataset not in CHOICES or split not in ("train", "test"):
        raise UserError(f"there is no data set {dataset!r} with a part {split!r}; choose one of "
                        f"{', '.join(CHOICES)} and train or test")
    if dataset == "digits":
        return _digits(split)
    key = "mnist" if dataset == "auto" else dataset
    folder = expanded(data_dir or DEFAULT_DIR[key])
    if _exists(folder) and not folder.is_dir():
        part = _emnist_part(folder.name) if key == "emnist" else None
        if part is None:
            raise UserError(f"{folder} is a file; --data_dir wants the folder that holds the data files")
        if split == "test":
            raise NotThere(f"{folder} has no test part")
        return _from_prefix(key, folder.parent, part, str(folder))
    if key == "emnist" and _emnist_part(folder.name) and not _exists(folder):
        raise NotThere(f"there is no file {folder}; name one that is there, or a folder for EMNIST's balanced part")
    try:
        return _from_files(key, folder, split, download)
    except Unavailable as reason:
        if dataset == "auto":
            pictures = _digits(split, fallback=True)
            announce_fallback(folder, reason)
            return pictures
        wanted = " and ".join(_wanted(key, split))
        raise NotThere(f"{PUBLISHED[key].name} is not in {folder} ({reason}); put {wanted} there, "
                       "or name their folder with --data_dir") from None


def announce_fallback(folder, reason):
    """Say on stderr, in a box, that the run goes on with other pictures than MNIST, why, and what to do."""
    lines = [
        "NOT MNIST: this run uses the 1797 small digits that come with scikit-learn.",
        "They are 8x8, enlarged to 28x28. Losses and pictures will differ from the tutorial's.",
        "",
        f"MNIST is not in {folder}",
        *(f"  {part}" for part in str(reason).split("; ")),
        "",
        "To have MNIST, do one of these:",
        f"  put {_wanted('mnist', 'train')[0]} and the three other files into that folder,",
        "      or name the folder that holds them: --data_dir FOLDER",
        "  run again with a network: they are downloaded (11 MB)",
        "To have these digits without this notice: --dataset digits",
    ]
    announce(lines)


def announce(lines):
    """Print lines on stderr, in a box."""
    width = max(map(len, lines))
    edge = "+" + "-" * (width + 2) + "+"
    print(edge, *(f"| {line:<{width}} |" for line in lines), edge, sep="\n", file=sys.stderr, flush=True)


def read_idx(path):
    """The array in an idx file of unsigned bytes, plain or gzip-compressed, whatever its name says.

    Returns:
        uint8 array of the file's own shape, read whole: not a byte less or more than its header says.

    Raises:
        UserError: unreadable, truncated, damaged, or no idx file.
    """
    return _read_idx(path)[0]


# -- files ---------------------------------------------------------------------------------------------


def _from_files(key, folder, split, download):
    """`Pictures` of the idx files in a folder; what is missing there is downloaded first."""
    prefix = _prefix(key, folder, split)
    if prefix is None:
        _complete(key, folder, split, download)
        prefix = _prefix(key, folder, split)
    return _from_prefix(key, folder, prefix, str(folder))


def _from_prefix(key, folder, prefix, source):
    """`Pictures` of the two files whose names begin with ``prefix``."""
    published = PUBLISHED[key]
    images_path, labels_path = _idx_path(folder, prefix, "images"), _idx_path(folder, prefix, "labels")
    images, digest = _read_idx(images_path)
    if images.ndim != 3:
        raise UserError(f"{images_path} holds {_kind(images)} where images are expected; take the right file")
    if not images.size:
        raise UserError(f"{images_path} holds no pictures; replace the file")
    _compare(published, prefix, "images", images, images_path, digest)
    labels, classes = None, published.classes
    if labels_path is not None:
        labels, digest = _read_idx(labels_path)
        if labels.ndim != 1:
            raise UserError(f"{labels_path} holds {_kind(labels)} where labels are expected; "
                            "take the right file")
        if len(labels) != len(images):
            raise UserError(f"{images_path} has {len(images)} pictures, but {labels_path} {len(labels)} "
                            "labels; take both files from one set")
        _compare(published, prefix, "labels", labels, labels_path, digest)
        if key == "emnist":
            labels, classes = _emnist_classes(folder, prefix, labels)
        if labels.max() >= len(classes):
            raise UserError(f"{labels_path} has the label {labels.max()}, but {published.name} has only "
                            f"{len(classes)} classes; take the labels of this set")
    if key == "emnist":  # stored column by column
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    part = f" {prefix.removeprefix('emnist-')}" if key == "emnist" else ""
    return _pictures(published.name + part, images, labels, classes, source)


def _pictures(name, images, labels, classes, source, fallback=False):
    digest = hashlib.md5(images)
    if labels is not None:
        digest.update(labels)
    return Pictures(name, images, labels, classes, source, digest.hexdigest(), fallback)


def _wanted(key, split):
    """The names of the two files that a split consists of, as published."""
    prefix = f"emnist-balanced-{split}" if key == "emnist" else {"train": "train", "test": "t10k"}[split]
    return f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"


def _prefix(key, folder, split):
    """What the names of the images and labels files of the split begin with, or None without images.

    EMNIST has six parts: the balanced one goes first, then any of the right split, then any at all.
    """
    if key != "emnist":
        prefix = "train" if split == "train" else "t10k"
        return prefix if _idx_path(folder, prefix, "images") else None
    try:
        names = [entry.name for entry in folder.iterdir()] if _exists(folder) else []
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; check its permissions") from None
    return min(filter(None, map(_emnist_part, names)), default=None, key=lambda prefix: (
        prefix != f"emnist-balanced-{split}", not prefix.endswith(split), prefix))


def _emnist_part(name):
    """``emnist-PART`` of the name of a part's file of images; None for any other file."""
    found = re.fullmatch(r"(emnist-.+)-images[-.]idx3-ubyte(\.gz)?", name)
    return found and found[1]


def _idx_path(folder, prefix, kind):
    """The path of a file, packed, plain, or with the dot that some archives have in its name; or None."""
    idx = {"images": "idx3", "labels": "idx1"}[kind]
    names = [f"{prefix}-{kind}{sign}{idx}-ubyte{end}" for sign in "-." for end in (".gz", "")]
    return next((folder / name for name in names if _exists(folder / name)), None)


def _exists(path):
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    return True


def _read_idx(path):
    """`read_idx` and the md5 of the unpacked file."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            header = stream.read(4)
            if len(header) < 4 or header[:3] != b"\0\0\x08" or not 1 <= header[3] <= 4:
                raise UserError(f"{path} is no idx file of bytes (it begins with {header!r}); "
                                "delete it and run again, or take the right file")
            dimensions = stream.read(4 * header[3])
            shape = tuple(map(int, np.frombuffer(dimensions[:len(dimensions) // 4 * 4], ">u4")))
            size = int(np.prod(shape, dtype=object))
            if size > LARGEST_IDX:
                raise UserError(f"{path} claims to hold {size} bytes, more than any known set; "
                                "delete it and run again")
            data = _read_upto(stream, size + 1)  # one more than there should be, to see the end
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the name") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; put a readable file there") from None
    if len(shape) != header[3] or len(data) != size:
        lack = "is cut short" if len(shape) != header[3] or len(data) < size else "has bytes behind its end"
        raise UserError(f"{path} {lack}: its header promises {shape}; delete it and run again")
    return np.frombuffer(data, np.uint8).reshape(shape), hashlib.md5(header + dimensions + data).hexdigest()


def _read_upto(stream, size):
    """Up to ``size`` bytes, in blocks: memory grows with what is there, not with what a header claims."""
    data = bytearray()
    while len(data) < size and (block := stream.read(min(1 << 20, size - len(data)))):
        data += block
    return data


def _kind(array):
    return {1: "labels", 3: "images"}.get(array.ndim, f"an array of shape {array.shape}")


def _compare(published, prefix, kind, array, path, digest):
    """Refuse a file that has the name and the count of a published one, but not its content.

    Files with other counts are the user's own, and welcome.
    """
    name = f"{prefix}-{kind}-" + {"images": "idx3", "labels": "idx1"}[kind] + "-ubyte"
    if name not in published.contents or len(array) != (60000 if prefix == "train" else 10000):
        return
    if digest != published.contents[name]:
        for key, other in PUBLISHED.items():
            if digest in other.contents.values():
                raise UserError(f"{path} is a file of {other.name}, not this file of {published.name}; "
                                f"run with --dataset {key}, or name another folder with --data_dir")
        raise UserError(f"{path} is altered or damaged: the md5 of its content is {digest}, published "
                        f"{published.contents[name]}; delete it and run again")


def _emnist_classes(folder, prefix, labels):
    """Labels that count from 0, and the names of the classes.

    From ``emnist-PART-mapping.txt`` beside the files (lines "label code"), else as known for the part:
    the letters count from 1.
    """
    part = prefix.removeprefix("emnist-").split("-")[0]
    path = folder / f"emnist-{part}-mapping.txt"
    if _exists(path):
        try:
            rows = [line.split()[:2] for line in path.read_text().splitlines() if line.strip()]
            mapping = {int(label): chr(int(code)) for label, code in rows}
        except (ValueError, OverflowError, OSError) as error:
            raise UserError(f"cannot read {path}: {error}; delete it, or replace it") from None
    elif part == "letters":
        mapping = dict(enumerate(string.ascii_uppercase, start=1))
    else:
        names = {"digits": string.digits, "mnist": string.digits,
                 "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase}
        mapping = dict(enumerate(names.get(part, _EMNIST_47)))
    unknown = set(np.unique(labels).tolist()) - set(mapping)
    if unknown:
        raise UserError(f"the labels of {prefix} in {folder} include {min(unknown)}, which has no name; "
                        f"put {path.name} beside them")
    known = np.array(sorted(mapping))
    return np.searchsorted(known, labels).astype(np.uint8), tuple(mapping[label] for label in known.tolist())


# -- embedded digits -----------------------------------------------------------------------------------


def _digits(split, fallback=False):
    """scikit-learn's 1797 handwritten digits, 8×8 with values 0 to 16, made to look like MNIST.

    As in MNIST the digit fills about 20×20 pixels in the middle of a black 28×28. A cubic spline enlarges
    it; the contrast is then raised until black, white and edges have about MNIST's shares.
    """
    if split == "test":
        raise NotThere("the embedded digits have no test part; name a folder with MNIST's "
                       f"{' and '.join(_wanted('mnist', 'test'))} with --data_dir")
    from scipy import ndimage
    from sklearn.datasets import load_digits

    digits = load_digits()
    # A spline is linear: this matrix enlarges rows and columns, far faster than `zoom` of all pictures.
    spline = ndimage.zoom(np.eye(8), (2.5, 1), order=3, mode="grid-constant", grid_mode=True)  # [20, 8]
    large = spline @ (digits.images / 16) @ spline.T  # [1797, 20, 20]
    large = np.clip((large - 0.2) / 0.65, 0, 1)
    images = np.pad(np.round(large * 255).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
    return _pictures("digits", images, digits.target.astype(np.uint8), tuple(string.digits),
                     "embedded in scikit-learn", fallback)


# -- download ------------------------------------------------------------------------------------------


def _complete(key, folder, split, download):
    """Bring the files of a split into the folder."""
    published = PUBLISHED[key]
    wanted = _wanted(key, split)
    # Labels first: where the images are, the set is complete. The mirrors' names are those of `wanted`,
    # but for EMNIST, which is one archive.
    names = [name for name in reversed(wanted) if name in published.downloads] or list(published.downloads)
    mirrors = list(published.mirrors)
    for name in names:
        if _exists(folder / name):
            continue
        if not download:
            raise Unavailable("--no_download forbids downloading it")
        mirror = fetch(name, mirrors, folder, published.downloads[name], published.limit)
        mirrors.sort(key=lambda other, good=mirror: other != good)  # do not wait for a dead one again
    if key == "emnist":
        _unpack(folder / names[0], wanted, published.limit)


def _unpack(archive, names, limit):
    """Take single files, and the mapping of their labels, out of a zip archive, beside it."""
    try:
        with zipfile.ZipFile(archive) as stored:
            members = {Path(info.filename).name: info for info in stored.infolist()}
            if missing := [name for name in names if name not in members]:
                raise UserError(f"{archive} has no {missing[0]}; delete it and run again")
            for name in sorted({"emnist-balanced-mapping.txt", *names} & set(members), reverse=True):
                if members[name].file_size > limit:
                    raise UserError(f"{name} in {archive} is too large; delete the archive and run again")
                # mapping, then labels, then images: these last, because they stand for the whole set
                with stored.open(members[name]) as source, replacing(archive.parent / name) as path, \
                        path.open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive} is damaged ({error}); delete it and run again") from None
