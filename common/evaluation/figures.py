"""Figures cut into the pictures that they show: the tutorials' published ones, the project's own, other grids.

A figure is a grid of cells of one size with gaps of one colour between them, perhaps under a title and within a
white margin. The gaps are found in the pixels. Where they are not regular, or not as many as there should be,
nothing is cut.
"""

import io
import re
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from common.data.folders import SUFFIXES, pictures_in
from common.data.picture import BadPicture, read_file, read_image
from common.errors import UserError
from common.files import expanded
from common.training.run_folder import read_config

MOST_PIXELS = 1 << 24  # of a figure; the largest that the project draws has 1.4 million
MOST_FILES = 2000  # pictures that are read from a folder
MOST_BYTES = 100_000_000  # of them all, a byte a colour and pixel

SMALLEST = 4  # pixels of a cell's height and width
VISIBLE = 24  # levels of 255 by which something differs from the colour of the gaps
NEAR = 0.4  # of the usual difference between cells and gaps: what is still a gap, blurred by scaling or JPEG
RIM = 0.5  # of what differs from the gaps' colour within the cells: at their rims it is more, 0.64 at the least seen
STRAY = 0.02  # share of a gap's pixels that may differ from it all the same
SMOOTH = 1.0  # level of 255 by which a smoothed figure may differ from its explanation, on average
OFFSETS = np.arange(-8, 8) / 16  # parts of a pixel
WHITE = 240  # from here on a margin is white, JPEG or not


@dataclass(frozen=True)
class Layout:
    """What is known of a figure beforehand; None is found in the pixels.

    Attributes:
        rows, columns: of the grid.
        cell: (height, width) of the pictures before they were drawn larger. They are brought back to it, to the
            very pixel where drawing only repeated them.
        gap: width of the gaps, in the same pixels.
        real: share of the cells, from the first on, that are real pictures.
    """

    rows: int | None = None
    columns: int | None = None
    cell: tuple[int, int] | None = None
    gap: int = 1
    real: float = 0.0


BOOK = Layout(16, 16, (28, 28), gap=1, real=0.5)
PUBLISHED = {  # by file name
    "dcgan_demo.png": BOOK,
    "DCGAN_demo.png": BOOK,  # this and the next: of the book's older relative, 121 pictures of each kind
    "conditionalGAN_demo.png": BOOK,
    "face_image1.jpeg": Layout(10, 10, real=1.0),
    "face_image2.jpeg": Layout(10, 10),
}


@dataclass(frozen=True)
class Shown:
    """The pictures of a figure, or of a folder.

    Attributes:
        real, generated: float32 [n, H, W, C] in [-1, 1], C 1 or 3; None where there are none.
        note: what became of their pixels on the way, in a few words; may be empty.
    """

    real: np.ndarray | None
    generated: np.ndarray | None
    note: str = ""


class _NoGrid(Exception):
    """A figure that is no regular grid. The message is the reason."""


# ---- what a user names -------------------------------------------------------------------------------------


def read(path, rows=None, columns=None):
    """The pictures of a figure, of a folder with a tutorial's figures, or of a folder of single pictures.

    Args:
        path: of the file or folder.
        rows, columns: of the figure's grid, where they are known.

    Returns:
        `Shown`.

    Raises:
        UserError: no such thing; no picture, or too large a one; a figure that cannot be cut; pictures of
            several sizes.
    """
    path = expanded(path)
    if not path.is_dir():
        return _read_figure(path, rows, columns)
    found = [path / name for name in PUBLISHED if (path / name).is_file()]
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
    layout = PUBLISHED.get(path.name) or _of_run(path)
    if path.name not in PUBLISHED:
        layout = replace(layout, rows=rows or layout.rows, columns=columns or layout.columns)
    pixels = read_pixels(path)
    try:
        cells, size = cut(pixels, layout)
    except _NoGrid as reason:
        raise UserError(f"{path} cannot be cut into its pictures: {reason}; "
                        "name a grid with gaps of one colour, or a folder of single pictures") from None
    pictures = cells.astype("float32") / 127.5 - 1
    note = f"cells of {size[1]}×{size[0]} pixels" + ", JPEG" * (path.suffix.lower() in (".jpg", ".jpeg"))
    if layout.cell and layout.cell != size:
        note += f", brought back to {layout.cell[1]}×{layout.cell[0]}"
    real = round(layout.real * len(pictures))
    return Shown(pictures[:real] if real else None, pictures[real:] if real < len(pictures) else None, note)


