"""Read a user's own folder of pictures: one sub-folder for each class, or picture files without classes."""

import hashlib
import sys
from dataclasses import replace

import numpy as np
from PIL import Image
from tqdm import tqdm

from common.data import datasets
from common.data.datasets import Pictures
from common.errors import UserError, say, terminal
from common.files import CROP_RECORD, cannot_read, expanded, junk, ours
from common.pictures.picture import BadPicture, common_span, decode, extremes, is_picture, read_file, rgb, span_note

SIZE = 28  # pixels of height and width when ``--resize`` is given without a size
LARGEST = 512  # pixels of height and width that stay as they are; the networks of larger pictures fill the memory
DARK = 32  # of 255: sets without a brighter pixel are nearly black
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
SHOWN = 3  # names in a message about files that are passed over


def load(folder, size=None, fit=None):
    """Read all pictures of a folder.

    Pictures of more than 8 bits a channel are scaled by the range of values in the whole set; a message says so. The
    operating system's own files are passed over in silence. Other files that are no pictures, and files that our
    commands have written, are passed over with a message. But where there is nothing else, cropped pictures are read.

    Args:
        folder: its sub-folders are the classes, sorted by name; without sub-folders there are no labels. A file, or a
            folder without picture files, may hold pictures as idx, npz, CSV or mat, see `common.data.datasets.own`.
        size: (height, width); all pictures are brought to it by nearest neighbour. None: all must have one size.
        fit: pixels of height and width. All pictures become grey; the middle square of a picture of another size is
            scaled to ``fit`` × ``fit``, and a message says so.

    Returns:
        `Pictures`: images [N, H, W], or [N, H, W, 3] when any of them has colours.

    Raises:
        UserError: there is no such folder; it is empty; a class has no pictures; there are pictures beside the
            classes; a file cannot be read; or the pictures have several sizes.
    """
    folder = expanded(folder)
    if folder.is_file():
        return _brought_all(datasets.own(folder), size, fit)
    found, passed, classes = _classes(folder)
    if not any(found.values()):
        if pictures := datasets.own(folder):
            return _brought_all(pictures, size, fit)
        found, passed, classes = _classes(folder, crops=True)
    if classes and found[folder]:
        raise UserError(f"{found[folder][0]} lies beside the folders of the classes; "
                        "put each picture there into the folder of its class, or take it away")
    files, labels = [], []
    for number, path in enumerate(classes or [folder]):
        if not found[path]:
            raise UserError(_nothing(folder, path, classes))
        files += found[path]
        labels += [number] * len(found[path])
    if passed:
        names = ", ".join(str(path.relative_to(folder)) for path in passed[:SHOWN])
        more = f" and {len(passed) - SHOWN} more" if len(passed) > SHOWN else ""
        say(f"passed over, for they are no pictures of a class: {names}{more}")

    images = _read_all(files, size, fit)
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(f"pictures of several sizes: {files[0]} has {pixels(images[0])}, {file} {pixels(image)}; "
                            f"train.py's --resize brings all to {SIZE}×{SIZE}")
    images = np.stack(images)
    if images.ndim == 4 and (images == images[..., :1]).all():  # the set is grey, although stored with three channels
        images = np.ascontiguousarray(images[..., 0])
    if images.max() < DARK:
        print(f"note: no pixel is brighter than {images.max()} of 255, the pictures are nearly black; "
              "spread their values over 0 to 255 if they should not be", file=sys.stderr)
    labels = np.array(labels) if classes else None
    digest = hashlib.md5(images)
    digest.update(str(None if labels is None else labels.tolist()).encode())
    return Pictures(folder.resolve().name, images, labels, tuple(path.name for path in classes), str(folder),
                    digest.hexdigest())


def _classes(folder, crops=False):
    """List a folder and its sub-folders.

    Args:
        folder: of the user.
        crops: whether sub-folders that `common.crop.crop_folder` has written are classes, too.

    Returns:
        (pictures, passed over, classes): {folder: its picture files}, first for the folder itself, then for each
        class; the paths that are passed over; the folders of the classes.
    """
    try:
        if not folder.is_dir():
            raise UserError(f"there is no data set and no folder {str(folder)!r}; choose one of "
                            f"{', '.join(datasets.CHOICES)}, or name a folder of pictures")
        above = {folder.resolve(), *folder.resolve().parents}
        folders = sorted(path for path in folder.iterdir()
                         if path.is_dir() and not junk(path.name) and path.resolve() not in above)
        passed = [path for path in folders
                  if ours(path) and not (crops and path.with_name(path.name + CROP_RECORD).is_file())]
        classes = [path for path in folders if path not in passed]
        found = {}
        for path in (folder, *classes):
            pictures, others = _sorted_out(path)
            found[path] = pictures
            passed += others
            if path != folder and pictures:
                passed += sorted(each for each in path.iterdir() if each.is_dir() and not junk(each.name)
                                 and each not in pictures)
    except OSError as error:
        raise cannot_read(error.filename, error) from None
    for path in (folder, *classes):
        try:
            path.name.encode()
        except UnicodeEncodeError:  # a name that is no UTF-8 fits neither a title nor config.json
            raise UserError(f"the name of the folder {str(path)!r} is no UTF-8; rename it") from None
    return found, passed, classes


