"""Draw pictures: ``python static_mnist/generate.py --pretrained cgan --class 8 --rows 10``, or ``--run output_cgan``.

The same from Python:

    from common import load
    gan = load("output_cgan")
    images = gan.generate_new(8, rows=10, cols=10)  # (100, 28, 28, 1), float32 in [-1, 1]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import UserError, run_command


def options(argv=None):
    """The command's options, and the names of those that were typed."""
    from common.recipe import DEFAULT_RUN
    from common.training import sampling
    from common.training.options import positive

    parser = sampling.parser("static_mnist", run=DEFAULT_RUN, output="./generated")
    add = parser.add_argument
    add("--class", dest="classes", nargs="+", metavar="CLASS",
        help="of a conditional GAN: a class by number or name; several, or all, one a column (default: all)")
    add("--rows", type=positive, default=5, metavar="N", help="of a conditional GAN: rows of the grid")
    add("--cols", type=positive, metavar="N",
        help="of a conditional GAN: columns of the grid (default: 5, or one for each of several classes)")
    add("--fix", nargs="+", default=[], metavar="NAME",
        help="mend these oddities of drawing, or all, besides those that the run was trained with")
    return parser.both(argv)


def main(argv=None):
    """Run the command; raises `UserError`."""
    args, typed = options(argv)

    import numpy as np

    from common.training import sampling

    gan = sampling.load("static_mnist", args, typed, args.fix)

    random = np.random.RandomState(args.seed)
    if gan.classes:
        pictures, columns, labels = draw_classes(gan, args, typed, random)
    elif wrong := typed & {"classes", "rows", "cols"}:
        option = min(wrong).replace("classes", "class")
        raise UserError(f"{args.pretrained or f'the run in {args.run}'} has no classes to choose from; "
                        f"leave --{option} out, --count N draws N pictures")
    else:
        pictures = sampling.draw(gan, args.count, random, args.interpolate)
        columns, labels = sampling.STEPS if args.interpolate else None, ()
    sampling.write(args.output, pictures, columns, labels)


def draw_classes(gan, args, typed, random):
    """(pictures, columns of their grid, labels above them) of a conditional GAN.

    Raises:
        UserError: an option does not suit a conditional GAN.
    """
    from common.training import sampling
    from static_mnist.classes import above, columns

    wanted = args.classes or ["all"]
    if "count" in typed:
        raise UserError("--count is not for a conditional GAN; say --rows and --cols")
    if not args.interpolate:
        cols = args.cols or columns(gan.classes, wanted)
        pictures = gan.generate_new(wanted, args.rows, cols, seed=args.seed)
        return pictures, cols, above(gan.classes, gan.labels(wanted, args.rows, cols), cols)
    if "cols" in typed:
        raise UserError("--cols is not for --interpolate, whose rows have their own length; leave it out")
    labels = gan.labels(wanted, args.rows, 1, by_row=True).argmax(1)
    return gan.interpolations(args.rows, random, labels), sampling.STEPS, ()


def load(run, *args, **options):
    """`common.load`, which programs for earlier versions import from here."""
    from common import load as common_load

    return common_load(run, *args, **options)


if __name__ == "__main__":
    sys.exit(run_command(main))
