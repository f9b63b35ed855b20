"""The 28×28 pictures: from files, else downloaded, else scikit-learn's embedded digits.

    pictures = load("auto")      # MNIST from files or the network, else the embedded digits, with a notice
    pictures.images              # uint8 [N, 28, 28]

The book's and note 6's ``paddle.dataset.mnist`` reads the same files from the same folder. Keras's npz, CSV files and
EMNIST's mat are read as well, see `common.data.array_files`.
"""

import hashlib
import re
import string
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.array_files import SUFFIXES, NoSuchPart, Table, idx_md5, read_idx, read_table
from common.data.catalogue import IDX, PREFIXES, PUBLISHED, compare, emnist_classes
from common.data.download import Unavailable, complete
from common.errors import UserError, announce
from common.files import cache_folder, cannot_read, exists, expanded, junk, kind_of, refuse_pipe

CHOICES = ("auto", *PUBLISHED, "digits")
IMAGES = re.compile(r"(.+)-images[-.]idx3-ubyte(?:\.gz)?")  # the names of idx files of pictures
TABLES = r".+\.(?:npz|csv|csv\.gz|mat)"  # names of files in a user's own folder, in place of `Published.tables`
DEPTH = 2  # levels of sub-folders that are searched, because archives and libraries make some: MNIST/raw, gzip


