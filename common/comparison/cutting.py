"""Figures cut into the pictures that they show.

A figure is a grid of cells of one size with gaps of one colour between them, perhaps under a title and within a
white margin. The gaps are found in the pixels. A figure is not cut if its gaps are not regular, or if their number
is wrong.
"""

import numpy as np

from common.evaluation.features import resized

SMALLEST = 4  # pixels of a cell's height and width
VISIBLE = 24  # levels of 255: a pixel that differs by more from the gaps' colour belongs to a cell for sure
NEAR = 0.4  # a pixel is gap if it is within 0.4 of the usual difference between cell and gap; scaling and JPEG blur it
RIM = 0.5  # a cell's rim has at least half as many pixels that differ from the gaps' colour as its inside; seen: 0.64
STRAY = 0.02  # a row or column is still a gap if at most this share of its pixels differs from the gaps' colour
WHITE = 240  # a margin is white from this level on; JPEG can darken white a little


class NoGrid(Exception):
    """A figure that is no regular grid. The message is the reason."""


def cut(figure, layout):
    """Cut a figure into its cells.

    Empty cells behind the last picture are left out.

    Args:
        figure: uint8 [H, W, 3].
        layout: `common.recipe.Layout`, what is known of the figure.

    Returns:
        (cells, size): uint8 [n, height, width, C], C 1 for a grey figure, else 3; and the height and width of a
        cell in the figure's own pixels.

    Raises:
        NoGrid: the figure is no regular grid, or its numbers of rows and columns are not those of ``layout``.
    """
    frame = figure[_frame(figure)]
    reason = NoGrid("there are no gaps between its cells")
    for colour in _colours(frame):
        difference = np.abs(frame.astype("int16") - colour).max(axis=2)
        try:
            return _cut(frame, difference, colour, layout)
        except NoGrid as error:
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
    first = np.flatnonzero(abs(heights - heights[-1]) <= 2)[0]  # a title's lines are less high
    top, bottom = blocks[first, 0], blocks[-1, 1]
    across = np.flatnonzero(ink[top:bottom].any(axis=0))
    return slice(top, bottom), slice(across[0], across[-1] + 1)


def _colours(frame):
    """Colours that the gaps may have, the likeliest first."""
    yield frame[0, 0]  # the gap above and left of the first cell
    yield np.array([255, 255, 255])
    flat = (np.ptp(frame, axis=0) < VISIBLE).all(axis=1)  # columns of one colour from top to bottom
    if flat.any():
        colours, counts = np.unique(np.median(frame[:, flat], axis=0), axis=0, return_counts=True)
        yield from colours[np.argsort(-counts)][:8]


def _cut(frame, difference, colour, layout):
    """`cut` a grid whose gaps have the colour ``colour``; ``difference``: how far each pixel is from it."""
    visible = difference[difference > VISIBLE]
    if visible.size < 0.2 * difference.size:
        raise NoGrid("there are no gaps between its cells")
    other = difference > NEAR * np.median(visible)
    across, down = _runs(other.mean(axis=0) > STRAY), _runs(other.mean(axis=1) > STRAY)
    if len(across) + len(down) < 3:
        raise NoGrid("there are no gaps between its cells")
    wanted = layout.rows or len(down), layout.columns or len(across)
    if (len(down), len(across)) != wanted:
        raise NoGrid(f"it shows {len(down)}×{len(across)} cells (rows × columns), not {wanted[0]}×{wanted[1]}")
    height, width = _size(down, "rows"), _size(across, "columns")
    for runs, profile in ((down, other.mean(axis=1)), (across, other.mean(axis=0))):
        rims = np.concatenate([profile[runs[:, 0] + 1], profile[runs[:, 1] - 2]])  # outermost pixels may be smoothed
        if layout.cell != (height, width) and np.median(rims) < RIM * np.median(profile[profile > STRAY]):
            raise NoGrid("its pictures run into the gaps")

    filled = np.array([[other[top:bottom, left:right].mean() > STRAY for left, right in across]
                       for top, bottom in down]).ravel()
    count = np.flatnonzero(filled)[-1] + 1
    if not filled[:count].all():
        raise NoGrid(f"cell {np.flatnonzero(~filled)[0] + 1} is empty")
    below = len(other) - down[-1, 1]  # there may be whole rows below that are empty or too faint to be seen
    total = len(down) + round(below * len(down) / down[-1, 1])
    if count <= (total - 1) * (len(across) - 1):
        raise NoGrid(f"{total * len(across) - count} of its cells are empty")
    if np.ptp(frame, axis=2).max() <= 2:
        frame = _linear(frame, colour)
    return without_colour(_cells(frame, down, across, (height, width), layout)[:count]), (height, width)


