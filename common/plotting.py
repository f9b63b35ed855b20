"""Pictures: the tutorials' figures, loss curves, animations. Everything is drawn without a display."""

import functools
import math

import matplotlib

matplotlib.use("agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image

from common.data.batches import spread
from common.files import replacing


def grid(pictures, pad=1):
    """Join pictures into one, as the book's ``plot`` does: a square of rows with a pad above and left of each.

    Args:
        pictures: [n, H, W] or [n, H, W, 3] in [-1, 1].
        pad: pixels of 0, the middle grey.

    Returns:
        [rows·(H + pad), rows·(W + pad)] or the same with 3 channels, rows = ceil(sqrt(n)); cells without a
        picture are 0.
    """
    side = math.ceil(math.sqrt(len(pictures)))
    return tile(pictures, side, side, pad)


def tile(pictures, rows, columns, pad=1, pad_value=0.0):
    """`grid` with a given number of rows and columns, filled row by row; ``pad_value`` lies between them."""
    pictures = np.asarray(pictures)
    height, width = pictures.shape[1] + pad, pictures.shape[2] + pad
    cells = np.full([rows * columns, height, width, *pictures.shape[3:]], pad_value, pictures.dtype)
    cells[:len(pictures), pad:, pad:] = pictures
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    return cells.reshape(rows * height, columns * width, *pictures.shape[3:])


def to_uint8(pictures):
    """[-1, 1] to 0 … 255, clipped."""
    return np.clip(np.rint((np.asarray(pictures) + 1.0) * 127.5), 0, 255).astype("uint8")


def save_png(path, pictures):
    """Write one picture, or an already tiled one, in [-1, 1] as PNG."""
    with replacing(path) as temporary:
        Image.fromarray(to_uint8(pictures)).save(temporary)


def printable(text):
    """The text with a ? for each character that matplotlib's font lacks, such as Chinese ones in a folder's name."""
    font = get_font(findfont(FontProperties()))
    return "".join(character if character == "\n" or font.get_char_index(ord(character)) else "?"
                   for character in text)


@functools.cache
def _figure(shape, inches, fontsize):
    """(figure, image, title): one serves all pictures of a run, because making it costs more than filling it."""
    figure, axes = plt.subplots(figsize=(inches, inches))
    axes.axis("off")
    return (figure, axes.imshow(np.zeros(shape), cmap="Greys_r", vmin=-1, vmax=1),
            axes.set_title(" ", fontsize=fontsize, parse_math=False))


def save_tutorial_grid(path, pictures, title):
    """The picture that the book saves every ten batches: `grid` in grey with the message as its title.

    Args:
        path: of the PNG.
        pictures: [n, H, W] in [-1, 1]; the book joins 128 real and 128 generated ones.
        title: text above the grid.
    """
    save_figure(path, grid(pictures), title)


def save_figure(path, picture, title, inches=8, fontsize=None):
    """A tutorial's figure: a picture under a title, without axes. The book's is 8×8 inches and grey.

    Args:
        path: of the PNG.
        picture: [H, W] in [-1, 1] for grey, or [H, W, 3] in [0, 1].
        title: text above it.
        inches: width and height of the figure.
        fontsize: of the title.
    """
    figure, image, heading = _figure(picture.shape, inches, fontsize)
    image.set_data(picture)
    heading.set_text(printable(title))
    with replacing(path) as temporary:  # packing harder takes longer than drawing
        figure.savefig(temporary, bbox_inches="tight", pil_kwargs={"compress_level": 1})


def save_losses(path, losses, title, xlabel="Batch"):
    """One curve a loss over all batches, or epochs; fewer than a hundred are marked by points.

    Args:
        path: of the PNG.
        losses: name → sequence of numbers.
        title: text above the curves.
        xlabel: text below them.
    """
    figure, axes = plt.subplots(figsize=(15, 6))
    for name, values in losses.items():
        axes.plot(np.arange(len(values)), values, label=name, linewidth=0.8, marker="." if len(values) < 100 else None)
    axes.set_title(printable(title), parse_math=False)
    axes.set_xlabel(xlabel)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")
    plt.close(figure)


def save_animation(path, frames, seconds=12.0, most=80):
    """An animated GIF from picture files, spread evenly where there are more than ``most``.

    Args:
        path: of the GIF.
        frames: paths of pictures of one size, in order.
        seconds: that the whole lasts; the last picture stays for two more.
        most: pictures at the most, which keeps the file small.
    """
    chosen = [frames[i] for i in spread(len(frames), most)]
    pictures = []
    for frame in chosen:
        with Image.open(frame) as picture:
            pictures.append(picture.quantize(32))  # few colours keep the file small
    duration = max(20, int(1000 * seconds / len(pictures)))
    with replacing(path) as temporary:
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], loop=0,
                         duration=[duration] * (len(pictures) - 1) + [duration + 2000])