@dataclass(frozen=True)
class Pictures:
    """A set of pictures in memory.

    Attributes:
        name: "MNIST", "Fashion-MNIST", "EMNIST balanced-train", "digits": for titles.
        images: uint8 [N, H, W], 0 black to 255 white, or [N, H, W, 3]; grey 28×28 for all published sets.
        labels: whole numbers [N], or None where the folder has pictures without labels.
        classes: the names of the classes, ``classes[label]``.
        source: the folder, or "embedded in scikit-learn".
        checksum: md5 over images and labels as loaded, hexadecimal. Of a table brought to another size: the md5
            of its images, and behind it that of its labels.
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
    """A part of a data set is missing, or does not exist. A file that is there but damaged raises `UserError`."""


def load(dataset="auto", data_dir=None, split="train", download=True, write=True):
    """The pictures of a data set.

    Args:
        dataset: ``auto`` takes MNIST from ``data_dir``, else from the network, else the embedded digits
            (with a notice, and ``fallback`` set). ``mnist``, ``fashion`` and ``emnist`` never fall back.
            ``digits`` asks for the embedded digits.
        data_dir: a folder with idx files (packed or not), npz, CSV or mat files; its sub-folders are searched if it
            has no such file itself. Or one npz, CSV or mat file. Or the idx file with the images of one part of
            EMNIST, which becomes the training part. None: Paddle's cache folder.
        split: ``train`` or ``test``.
        download: False forbids the network.
        write: False writes nothing: in place of a set that would have to be downloaded or unpacked first, the result
            is noise of its size, see `stand_in`, and a message says so.

    Returns:
        `Pictures`.

    Raises:
        UserError: a file is missing, unreadable, damaged or of another kind. ``auto`` raises it too:
            a file that is there but damaged is never passed over in silence.
    """
    if dataset not in CHOICES or split not in ("train", "test"):
        raise UserError(f"there is no data set {dataset!r} with a part {split!r}; choose one of "
                        f"{', '.join(CHOICES)} and train or test")
    if dataset == "digits":
        return _digits(split)
    key = "mnist" if dataset == "auto" else dataset
    place = expanded(data_dir) if data_dir else cache_folder(PUBLISHED[key].folder)
    refuse_pipe(place)
    if exists(place) and not place.is_dir():
        return _of_file(key, place, split)
    if not exists(place) and (_emnist_part(place.name) or place.name.lower().endswith(SUFFIXES)):
        raise NotThere(f"there is no file {place}; name one that is there, or a folder")
    found = _find(key, place, split)
    packed = key == "emnist" and any(exists(place / name) for name in PUBLISHED[key].downloads)
    if found is None and not write and (download or packed):
        return stand_in(key, place, falls_back=dataset == "auto")
    try:
        if found is None:
            unpacked = complete(PUBLISHED[key], _wanted(key, split), place, download)
            found = _find(key, unpacked, split)
    except Unavailable as reason:
        if dataset == "auto":
            pictures = _digits(split, fallback=True)
            announce_fallback(place, reason)
            return pictures
        wanted = " and ".join(_wanted(key, split))
        raise NotThere(f"{PUBLISHED[key].name} is not in {place} ({reason}); put {wanted} there, "
                       "or name their folder with --data_dir") from None
    return _read(key, *found, split, str(place))


def stand_in(key, place, falls_back):
    """Noise with the size, the number and the classes of a published training set; a message says why.

    Args:
        key: of `PUBLISHED`.
        place: the folder that the set is not in.
        falls_back: whether a run without a network would train on the embedded digits.
    """
    published = PUBLISHED[key]
    otherwise = ", or without a network train on the few embedded digits" if falls_back else ""
    print(f"{published.name} is not in {place}: the run would bring it there first{otherwise}. A dry run downloads and "
          "unpacks nothing; it measures on noise of the same size", file=sys.stderr)
    count = published.pictures
    images = np.random.RandomState(0).randint(0, 256, (count, 28, 28), np.uint8)
    labels = (np.arange(count) % len(published.classes)).astype(np.uint8)
    name = published.name + " balanced-train" * (key == "emnist")
    return Pictures(name, images, labels, published.classes, str(place), "")


def own(path):
    """Read a user's own data set from the file formats of the published sets: idx, npz, CSV or mat.

    Args:
        path: the file, or a folder.

    Returns:
        `Pictures` under the name of the file or folder; None when the folder has no file of these formats.

    Raises:
        UserError: as `load`.
    """
    path = expanded(path)
    if path.is_dir():
        found = _find(None, path, "train")
        return found and _read(None, *found, "train", str(path))
    return _of_file(None, path, "train")


def announce_fallback(folder, reason):
    """Say on stderr, in a box, that the run uses the embedded digits in place of MNIST, why, and what to do."""
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


def _find(key, folder, split):
    """Find the files with the pictures of a split.

    Args:
        key: of `PUBLISHED`; None for a user's own data set.

    Returns:
        (folder, prefix of the idx files) or (path of a table, None); None if there are no files.

    Raises:
        UserError: several sub-folders hold them, or the folder cannot be read.
    """
    level = [folder] if exists(folder) else []
    for depth in range(DEPTH + 1):
        found = [each for each in (_find_here(key, path, split) for path in level) if each]
        if len(found) > 1:
            named = [each for each in found if _names(key) & {part.lower() for part in each[0].parts}]
            found = named if len(named) == 1 else found
        if len(found) > 1:
            raise UserError(f"{folder} holds several sets, in {found[0][0]} and {found[1][0]}; name one of them")
        if found:
            if depth:
                print(f"{folder}: reading {found[0][0]}", file=sys.stderr)
            return found[0]
        level = [path for each in level for path in _listing(each) if path.is_dir()] if depth < DEPTH else []
    return None


def _names(key):
    """The names that a published set's folder may have, in small letters."""
    name = PUBLISHED[key].name.lower() if key else ""
    return {key, name, name.replace("-", ""), name.replace("-", "_")}


def _listing(folder):
    """The entries of a folder, sorted, without files of the operating system such as .DS_Store."""
    try:
        return sorted(path for path in folder.iterdir() if not junk(path.name))
    except OSError as error:
        raise cannot_read(folder, error) from None


def _find_here(key, folder, split):
    """`_find` in one folder: idx files first, then tables."""
    prefix = _prefix(key, folder, split)
    if prefix is not None:
        return folder, prefix
    pattern = re.compile(TABLES if key is None else PUBLISHED[key].tables.format(split), re.IGNORECASE)
    tables = [path for path in _listing(folder) if pattern.fullmatch(path.name) and path.is_file()]
    if key is None and len(tables) > 1:
        tables = [path for path in tables if split in path.name] or tables
    if key is None and len(tables) > 1:
        raise UserError(f"{folder} holds several sets, {tables[0].name} and {tables[1].name}; name one of them")
    tables.sort(key=lambda path: "balanced" not in path.name)  # EMNIST's balanced part goes first
    return (tables[0], None) if tables else None


