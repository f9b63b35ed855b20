"""Pictures in a folder of one's own: class sub-folders of picture files, or picture files alone."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.datafiles import Pictures
from common.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
GREY, DEEP = {"1", "L", "LA"}, ("I", "F")  # modes of Pillow, the latter of more than 8 bits
SIZE = 28  # pixels of height and width that ``--resize`` alone means


def load(folder, size=None):
    """Read all pictures of a folder.

    Args:
        folder: its sub-folders are the classes, sorted by name; without sub-folders there are no labels.
            Hidden files, and files that are no pictures by their suffix, are passed over.
        size: (height, width) that all pictures are brought to by nearest neighbour; None wants them alike.

    Returns:
        `Pictures`: images [N, H, W], or [N, H, W, 3] when any of them has colours.

    Raises:
        UserError: no such folder, nothing in it, a class without pictures, a file that cannot be read, or
            pictures of several sizes.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no data set and no folder {str(folder)!r}; name a folder with a sub-folder "
                        "of pictures for each class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files, labels = [], []
    for number, path in enumerate(classes or [folder]):
        found = sorted(file for file in path.iterdir()
                       if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
        if not found:
            raise UserError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))}); put some there"
                            + (", or take the folder away" if classes else
                               "; a folder of idx files goes with --dataset mnist and --data_dir"))
        files += found
        labels += [number] * len(found)

    colours = any(mode(file) not in GREY for file in files)
    images = [read(file, "RGB" if colours else "L", size) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(f"pictures of several sizes: {files[0]} has {pixels(images[0])}, {file} {pixels(image)}; "
                            f"--resize brings all to {SIZE}×{SIZE}")
    images = np.stack(images)
    labels = np.array(labels) if classes else None
    digest = hashlib.md5(images)
    digest.update(str(None if labels is None else labels.tolist()).encode())
    return Pictures(folder.resolve().name, images, labels, tuple(path.name for path in classes), str(folder),
                    digest.hexdigest())


def mode(file):
    """Pillow's name for the kind of pixels in a file, without reading them."""
    with opened(file) as image:
        if image.mode.startswith(DEEP):
            raise UserError(f"{file} has more than 8 bits a pixel; save it with 8")
        return image.mode


def read(file, mode, size):
    """One picture as uint8 [H, W] or [H, W, 3]."""
    with opened(file) as image:
        try:
            image = image.convert(mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"cannot read {file}: {error}; replace the file, or take it away") from None
        if size:
            image = image.resize(size[::-1], Image.Resampling.NEAREST)
        return np.array(image)


def opened(file):
    """The file opened by Pillow."""
    try:
        return Image.open(file)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"cannot read {file}: {reason}; replace the file, or take it away") from None


def pixels(image):
    """Width × height, as people say it."""
    return f"{image.shape[1]}×{image.shape[0]}"
