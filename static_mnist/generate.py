"""Draw pictures from a trained run: ``python static_mnist/generate.py --run output_cgan --class 8 --rows 10``.

The same from Python:

    from static_mnist.generate import load
    gan = load("output_cgan")
    images = gan.generate_new(8, rows=10, cols=10)  # (100, 28, 28, 1), float32 in [-1, 1]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.backend import runtime
from common.errors import UserError, run_command

PICTURE_FIXES = ("sampling_dropout", "generation_statistics")  # of cgan: each picture is another one
DRAWING_FIXES = (*PICTURE_FIXES, "minus_one_layout")


def options(argv=None):
    """The command's options, and the names of those that were typed."""
    from common.training import command, sampling

    parser = sampling.parser(run="./output_dcgan", output="./generated")
    add = parser.add_argument
    add("--class", dest="classes", nargs="+", metavar="CLASS",
        help="of a cgan run: a class by number or name; several, or all, one a column (default: all)")
    add("--rows", type=command.positive, default=5, metavar="N", help="of a cgan run: rows of the grid")
    add("--cols", type=command.positive, metavar="N",
        help="of a cgan run: columns of the grid (default: 5, or one for each of several classes)")
    add("--fix", nargs="+", default=[], choices=[*DRAWING_FIXES, "all"], metavar="NAME",
        help="mend oddities of cgan's drawing beside those that the run was trained with: " + ", ".join(DRAWING_FIXES))
    argv = sys.argv[1:] if argv is None else argv
    return parser.parse_args(argv), command.given(parser, argv)


def load(run, checkpoint=None, fix=(), use_gpu=False):
    """The GAN of a trained run, ready to draw.

    Paddle is in static mode afterwards.

    Args:
        run: its folder.
        checkpoint: path of one of the run's checkpoints; the newest when None.
        fix: oddities to mend beside those that the run was trained with; "all" of `DRAWING_FIXES`.
        use_gpu: draw on CUDAPlace(0).

    Raises:
        UserError: there is no run, no checkpoint, or a damaged one; or it is another command's.
    """
    from common.training import sampling

    config, arrays = sampling.read_run(run, checkpoint)
    runtime.prepare(use_gpu)

    from static_mnist.train import RECIPES, make_gan

    if config["recipe"] not in RECIPES:
        raise UserError(f"{run} is a run of the recipe {config['recipe']}, which has its own generate.py")
    gan = make_gan(mended(config, DRAWING_FIXES if "all" in fix else fix), runtime.place(use_gpu))
    gan.load_state(arrays)
    return gan


def mended(config, fix):
    """A run's ``config.json`` with more oddities mended than it was trained with."""
    return {**config, "options": {**config["options"], "fix": [*config["options"]["fix"], *fix]}}


def main(argv=None):
    """Run the command; raises `UserError`."""
    args, typed = options(argv)
    gan = load(args.run, args.checkpoint, args.fix, args.use_gpu)

    import numpy as np

    from common.training import sampling

    random = np.random.RandomState(args.seed)
    columns = sampling.STEPS if args.interpolate else None
    if gan.classes:
        if "count" in typed:
            raise UserError("--count is not for a run of cgan; say --rows and --cols")
        if args.interpolate and "cols" in typed:
            raise UserError("--cols is not for --interpolate, whose rows have their own length; leave it out")
        wanted = args.classes or ["all"]
        if args.interpolate:
            labels = gan.labels(wanted, args.rows, 1, by_row=True)
            ends = gan.joined(labels.repeat(2, axis=0), random)
            pictures = gan.generate(sampling.interpolation(ends), random)
        else:
            columns = args.cols or gan.columns(wanted)
            pictures = gan.generate_new(wanted, args.rows, columns, args.seed)
    else:
        if wrong := typed & {"classes", "rows", "cols", "fix"}:
            option = min(wrong).replace("classes", "class")
            raise UserError(f"--{option} is for runs of cgan; {args.run} is one of {gan.name}, which --count suits")
        noise = (sampling.interpolation(gan.noise(2 * args.count, random)) if args.interpolate
                 else gan.noise(args.count, random))
        pictures = sampling.in_batches(gan.sample, noise)
    grid, raw = sampling.write(args.output, pictures, columns)
    print(f"{len(pictures)} pictures: {grid}, {raw}, {args.output / 'generated_1.png'} …")


if __name__ == "__main__":
    sys.exit(run_command(main))
