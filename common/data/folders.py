"""Pictures in a folder of one's own: class sub-folders of picture files, or picture files alone."""

import hashlib

import numpy as np
from PIL import Image

from common.data.datasets import Pictures
from common.data.picture import BadPicture, read_file, read_image
from common.errors import UserError
from common.files import expanded

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
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
        UserError: no such folder, nothing in it, a class without pictures, pictures beside the classes, a file that
            cannot be read, or pictures of several sizes.
    """
    folder = expanded(folder)
    try:
        if not folder.is_dir():
            raise UserError(f"there is no data set and no folder {str(folder)!r}; name a folder with a sub-folder "
                            "of pictures for each class")
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        found = {path: pictures_in(path) for path in (folder, *classes)}
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; check its permissions") from None
    for path in (folder, *classes):
        try:
            path.name.encode()
        except UnicodeEncodeError:  # neither titles nor a run's config.json can hold it
            raise UserError(f"the name of the folder {str(path)!r} is no UTF-8; rename it") from None
    if classes and found[folder]:
        raise UserError(f"{found[folder][0]} lies beside the folders of the classes; "
                        "put such pictures into one of these, or take them away")
    files, labels = [], []
    for number, path in enumerate(classes or [folder]):
        if not found[path]:
            raise UserError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))}); put some there"
                            + (", or take the folder away" if classes else
                               "; a folder of idx files goes with --dataset mnist and --data_dir"))
        files += found[path]
        labels += [number] * len(found[path])

    images = [read(file, size) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(f"pictures of several sizes: {files[0]} has {pixels(images[0])}, {file} {pixels(image)}; "
                            f"--resize brings all to {SIZE}×{SIZE}")
    images = np.stack(images)
    if (images == images[..., :1]).all():  # grey, however it was stored
        images = np.ascontiguousarray(images[..., 0])
    labels = np.array(labels) if classes else None
    digest = hashlib.md5(images)
    digest.update(str(None if labels is None else labels.tolist()).encode())
    return Pictures(folder.resolve().name, images, labels, tuple(path.name for path in classes), str(folder),
                    digest.hexdigest())


def pictures_in(folder):
    """The files in a folder that are pictures by their suffix, sorted by name; none that is hidden."""
    return sorted(file for file in folder.iterdir()
                  if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))


def read(file, size):
    """One picture, upright, as uint8 [H, W, 3]; raises `UserError` where it cannot be read."""
    try:
        image = read_image(read_file(file))
    except (BadPicture, OSError) as error:
        raise UserError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}; "
                        "replace the file, or take it away") from None
    return np.array(image.resize(size[::-1], Image.Resampling.NEAREST) if size else image)


def pixels(image):
    """Width × height, as people say it."""
    return f"{image.shape[1]}×{image.shape[0]}"
