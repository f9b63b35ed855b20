"""Read pictures for a comparison: from a tutorial's figure, a run's figure, any other figure, or a folder.

The figures that the tutorials published beside their texts are not part of the project. They are downloaded from fixed
commits, and their md5 is checked after the download.
"""

import functools
import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from common import recipe as recipes
from common.backend import runtime
from common.comparison.cutting import NoGrid, cut, without_colour
from common.data.batches import spread
from common.data.download import Unavailable, fetch
from common.data.folders import pictures_in
from common.errors import UserError
from common.files import NUMBERED, cache_folder, expanded
from common.pictures.picture import SUFFIXES, BadPicture, read_file, read_image
from common.recipe import Layout
from common.training.records import Records

MOST_PIXELS = 1 << 24  # in a figure; the largest figure that the project draws has 1.4 million
MOST_FILES = 2000  # pictures that are read from a folder, at most
MOST_BYTES = 100_000_000  # of all pictures of a folder together, one byte for each channel of each pixel
CACHE = "paddle/gan_figures"  # in the cache folder
LARGEST = 4_000_000  # bytes of a published figure

# Both hosts serve a repository's files at a commit; some networks reach only the second.
HOSTS = ("https://raw.githubusercontent.com/{repository}/{commit}/", "https://cdn.jsdelivr.net/gh/{repository}@{commit}/")


@dataclass(frozen=True)
class Shown:
    """The pictures of a figure, or of a folder.

    Attributes:
        real, generated: float32 [n, H, W, C] in [-1, 1], C 1 or 3; None if there are no such pictures.
        note: how their pixels were changed when they were read, in a few words; may be empty.
    """

    real: np.ndarray | None
    generated: np.ndarray | None
    note: str = ""


def read(path, rows=None, columns=None):
    """The pictures of a figure, of a folder with a tutorial's figures, or of a folder of single pictures.

    Args:
        path: of the file or folder.
        rows, columns: of the figure's grid; None: unknown.

    Returns:
        `Shown`.

    Raises:
        UserError: there is nothing at ``path``; there is no picture, or one that is too large; the figure cannot be
            cut; the pictures have several sizes.
    """
    path = expanded(path)
    if not path.is_dir():
        return _read_figure(path, rows, columns)
    found = [path / name for name in published() if (path / name).is_file()]
    if not found:
        return Shown(None, _read_singles(path))
    shown = [_read_figure(file, rows, columns) for file in found]
    real = [each.real for each in shown if each.real is not None]
    generated = [each.generated for each in shown if each.generated is not None]
    if len(real) > 1 or len(generated) > 1:
        raise UserError(f"{path} holds several figures: {', '.join(file.name for file in found)}; name one of them")
    return Shown(*(kind[0] if kind else None for kind in (real, generated)), shown[0].note)


def _read_figure(path, rows, columns):
    """`Shown` of one figure."""
    layout = published().get(path.name) or _of_run(path)
    smoothed = ", smoothed by matplotlib" * (path.name not in published() and layout.cell is not None)
    if path.name not in published():
        layout = replace(layout, rows=rows or layout.rows, columns=columns or layout.columns)
    pixels = read_pixels(path)
    try:
        cells, size = cut(pixels, layout)
    except NoGrid as reason:
        raise UserError(f"{path} cannot be cut into its pictures: {reason}; "
                        "name a grid with gaps of one colour, or a folder of single pictures") from None
    pictures = cells.astype("float32") / 127.5 - 1
    note = f"cells of {size[1]}×{size[0]} pixels" + ", JPEG" * (path.suffix.lower() in (".jpg", ".jpeg"))
    if layout.cell and layout.cell != size:
        note += f", brought back to {layout.cell[1]}×{layout.cell[0]}{smoothed}"
    real = round(layout.real * len(pictures))
    return Shown(pictures[:real] if real else None, pictures[real:] if real < len(pictures) else None, note)


