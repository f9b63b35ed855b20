"""Draw a gallery of all generators that come with the project: ``python tools/gallery.py``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import pretrained
from common.errors import run_command, terminal
from common.files import expanded, picture_file, replacing
from common.training.options import Parser

COLUMNS, ROWS = 10, 2  # pictures of each generator; MNIST and Fashion-MNIST have ten classes
SIDE = 64  # pixels of a picture
TITLE = 22  # pixels above each generator's pictures


def main(argv=None):
    """Run the command; raises `UserError`."""
    parser = Parser(prog="gallery.py", description="Draw pictures of all generators that come with the project, from "
                                                   "seed 1, into one PNG.")
    parser.add_argument("--output", type=expanded, default=Path("output_gallery/gallery.png"), metavar="FILE",
                        help="the PNG; an older one is replaced")
    output = picture_file(parser.parse_args(argv).output)
    names = pretrained.names()
    if not names:
        print("no trained generator comes with this copy of the project, so there is no gallery")
        return
    with replacing(output) as temporary:
        gallery(names).save(temporary)
    print(f"gallery of {', '.join(names)}: {output}")


def gallery(names):
    """A picture of generators one below the other, each under its name: ``PIL.Image.Image``."""
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import Image, ImageDraw, ImageFont
    from tqdm import tqdm

    from common.plotting import GAP

    font = ImageFont.truetype(findfont(FontProperties()), 14)
    width, height = COLUMNS * (SIDE + GAP) + GAP, ROWS * (SIDE + GAP) + GAP + TITLE
    whole = Image.new("RGB", (width, height * len(names)), "white")
    for number, name in enumerate(tqdm(names, disable=not terminal(), leave=False)):
        whole.paste(strip(name), (0, number * height + TITLE))
        ImageDraw.Draw(whole).text((4, number * height + 2), name, "black", font)
    return whole


def strip(name):
    """The pictures of one generator in a grid: ``PIL.Image.Image``."""
    import numpy as np
    from PIL import Image

    from common import load, plotting
    from common.data.batches import spread

    gan = load(f"{pretrained.PREFIX}{name}")
    classes = [gan.classes[i] for i in spread(len(gan.classes), COLUMNS)] if gan.classes else None
    pictures = gan.generate(ROWS * COLUMNS, classes=classes)
    step = -(-max(pictures.shape[1:3]) // SIDE)  # of larger pictures every second or third pixel is shown
    pictures = pictures[:, ::step, ::step]
    factor = SIDE // max(pictures.shape[1:3])  # by a whole factor, with an edge around smaller pictures
    pictures = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    edges = [(SIDE - size) // 2 for size in pictures.shape[1:3]]
    cells = np.full([len(pictures), SIDE, SIDE, 3], -1, "float32")
    cells[:, edges[0]:edges[0] + pictures.shape[1], edges[1]:edges[1] + pictures.shape[2]] = pictures
    return Image.fromarray(plotting.to_uint8(plotting.tile(cells, ROWS, COLUMNS)))


if __name__ == "__main__":
    sys.exit(run_command(main))
