"""The 28×28 pictures: from files, else downloaded, else the digits that scikit-learn brings along.

    pictures = load("auto")      # MNIST if it can be had, else the embedded digits, loudly
    pictures.images              # uint8 [N, 28, 28]

The book's and note 6's ``paddle.dataset.mnist`` reads the same files from the same folder.
"""

import hashlib
import re
import shutil
import string
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.catalogue import PUBLISHED, compare, emnist_classes
from common.data.download import Unavailable, fetch
from common.data.idx import read_idx
from common.errors import UserError, announce
from common.files import exists, expanded, replacing

CHOICES = ("auto", "mnist", "fashion", "emnist", "digits")
DEFAULT_DIR = {  # Paddle's own cache: what `paddle.vision.datasets` has downloaded is found
    "mnist": Path("~/.cache/paddle/dataset/mnist"),
    "fashion": Path("~/.cache/paddle/dataset/fashion-mnist"),
    "emnist": Path("~/.cache/paddle/dataset/emnist"),
}



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
    if exists(folder) and not folder.is_dir():
        part = _emnist_part(folder.name) if key == "emnist" else None
        if part is None:
            raise UserError(f"{folder} is a file; --data_dir wants the folder that holds the data files")
        if split == "test":
            raise NotThere(f"{folder} has no test part")
        return _from_prefix(key, folder.parent, part, str(folder))
    if key == "emnist" and _emnist_part(folder.name) and not exists(folder):
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
    images, digest = read_idx(images_path)
    if images.ndim != 3:
        raise UserError(f"{images_path} holds {_kind(images)} where images are expected; take the right file")
    if not images.size:
        raise UserError(f"{images_path} holds no pictures; replace the file")
    compare(published, prefix, "images", images, images_path, digest)
    labels, classes = None, published.classes
    if labels_path is not None:
        labels, digest = read_idx(labels_path)
        if labels.ndim != 1:
            raise UserError(f"{labels_path} holds {_kind(labels)} where labels are expected; "
                            "take the right file")
        if len(labels) != len(images):
            raise UserError(f"{images_path} has {len(images)} pictures, but {labels_path} {len(labels)} "
                            "labels; take both files from one set")
        compare(published, prefix, "labels", labels, labels_path, digest)
        if key == "emnist":
            labels, classes = emnist_classes(folder, prefix, labels)
        if labels.max() >= len(classes):
            raise UserError(f"{labels_path} has the label {labels.max()}, but {published.name} has only "
                            f"{len(classes)} classes; take the labels of this set")
    if key == "emnist":  # stored column by column
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    part = f" {prefix.removeprefix('emnist-')}" if key == "emnist" else ""
    return _pictures(published.name + part, images, labels, classes, source)


def _kind(array):
    return {1: "labels", 3: "images"}.get(array.ndim, f"an array of shape {array.shape}")


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
        names = [entry.name for entry in folder.iterdir()] if exists(folder) else []
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
    return next((folder / name for name in names if exists(folder / name)), None)


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
        if exists(folder / name):
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