def _of_run(path):
    """`Layout` of a picture that a run has saved beside its ``config.json``; an empty `Layout` for other pictures."""
    if path.suffix != ".png" or not NUMBERED.fullmatch(path.stem) or not Records(path.parent).exists():
        return Layout()
    config = Records(path.parent).read_config()
    if config["recipe"] not in recipes.names():
        return Layout()
    layout = _recipe(config["recipe"]).picture
    return layout if layout.cell else replace(layout, cell=tuple(config["dataset"].get("shape", [28, 28, 1])[:2]))


@functools.cache
def published():
    """The layouts of all tutorials' published figures, by file name."""
    every = [_recipe(name).figures for name in recipes.names()]
    return {file: layout for figures in every if figures for file, layout in figures.layouts.items()}


def _recipe(name):
    runtime.prepare()
    return recipes.load(name)


def read_pixels(path):
    """A picture file as uint8 [H, W, 3], whatever its mode; transparent pixels are white.

    Raises:
        UserError: it is not there, no picture, damaged, or larger than `MOST_PIXELS`.
    """
    try:
        data = read_file(path)
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        if width * height > MOST_PIXELS:
            raise BadPicture(f"{width}×{height} pixels, {MOST_PIXELS} are the most")
        return np.asarray(read_image(data))
    except FileNotFoundError:
        raise UserError(f"there is no picture and no folder {str(path)!r}; check the name") from None
    except (BadPicture, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        if "cannot identify" in reason:
            reason = "it is no picture"
        raise UserError(f"cannot read {path}: {reason}; name a figure, or a folder of pictures") from None


def _read_singles(folder):
    """The pictures of a folder with one picture in each file: float32 [n, H, W, C] in [-1, 1].

    A folder of more than `MOST_FILES` gives an evenly spread part of them. A folder that ``generate.py`` has written
    gives its single pictures, without the grid.
    """
    if Records(folder).exists():
        raise UserError(f"{folder} is the folder of a run; name it with --run, or one of its pictures")
    files = pictures_in(folder)
    files = [file for file in files if file.name.startswith("generated_")] or files
    if not files:
        raise UserError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))}); name another folder")
    pictures = [read_pixels(files[0])]
    most = min(MOST_FILES, max(2, MOST_BYTES // pictures[0].nbytes))
    files = [files[i] for i in spread(len(files), most)]
    for file in files[1:]:
        pixels = read_pixels(file)
        if pixels.shape != pictures[0].shape:
            raise UserError(f"pictures of several sizes in {folder}: {files[0].name} and {file.name}; "
                            "leave those of one size, or name one figure")
        pictures.append(pixels)
    return without_colour(np.stack(pictures)).astype("float32") / 127.5 - 1


class NotPublished(UserError):
    """A published figure that cannot be downloaded."""


def download(recipe, folder=None):
    """Get the published figures of a tutorial; figures that are there already are not downloaded again.

    Args:
        recipe: `common.recipe.Recipe` with ``figures``.
        folder: the figures go into its sub-folder with the recipe's name; None: the user's cache folder.

    Returns:
        The sub-folder's path.

    Raises:
        NotPublished: a figure cannot be downloaded.
    """
    figures, folder = recipe.figures, (expanded(folder) if folder else cache_folder(CACHE)) / recipe.name
    mirrors = [host.format(repository=figures.repository, commit=commit) + figures.folder
               for host in HOSTS for commit in figures.commits]
    for name, md5 in figures.files.items():
        if (folder / name).is_file():
            continue
        try:
            good = fetch(name, mirrors, folder, md5, LARGEST)
        except Unavailable as error:
            reasons = "; ".join(dict.fromkeys(str(error).split("; ")))
            raise NotPublished(f"the tutorial's {name} is not in {folder} and cannot be downloaded ({reasons}); "
                               f"get it from {mirrors[0]}{name} and name it, or its folder, with --reference") from None
        mirrors.sort(key=lambda mirror, good=good: mirror != good)
    return folder
