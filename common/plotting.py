"""Pictures: the tutorials' figures, grids, loss curves, animations.

Everything is drawn without a display and without pyplot. Pyplot's backend belongs to the user: in a notebook it shows
the user's own figures.
"""

import functools
import math
from contextlib import suppress

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from common.data.batches import spread
from common.files import replacing

WIDTH = 600  # pixels; a smaller grid is enlarged to about this width
GAP = 1  # pixels between two pictures of a grid


def subplots(*shape, **options):
    """(figure, axes) like pyplot's ``subplots``, of a figure that pyplot does not know."""
    of_axes = {name: options.pop(name) for name in ("squeeze", "gridspec_kw") if name in options}
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(*shape, **of_axes)


def layout(count):
    """(rows, columns) of a grid: at most twice as wide as high, the fewest empty cells, as square as that allows."""
    side = math.ceil(math.sqrt(count))
    return min(((-(-count // columns), columns) for columns in range(side, 2 * side + 1)
                if columns <= 2 * -(-count // columns)), key=lambda shape: shape[0] * shape[1] - count)


def grid(pictures, pad=GAP):
    """Join pictures into one by `tile`, with the rows and columns of `layout`."""
    return tile(pictures, *layout(len(pictures)), pad)


def book_grid(pictures):
    """Join pictures as the book's ``plot`` does: a square of rows with a pixel above and left of each.

    Args:
        pictures: [n, H, W] in [-1, 1].

    Returns:
        [rows·(H + 1), rows·(W + 1)], rows = ceil(sqrt(n)); cells without a picture are 0.
    """
    side = math.ceil(math.sqrt(len(pictures)))
    return tile(pictures, side, side)


def tile(pictures, rows, columns, pad=GAP, pad_value=0.0):
    """Join pictures into one, row by row.

    Args:
        pictures: [n, H, W] or [n, H, W, 3] in [-1, 1].
        rows, columns: of the grid.
        pad: pixels above and left of each picture.
        pad_value: of those pixels; 0 is the middle grey.

    Returns:
        [rows·(H + pad), columns·(W + pad)] or the same with 3 channels; cells without a picture have
        ``pad_value``.
    """
    pictures = np.asarray(pictures)
    height, width = pictures.shape[1] + pad, pictures.shape[2] + pad
    cells = np.full([rows * columns, height, width, *pictures.shape[3:]], pad_value, pictures.dtype)
    cells[:len(pictures), pad:, pad:] = pictures
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    return cells.reshape(rows * height, columns * width, *pictures.shape[3:])


def to_uint8(pictures):
    """Floating-point numbers of any shape from [-1, 1] to 0 … 255, clipped, as uint8."""
    return np.clip(np.rint((np.asarray(pictures) + 1.0) * 127.5), 0, 255).astype("uint8")


def save_png(path, pictures):
    """Write one picture in [-1, 1], or one grid that `tile` has made, as PNG."""
    with replacing(path) as temporary:
        Image.fromarray(to_uint8(pictures)).save(temporary)


def save_grid(path, pictures, shape=None, labels=()):
    """Write `grid_image` as PNG.

    Args:
        path: of the PNG.
        pictures, shape, labels: see `grid_image`.
    """
    with replacing(path) as temporary:
        grid_image(pictures, shape, labels).save(temporary)


def grid_image(pictures, shape=None, labels=()):
    """A grid of pictures as ``PIL.Image.Image``; a small one is enlarged by a whole factor.

    Args:
        pictures: [n, H, W], [n, H, W, 1] or [n, H, W, 3] in [-1, 1].
        shape: (rows, columns); None: see `layout`.
        labels: text above the columns, one each.
    """
    pictures = np.asarray(pictures)
    pictures = pictures[..., 0] if pictures.shape[3:] == (1,) else pictures
    pixels = to_uint8(tile(pictures, *(shape or layout(len(pictures)))))
    factor = max(1, round(WIDTH / max(pixels.shape[:2])))
    image = Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    if labels:
        image = _labelled(image, labels, factor * GAP)
    return image


def _labelled(image, labels, gap):
    """Put labels above the columns of a grid's picture, in the largest type that fits into the columns."""
    width = image.width // len(labels)  # of a column: a picture and the gap on its left
    path = findfont(FontProperties())
    for size in range(16, 7, -1):
        font = ImageFont.truetype(path, size)
        if max(map(font.getlength, map(printable, labels))) < width - gap:
            break
    head = font.getbbox("Ag")[3] + 2
    larger = Image.new(image.mode, (image.width, image.height + head), "white")
    larger.paste(image, (0, head))
    draw = ImageDraw.Draw(larger)
    for number, label in enumerate(map(printable, labels)):
        while label and font.getlength(label) > width:
            label = label[:-1]
        draw.text((gap / 2 + (number + 0.5) * width, 1), label, "black", font, anchor="ma")
    return larger


def printable(text):
    """The text with a ? for each character that matplotlib's font lacks, such as Chinese ones in a folder's name."""
    font = get_font(findfont(FontProperties()))
    return "".join(character if character == "\n" or font.get_char_index(ord(character)) else "?"
                   for character in text)


@functools.cache
def _figure(shape, inches, fontsize):
    """(figure, image, title), kept for all pictures of a run: a new figure takes longer than a new picture in it."""
    figure, axes = subplots(figsize=(inches, inches))
    axes.axis("off")
    return (figure, axes.imshow(np.zeros(shape), cmap="Greys_r", vmin=-1, vmax=1),
            axes.set_title(" ", fontsize=fontsize, parse_math=False))


def save_tutorial_grid(path, pictures, title):
    """The picture that the book saves every ten batches: `book_grid` in grey with the message as its title.

    Args:
        path: of the PNG.
        pictures: [n, H, W] in [-1, 1]; the book joins 128 real and 128 generated ones.
        title: text above the grid.
    """
    save_figure(path, book_grid(pictures), title)


def save_figure(path, picture, title, inches=8, fontsize=None):
    """A tutorial's figure: a picture under a title, without axes. The book's is 8×8 inches and grey.

    Args:
        path: of the PNG.
        picture: [H, W], which is drawn in grey, or [H, W, 3]; in [-1, 1].
        title: text above it.
        inches: width and height of the figure.
        fontsize: of the title.
    """
    figure, image, heading = _figure(picture.shape, inches, fontsize)
    image.set_data(picture if picture.ndim == 2 else (picture + 1) / 2)  # matplotlib wants colours in [0, 1]
    heading.set_text(printable(title))
    with replacing(path) as temporary:  # a higher compression takes longer than drawing
        figure.savefig(temporary, bbox_inches="tight", pil_kwargs={"compress_level": 1})


def save_losses(path, losses, title, xlabel="Batch"):
    """Draw one curve for each loss, over batches or epochs; curves of fewer than a hundred values get points.

    Args:
        path: of the PNG.
        losses: name → sequence of numbers.
        title: text above the curves.
        xlabel: text below them.
    """
    figure, axes = subplots(figsize=(15, 6))
    for name, values in losses.items():
        axes.plot(np.arange(len(values)), values, label=name, linewidth=0.8, marker="." if len(values) < 100 else None)
    axes.set_title(printable(title), parse_math=False)
    axes.set_xlabel(xlabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")


def save_animation(path, frames, seconds=12.0, most=80):
    """Write an animated GIF from picture files.

    Args:
        path: of the GIF.
        frames: paths of pictures in order; damaged pictures are left out, and pictures of another size than the last.
            If none is left, no file is written.
        seconds: how long the whole animation takes; the last picture stays for two seconds more.
        most: at most this many pictures, evenly spread, so that the file stays small.
    """
    chosen = [frames[i] for i in spread(len(frames), most)]
    pictures = []
    for frame in chosen:
        with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError), \
                Image.open(frame, formats=["PNG"]) as picture:
            pictures.append(picture.quantize(32))  # few colours keep the file small
    if not pictures:
        return
    pictures = [picture for picture in pictures if picture.size == pictures[-1].size]
    duration = max(20, int(1000 * seconds / len(pictures)))
    with replacing(path) as temporary:
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], loop=0,
                         duration=[duration] * (len(pictures) - 1) + [duration + 2000])