def _of_file(key, path, split):
    """`Pictures` of the one file that the user has named."""
    found = IMAGES.fullmatch(path.name)
    prefix = found and found[1]
    if prefix and (key is None or (_emnist_part(path.name) if key == "emnist" else prefix in PREFIXES.values())):
        if split == "test" and prefix != PREFIXES["test"]:
            raise NotThere(f"{path} has no test part")
        return _read(key, path.parent, prefix, split, str(path))
    if not path.name.lower().endswith(SUFFIXES):
        with open(path, "rb") as stream:
            head = stream.read(512)
        from common.pictures.picture import is_picture  # with Pillow, for which --help need not wait

        if is_picture(path.name, lambda: head):
            raise UserError(f"{path} is one picture; name the folder that holds the pictures")
        kind = kind_of(head)
        unpack = "unpack it and " if "archive" in kind or "packed" in kind else ""
        raise UserError(f"{path} is a file" + (f", {kind}" if kind else "") + f", not an npz, CSV or mat file; "
                        f"{unpack}name the folder that holds the data files, or such a file")
    if split == "test" and path.name.lower().endswith((".csv", ".csv.gz")):
        raise NotThere(f"{path} has no test part")
    return _read(key, path, None, split, str(path))


def _read(key, place, prefix, split, source):
    """`Pictures` of the files that `_find` has found, after all checks."""
    if prefix is None:
        try:
            table = read_table(place, split)
        except NoSuchPart:
            raise NotThere(f"{place} has no {split} part") from None
        images_path = labels_path = place
        digests = [None if array is None else idx_md5(array) for array in table[:2]]
    else:
        table, digests, images_path, labels_path = _read_pair(place, prefix)
    images, labels, by_columns = table.images, table.labels, table.by_columns
    own_name = Path(source).resolve().name if Path(source).is_dir() else Path(source).name.partition(".")[0]
    published = PUBLISHED.get(key)
    name, classes = (published.name, published.classes) if published else (own_name, ())
    if published:
        split_prefix = prefix or PREFIXES[split]
        compare(published, split_prefix, "images", images, images_path, digests[0])
        if labels is not None:
            compare(published, split_prefix, "labels", labels, labels_path, digests[1])
    if key == "emnist":
        part = prefix or _emnist_table_part(place.name, split)
        name += f" {part.removeprefix('emnist-')}"
    if labels is not None:
        if key == "emnist":
            labels, classes = emnist_classes(place if prefix else place.parent, part, labels, table.mapping)
        elif published is None:
            known = np.unique(labels)
            labels = np.searchsorted(known, labels).astype(np.uint8 if len(known) < 256 else np.int64)
            classes = tuple((table.mapping or {}).get(label, str(label)) for label in known.tolist())
        if labels.max() >= len(classes):
            raise UserError(f"{labels_path} has the label {labels.max()}, but {name} has only "
                            f"{len(classes)} classes; take the labels of this set")
        labels = labels.astype(np.uint8) if len(classes) <= 256 else labels
    if by_columns or images_path.name.lower().startswith("emnist") or key == "emnist":  # stored column by column
        images = np.ascontiguousarray(images.swapaxes(1, 2))
    return _pictures(name, images, labels, classes, source)


def _read_pair(folder, prefix):
    """The two idx files whose names begin with ``prefix``: `Table`, their md5, their paths."""
    images_path, labels_path = _idx_path(folder, prefix, "images"), _idx_path(folder, prefix, "labels")
    images, images_md5 = read_idx(images_path)
    if images.ndim != 3:
        raise UserError(f"{images_path} holds {_kind(images)} where images are expected; take the right file")
    if not images.size:
        raise UserError(f"{images_path} holds no pictures; replace the file")
    if labels_path is None:
        return Table(images, None), (images_md5, None), images_path, None
    labels, labels_md5 = read_idx(labels_path)
    if labels.ndim != 1:
        raise UserError(f"{labels_path} holds {_kind(labels)} where labels are expected; take the right file")
    if len(labels) != len(images):
        raise UserError(f"{images_path} has {len(images)} pictures, but {labels_path} {len(labels)} "
                        "labels; take both files from one set")
    return Table(images, labels), (images_md5, labels_md5), images_path, labels_path