def _nothing(folder, path, classes):
    """The message for a folder or class without pictures."""
    archives = [each.name for each in _sorted_out(path)[1] if each.name.lower().endswith(ARCHIVES)]
    if archives:
        return f"{path} holds no pictures, but the archive {archives[0]}; unpack it and name the folder of its pictures"
    if not classes:
        return f"{path} holds no pictures; name a folder of pictures, or of a sub-folder of pictures for each class"
    below = sorted((each for each in classes if any(inner.is_dir() and not junk(inner.name) and pictures_in(inner)
                                                    for inner in each.iterdir())),
                   key=lambda each: not each.name.lower().startswith("train"))
    if below:
        return (f"{folder} holds no pictures; the sub-folders of {', '.join(each.name for each in sorted(below))} do: "
                f"name {below[0]} for its classes")
    return f"{path} holds no pictures; put some there, or take the folder away"


def pictures_in(folder):
    """The picture files in a folder, sorted by name."""
    return _sorted_out(folder)[0]


def _sorted_out(folder):
    """(picture files, other files) of a folder; a picture is recognised by its suffix or its first bytes."""
    pictures, others = [], []
    for path in sorted(folder.iterdir()):
        if junk(path.name):
            continue
        if is_picture(path.name, lambda file=path: _head(file)):
            pictures.append(path)
        elif path.is_file():
            others.append(path)
    return pictures, others


def _head(file):
    """The first bytes of a file; no bytes of a pipe or device, because reading one could wait for ever."""
    if not file.is_file():
        return b""
    with open(file, "rb") as stream:
        return stream.read(32)


def _read_all(files, size, fit):
    """All pictures as arrays, uint8 [H, W, 3], or [fit, fit]; raises `UserError` if a picture cannot be read."""
    images, deep, sizes, several = [], {}, set(), []
    for number, file in enumerate(tqdm(files, unit=" pictures", leave=False, disable=not terminal(), delay=1)):
        picture = _decoded(file)
        if isinstance(picture, np.ndarray):  # it has to wait until the range of the whole set is known
            deep[number] = _checked(file, extremes, picture)
            picture = None
        elif picture.info.get("frames", 1) > 1:
            several.append(file)
        images.append(picture and _brought(picture, file, size, fit, sizes))
    span = common_span(deep.values())
    if span:
        print(span_note(span), file=sys.stderr)
    if several:
        say(f"note: files with several pictures or pages: {len(several)}, {several[0]} for one; the first is used")
    for number in deep:
        images[number] = _brought(rgb(_decoded(files[number]), span), files[number], size, fit, sizes)
    _announce_sizes(sizes, fit)
    return images


def _announce_sizes(sizes, fit):
    """Say on stderr which pictures were brought to another size."""
    if sizes:
        shown = ", ".join(f"{width}×{height}" for width, height in sorted(sizes)[:SHOWN])
        more = f" and {len(sizes) - SHOWN} other sizes" if len(sizes) > SHOWN else ""
        print(f"pictures of {shown}{more}: their middle squares are scaled to {fit}×{fit}", file=sys.stderr)


def _brought_all(pictures, size, fit):
    """`Pictures` of a table, brought to the wanted size and colours."""
    if not size and (not fit or pictures.images.shape[1:] == (fit, fit)):
        _refuse_large(pictures.source, pictures.images.shape[2:0:-1])
        return pictures
    sizes = set()
    images = np.stack([_brought(Image.fromarray(image), pictures.source, size, fit, sizes)
                       for image in pictures.images])
    if images.ndim == 4 and pictures.images.ndim == 3:
        images = np.ascontiguousarray(images[..., 0])
    _announce_sizes(sizes, fit)
    checksum = hashlib.md5(images).hexdigest()  # these 32 digits are all that a run of an earlier version has
    if pictures.labels is not None:
        checksum += hashlib.md5(pictures.labels).hexdigest()
    return replace(pictures, images=images, checksum=checksum)


def _refuse_large(where, size):
    """Refuse pictures of a size (width, height) beyond `LARGEST`."""
    if max(size) > LARGEST:
        raise UserError(f"{where} has {size[0]}×{size[1]} pixels, at most {LARGEST} a side can be trained on; "
                        f"train.py's --resize brings all to {SIZE}×{SIZE}")


def _decoded(file):
    return _checked(file, lambda: decode(read_file(file)))


def _checked(file, read, *args):
    """Call a reading function and return its result; a `UserError` names the file if it cannot be read."""
    try:
        return read(*args)
    except (BadPicture, OSError) as error:
        raise UserError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}; "
                        "replace the file, or take it away") from None


def _brought(picture, where, size, fit, sizes):
    """A Pillow image as an array of the wanted size and colours; ``sizes`` gets a size that ``fit`` changes.

    Raises:
        UserError: no size is wanted, and the picture is too large; ``where`` names it.
    """
    picture = rgb(picture)
    if not (size or fit):
        _refuse_large(where, picture.size)
    if size:
        picture = picture.resize(size[::-1], Image.Resampling.NEAREST)
    if fit and picture.size != (fit, fit):
        sizes.add(picture.size)
        short = min(picture.size)
        left, upper = (picture.width - short) // 2, (picture.height - short) // 2
        square = picture.crop((left, upper, left + short, upper + short))
        picture = square.resize((fit, fit), Image.Resampling.BILINEAR)
    return np.array(picture.convert("L") if fit else picture)


def pixels(image):
    """A picture's size as text, "width×height"."""
    return f"{image.shape[1]}×{image.shape[0]}"
