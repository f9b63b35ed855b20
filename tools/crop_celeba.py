"""Crop CelebA's pictures to the 64×64 faces that the dynamic graph trains on."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.backend.runtime import cores
from common.errors import UserError, run_command, say
from common.files import expanded, filled
from common.training.options import CROPPED, UNCROPPED, Parser, add_box, positive

INPUT = UNCROPPED[0]
CELEBAS_SIZE = 178, 218
SHOWN = 50  # failed pictures that are listed one by one


def main(argv=None):
    """Run the command; raises `UserError`."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--input", type=expanded, default=INPUT, help="folder of pictures, or img_align_celeba.zip itself")
    add("--output", type=expanded, default=CROPPED,
        help="folder for the 64×64 pictures; a name ending in .npy: one packed array and no pictures")
    add_box(parser)
    add("--threads", type=positive, default=cores(), help="threads to crop with")
    add("--overwrite", action="store_true", help="crop again what is there already")
    add("--fast", action="store_true",
        help="decode at half size: 1.5 to 1.8 times as fast, pixels differ by 1 of 255 on average")
    args = parser.parse_args(argv)

    from common.crop import Box, crop_folder  # not before --help, because NumPy and Pillow load slowly
    from common.pictures.picture_files import PictureFiles

    if args.fast:
        check_opencv()
    if args.input == INPUT:
        args.input = next(filter(filled, UNCROPPED), INPUT)
        if args.input != INPUT:
            print(f"there is no {INPUT}: reading {args.input}")
    box = Box(args.x, args.y, args.size)
    if args.output.suffix == ".npy":
        return pack(args, box)
    pictures = PictureFiles(args.input)
    box.check(*(pictures.first_size() or CELEBAS_SIZE))
    summary = crop_folder(pictures, args.output, box, args.threads, args.overwrite, args.fast)
    return report(summary, args.output, args.overwrite)


def check_opencv():
    """Raise `UserError` if OpenCV is not installed."""
    from importlib.util import find_spec

    if find_spec("cv2") is None:
        raise UserError("--fast needs OpenCV; pip install opencv-python-headless, or leave --fast out")


def pack(args, box):
    """Crop straight into the packed array that training reads, with no JPEG in between."""
    from common.pictures.packed import open_packed

    if args.input.suffix == ".npy":
        raise UserError(f"{args.input} is packed already; name the folder of the pictures, or the archive")
    packed = open_packed(args.input, args.output, box, fast=args.fast, threads=args.threads,
                         overwrite=args.overwrite)
    print(f"{args.output}: {len(packed)} pictures, {len(packed.failed)} left out")
    return 1 if packed.failed else 0


def report(summary, output, overwrite):
    """Print the `Summary`. Returns the exit code."""
    rate = summary.done / summary.seconds if summary.seconds else 0
    print(f"{output}: {summary.done} done, {summary.skipped} skipped (there already), "
          f"{len(summary.failed)} failed; {summary.seconds:.1f} s, {rate:.0f} pictures/s")
    for name, reason in summary.failed[:SHOWN]:
        say(f"failed: {name}: {reason}")
    if len(summary.failed) > SHOWN:
        print(f"failed: and {len(summary.failed) - SHOWN} more", file=sys.stderr)
    if summary.left:
        print(f"interrupted, {summary.left} pictures to go; run again "
              + ("with --overwrite to crop all of them anew" if overwrite else "to continue"), file=sys.stderr)
        return 130
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