def _kind(array):
    return {1: "labels", 3: "images"}.get(array.ndim, f"an array of shape {array.shape}")


def _pictures(name, images, labels, classes, source, fallback=False):
    digest = hashlib.md5(images)
    if labels is not None:
        digest.update(labels)
    return Pictures(name, images, labels, classes, source, digest.hexdigest(), fallback)


def _wanted(key, split):
    """The names of the two files that a split consists of, as published."""
    prefix = f"emnist-balanced-{split}" if key == "emnist" else PREFIXES[split]
    return f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"


def _prefix(key, folder, split):
    """The common beginning of the names of a split's two idx files; None if there is no file of images.

    EMNIST has six parts. The balanced part goes first, then any part with the right split, then any part at all.
    """
    if key not in (None, "emnist"):
        return PREFIXES[split] if _idx_path(folder, PREFIXES[split], "images") else None
    names = [path.name for path in _listing(folder)]
    if key is None:
        prefixes = {found[1] for found in map(IMAGES.fullmatch, names) if found}
        return min(prefixes, default=None, key=lambda prefix: ("train" not in prefix, prefix))
    return min(filter(None, map(_emnist_part, names)), default=None, key=lambda prefix: (
        prefix != f"emnist-balanced-{split}", not prefix.endswith(split), prefix))


def _emnist_part(name):
    """``emnist-PART`` of the name of a part's file of images; None for any other file."""
    found = IMAGES.fullmatch(name)
    return found[1] if found and found[1].startswith("emnist-") else None


def _emnist_table_part(name, split):
    """``emnist-PART-SPLIT``, as in the names of idx files, from the name of a table."""
    stem = re.sub(r"(\.csv)?\.(gz|csv|mat|npz)$", "", name.lower()).removeprefix("emnist-")
    return f"emnist-{stem.removesuffix(f'-{split}')}-{split}"


def _idx_path(folder, prefix, kind):
    """The path of an idx file, or None. It may be packed or plain, and have a dot before "idx" as in some archives.

    Some archives unpack each file into a folder with the file's name.
    """
    names = [f"{prefix}-{kind}{sign}{IDX[kind]}-ubyte{end}" for sign in "-." for end in (".gz", "")]
    there = [folder / name for name in names if exists(folder / name)]
    inner = [path / name for path in there if path.is_dir() for name in names if (path / name).is_file()]
    return next(iter([path for path in there if path.is_file()] + inner + there), None)


# -- embedded digits -----------------------------------------------------------------------------------


def _digits(split, fallback=False):
    """scikit-learn's 1797 handwritten digits, 8×8 with values 0 to 16, made to look like MNIST.

    As in MNIST, the digit fills about 20×20 pixels in the middle of a black picture of 28×28. A cubic spline enlarges
    the digit; then the contrast is raised until the shares of black, white and grey pixels are about MNIST's.
    """
    if split == "test":
        raise NotThere("the embedded digits have no test part")
    from scipy import ndimage
    from sklearn.datasets import load_digits

    digits = load_digits()
    # A spline is linear, so one matrix enlarges the rows and columns of all pictures, far faster than `zoom` does.
    spline = ndimage.zoom(np.eye(8), (2.5, 1), order=3, mode="grid-constant", grid_mode=True)  # [20, 8]
    large = spline @ (digits.images / 16) @ spline.T  # [1797, 20, 20]
    large = np.clip((large - 0.2) / 0.65, 0, 1)
    images = np.pad(np.round(large * 255).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
    return _pictures("digits", images, digits.target.astype(np.uint8), tuple(string.digits),
                     "embedded in scikit-learn", fallback)