def _runs(inside):
    """Start and end of each run of True: [n, 2]. Runs of one or two at the rim do not count: scaling leaves them."""
    runs = np.flatnonzero(np.diff(inside.astype("int8"), prepend=0, append=0)).reshape(-1, 2)
    rim = (runs[:, 1] - runs[:, 0] <= 2) & ((runs[:, 0] == 0) | (runs[:, 1] == len(inside)))
    return runs[~rim]


def _size(runs, what):
    """The median length of runs, in pixels; raises `NoGrid` unless they are about equally long and evenly spaced."""
    sizes = runs[:, 1] - runs[:, 0]
    if not len(runs) or sizes.min() < SMALLEST or np.ptp(sizes) > 2:
        raise NoGrid(f"its {what} are not of one size")
    pitch, middle = _line(runs)
    if np.abs(runs.mean(axis=1) - middle - pitch * np.arange(len(runs))).max() > 1 or pitch > 2 * sizes.max():
        raise NoGrid(f"its {what} are not evenly spaced")
    return int(np.median(sizes))


def _line(runs):
    """(distance between the middles of neighbouring runs, middle of the first run); (0, middle) for a single run."""
    middles = runs.mean(axis=1)
    return np.polyfit(np.arange(len(runs)), middles, 1) if len(runs) > 1 else (0.0, middles[0])


def _cells(frame, down, across, size, layout):
    """The cells of a frame, row by row: uint8 [n, height, width, 3]."""
    if layout.cell is None or layout.cell == size:
        return np.concatenate([resized(frame[None, top:bottom, left:right], size)
                               for top, bottom in down for left, right in across])
    gap, pitch = layout.gap, [side + layout.gap for side in layout.cell]
    gaps = np.concatenate([runs[1:, 0] - runs[:-1, 1] for runs in (down, across)])
    if across[0, 0] > gaps.mean() / 3:  # the frame begins with a gap, so the grid ends where the frame does
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
            raise NoGrid(f"its cells are not of {layout.cell[1]}×{layout.cell[0]} pixels with gaps of {gap}")
    shape = [first + len(runs) * step - gap for runs, step in zip((down, across), pitch, strict=True)]
    drawn = _undrawn(frame, shape, origin, scale)
    return np.stack([drawn[top:top + layout.cell[0], left:left + layout.cell[1]]
                     for top in first + np.arange(len(down)) * pitch[0]
                     for left in first + np.arange(len(across)) * pitch[1]])


def _undrawn(frame, shape, origin, scale):
    """Undo matplotlib's enlargement of a picture: each pixel takes the colour at the middle of its enlarged square.

    Older versions of matplotlib repeated pixels: their picture comes back exactly. Newer ones smooth: nearly so.

    Args:
        frame: uint8 [H, W, 3].
        shape: (height, width) of the picture.
        origin: (y, x) of the picture's first corner in the frame.
        scale: the factor of enlargement, the same up and down as sideways.
    """
    places = [(start + (np.arange(n) + 0.5) * scale).astype(int).clip(0, side - 1)
              for start, n, side in zip(origin, shape, frame.shape, strict=False)]
    return frame[np.ix_(*places)]


def without_colour(pictures):
    """Pictures [n, H, W, 3] as [n, H, W, 1] if they are grey, or drawn in the default colours of ``plt.imsave``."""
    if np.ptp(pictures, axis=3).max() <= 2:
        return pictures[..., :1]
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.arange(256), bytes=True)[:, :3].astype(int) @ (65536, 256, 1)
    found = pictures.astype(int) @ (65536, 256, 1)
    order = np.argsort(colours)
    places = order[np.searchsorted(colours, found, sorter=order).clip(max=255)]
    return places.astype("uint8")[..., None] if (colours[places] == found).all() else pictures


def _linear(cells, colour):
    """Undo matplotlib's colour map ``Greys_r``, which is not linear, if the figure was drawn with it.

    The gaps' colour shows it: their value 0, the middle grey, becomes 150 with ``Greys_r`` and 128 without.
    """
    from matplotlib import colormaps

    shades = colormaps["Greys_r"](np.arange(256), bytes=True)[:, 0].astype(float)
    if abs(colour.mean() - shades[128]) > 3:
        return cells
    return np.interp(np.arange(256), shades, np.arange(256)).round().astype("uint8")[cells]