def _of_run(path):
    """`Layout` of a picture that a run has saved beside its ``config.json``; an empty one for any other."""
    if not re.fullmatch(r"\d{4,}_\d{4,}\.png", path.name) or not (path.parent / "config.json").is_file():
        return Layout()
    config = read_config(path.parent)
    height, width = config["dataset"].get("shape", [28, 28, 1])[:2]
    return {
        "book": Layout(cell=(28, 28), real=0.5),
        "note6": Layout(cell=(28, 28)),
        "cgan": Layout(cell=(height, width)),
        "dcgan_face": Layout(cell=(64, 64), gap=6),
    }.get(config["recipe"], Layout())


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
    """The pictures of a folder, one a file, evenly spread ones of very many: float32 [n, H, W, C] in [-1, 1].

    Of a folder that ``generate.py`` has written, the single pictures and not their grid.
    """
    if (folder / "config.json").is_file():
        raise UserError(f"{folder} is the folder of a run; name it with --run, or one of its pictures")
    files = pictures_in(folder)
    files = [file for file in files if file.name.startswith("generated_")] or files
    if not files:
        raise UserError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))}); name another folder")
    pictures = [read_pixels(files[0])]
    most = min(MOST_FILES, max(2, MOST_BYTES // pictures[0].nbytes))
    if len(files) > most:
        files = [files[i] for i in np.linspace(0, len(files) - 1, most).astype(int)]
    for file in files[1:]:
        pixels = read_pixels(file)
        if pixels.shape != pictures[0].shape:
            raise UserError(f"pictures of several sizes in {folder}: {files[0].name} and {file.name}; "
                            "leave those of one size, or name one figure")
        pictures.append(pixels)
    return _grey(np.stack(pictures)).astype("float32") / 127.5 - 1


# ---- cutting -----------------------------------------------------------------------------------------------


def cut(figure, layout=Layout()):
    """Cut a figure into its cells.

    Empty cells behind the last picture are left out.

    Args:
        figure: uint8 [H, W, 3].
        layout: what is known of it.

    Returns:
        (cells, size): uint8 [n, height, width, C], C 1 for a grey figure, else 3; and the height and width of a
        cell in the figure's own pixels.

    Raises:
        _NoGrid: it is no regular grid, or none of so many rows and columns.
    """
    frame = figure[_frame(figure)]
    reason = _NoGrid("there are no gaps between its cells")
    for colour in _colours(frame):
        difference = np.abs(frame.astype("int16") - colour).max(axis=2)
        try:
            return _cut(frame, difference, colour, layout)
        except _NoGrid as error:
            if str(error) != str(reason):
                reason = error
    raise reason


def _frame(figure):
    """Where the grid lies in its figure, without margin and title: two slices."""
    ink = (figure < WHITE).any(axis=2)
    if ink[0].any() or ink[-1].any() or ink[:, 0].any() or ink[:, -1].any() or not ink.any():
        return slice(None), slice(None)  # no margin
    blocks = _runs(ink.any(axis=1))
    heights = blocks[:, 1] - blocks[:, 0]
    first = np.flatnonzero(abs(heights - heights[-1]) <= 2)[0]  # a title's lines are not as high as the last block
    top, bottom = blocks[first, 0], blocks[-1, 1]
    across = np.flatnonzero(ink[top:bottom].any(axis=0))
    return slice(top, bottom), slice(across[0], across[-1] + 1)


def _colours(frame):
    """Colours that the gaps may have, the likeliest first."""
    yield frame[0, 0]  # the gap above and left of the first cell
    yield np.array([255, 255, 255])
    flat = (np.ptp(frame, axis=0) < VISIBLE).all(axis=1)  # lines of one colour from top to bottom
    if flat.any():
        colours, counts = np.unique(np.median(frame[:, flat], axis=0), axis=0, return_counts=True)
        yield from colours[np.argsort(-counts)][:8]


def _cut(frame, difference, colour, layout):
    """`cut`, for gaps of this colour."""
    visible = difference[difference > VISIBLE]
    if visible.size < 0.2 * difference.size:
        raise _NoGrid("there are no gaps between its cells")
    other = difference > NEAR * np.median(visible)
    across, down = _runs(other.mean(axis=0) > STRAY), _runs(other.mean(axis=1) > STRAY)
    if len(across) + len(down) < 3:
        raise _NoGrid("there are no gaps between its cells")
    wanted = layout.rows or len(down), layout.columns or len(across)
    if (len(down), len(across)) != wanted:
        raise _NoGrid(f"it shows {len(down)}×{len(across)} cells (rows × columns), not {wanted[0]}×{wanted[1]}")
    height, width = _size(down, "rows"), _size(across, "columns")
    for runs, profile in ((down, other.mean(axis=1)), (across, other.mean(axis=0))):
        rims = np.concatenate([profile[runs[:, 0] + 1], profile[runs[:, 1] - 2]])  # the outermost may be smoothed
        if layout.cell != (height, width) and np.median(rims) < RIM * np.median(profile[profile > STRAY]):
            raise _NoGrid("its pictures run into the gaps")

    filled = np.array([[other[top:bottom, left:right].mean() > STRAY for left, right in across]
                       for top, bottom in down]).ravel()
    count = np.flatnonzero(filled)[-1] + 1
    if not filled[:count].all():
        raise _NoGrid(f"cell {np.flatnonzero(~filled)[0] + 1} is empty")
    below = len(other) - down[-1, 1]  # whole rows may be empty, too, or too faint to be told from the gaps
    total = len(down) + round(below * len(down) / down[-1, 1])
    if count <= (total - 1) * (len(across) - 1):
        raise _NoGrid(f"{total * len(across) - count} of its cells are empty")
    if np.ptp(frame, axis=2).max() <= 2:
        frame = _linear(frame, colour)
    return _grey(_cells(frame, down, across, (height, width), layout)[:count]), (height, width)


def _runs(inside):
    """Start and end of each run of True: [n, 2]. Slivers at the rim, which scaling leaves, are no runs."""
    runs = np.flatnonzero(np.diff(inside.astype("int8"), prepend=0, append=0)).reshape(-1, 2)
    rim = (runs[:, 1] - runs[:, 0] <= 2) & ((runs[:, 0] == 0) | (runs[:, 1] == len(inside)))
    return runs[~rim]


def _size(runs, what):
    """The usual length of runs that are alike and evenly spaced, to a pixel."""
    sizes = runs[:, 1] - runs[:, 0]
    if not len(runs) or sizes.min() < SMALLEST or np.ptp(sizes) > 2:
        raise _NoGrid(f"its {what} are not of one size")
    pitch, middle = _line(runs)
    if np.abs(runs.mean(axis=1) - middle - pitch * np.arange(len(runs))).max() > 1 or pitch > 2 * sizes.max():
        raise _NoGrid(f"its {what} are not evenly spaced")
    return int(np.median(sizes))


def _line(runs):
    """How far apart evenly spaced runs are, and where the middle of the first is; (0, middle) of a single one."""
    middles = runs.mean(axis=1)
    return np.polyfit(np.arange(len(runs)), middles, 1) if len(runs) > 1 else (0.0, middles[0])


def _cells(frame, down, across, size, layout):
    """The cells of a frame, row by row: uint8 [n, height, width, 3]."""
    if layout.cell is None or layout.cell == size:
        cells = [frame[top:bottom, left:right] for top, bottom in down for left, right in across]
        return np.stack([_resized(cell, size) for cell in cells])
    gap, pitch = layout.gap, [side + layout.gap for side in layout.cell]
    gaps = np.concatenate([runs[1:, 0] - runs[:-1, 1] for runs in (down, across)])
    if across[0, 0] > gaps.mean() / 3:  # the frame begins with a gap: its rim is that of the grid
        first, origin = gap, (0, 0)
        scale = frame.shape[1] / (len(across) * pitch[1])  # the same up and down
    else:  # it begins within a pixel of the first cell
        first = 0
        lines = _line(down), _line(across)
        scale = max(line[0] / step for line, step in zip(lines, pitch, strict=True))
        origin = [line[1] - side / 2 * scale for line, side in zip(lines, layout.cell, strict=True)]
    for runs, start, side, step in zip((down, across), origin, layout.cell, pitch, strict=True):
        centres = start + (first + side / 2 + np.arange(len(runs)) * step) * scale
        if np.abs(centres - runs.mean(axis=1)).max() > 1:
            raise _NoGrid(f"its cells are not of {layout.cell[1]}×{layout.cell[0]} pixels with gaps of {gap}")
    shape = [first + len(runs) * step - gap for runs, step in zip((down, across), pitch, strict=True)]
    drawn = _undrawn(frame, shape, origin, scale)
    return np.stack([drawn[top:top + layout.cell[0], left:left + layout.cell[1]]
                     for top in first + np.arange(len(down)) * pitch[0]
                     for left in first + np.arange(len(across)) * pitch[1]])


def _undrawn(frame, shape, origin, scale):
    """The picture that matplotlib drew ``scale`` times as large as it was.

    Of older versions, which repeated pixels, it comes back exactly; of newer ones, which smooth, nearly so. Where
    neither explains the figure, each pixel is what was drawn at its middle.

    Args:
        frame: uint8 [H, W, 3].
        shape: (height, width) of the picture.
        origin: where it begins in the frame, (y, x).
        scale: of both directions.
    """
    ends = [min(side, round(start + n * scale)) for side, start, n in zip(frame.shape, origin, shape, strict=False)]
    frame = frame[:ends[0], :ends[1]]
    picked = frame[np.ix_(*((start + (np.arange(n) + 0.5) * scale).astype(int).clip(0, end - 1)
                            for start, n, end in zip(origin, shape, ends, strict=True)))]
    again = picked[np.ix_(*(((np.arange(end) + 0.5 - start) / scale).astype(int).clip(0, n - 1)
                            for start, n, end in zip(origin, shape, ends, strict=True)))]
    if (again == frame).mean() > 0.98:
        return picked
    values = frame.astype(float)
    for axis, n in enumerate(shape):
        values, error = _unsmoothed(np.moveaxis(values, axis, 0), n, origin[axis], scale)
        if error > SMOOTH:
            return picked
        values = np.moveaxis(values, 0, axis)
    return values.round().clip(0, 255).astype("uint8")


def _unsmoothed(values, n, origin, scale):
    """The ``n`` rows that matplotlib's Hanning filter made these out of, and the mean error of the explanation.

    A row that was drawn is the weighted mean of the two nearest, by least squares they are found again. A tightly
    cut figure moves by parts of a pixel: all sixteenths are tried.
    """
    flat = values.reshape(len(values), -1)
    some = flat[:, ::1 + flat.shape[1] // 64]
    tried = [_explained(some, n, origin + offset, scale)[1] for offset in OFFSETS]
    rows, error = _explained(flat, n, origin + OFFSETS[np.argmin(tried)], scale)
    return rows.reshape(n, *values.shape[1:]), error


def _explained(flat, n, origin, scale):
    """`_unsmoothed` for one origin."""
    from scipy.linalg import solveh_banded
    from scipy.sparse import csr_array

    places = ((np.arange(len(flat)) + 0.5 - origin) / scale - 0.5).clip(0, n - 1)
    distance = np.abs(places[:, None] - np.arange(n))
    weights = np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0)
    weights = csr_array(weights / weights.sum(axis=1, keepdims=True))
    square = weights.T @ weights  # no row weighs on more than its neighbours
    rows = solveh_banded([np.append(0, square.diagonal(1)), square.diagonal()], weights.T @ flat)
    return rows, np.abs(weights @ rows - flat).mean()


def _resized(cell, size):
    if cell.shape[:2] == size:
        return cell
    return np.asarray(Image.fromarray(cell).resize(size[::-1], Image.Resampling.BILINEAR))


def _grey(pictures):
    """[n, H, W, 3] with one channel only, where all are alike; also from the colours of ``plt.imsave``."""
    if np.ptp(pictures, axis=3).max() <= 2:
        return pictures[..., :1]
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.arange(256), bytes=True)[:, :3].astype(int) @ (65536, 256, 1)
    found = pictures.astype(int) @ (65536, 256, 1)
    order = np.argsort(colours)
    places = order[np.searchsorted(colours, found, sorter=order).clip(max=255)]
    return places.astype("uint8")[..., None] if (colours[places] == found).all() else pictures


def _linear(cells, colour):
    """Grey values as they were before matplotlib's ``Greys_r``, which is not linear, if that drew them.

    The gaps tell: 0, the middle, is 150 in these colours and 128 without them.
    """
    from matplotlib import colormaps

    shades = colormaps["Greys_r"](np.arange(256), bytes=True)[:, 0].astype(float)
    if abs(colour.mean() - shades[128]) > 3:
        return cells
    return np.interp(np.arange(256), shades, np.arange(256)).round().astype("uint8")[cells]
