"""Draw pictures from a trained generator: the shared part of the packages' ``generate.py``."""

import re
from pathlib import Path

import numpy as np

from common import pretrained
from common.errors import UserError
from common.files import DRAWN, expanded, replacing
from common.gan import STEPS
from common.training.options import Parser, positive, seed
from common.training.records import Records

GRID, SINGLE = "grid.png", re.compile(r"generated_(\d+)\.png")
MARK = ".unfinished"  # in the folder while pictures are written; an interrupted command leaves it there


def parser(package, run, output, count=64):
    """The options of a ``generate.py``.

    Args:
        package: of the command.
        run, output: default folders.
        count: default number of pictures.
    """
    options = Parser(prog="generate.py", description="Draw pictures from a trained generator.")
    add = options.add_argument
    add_source(options, Path(run), package)
    add("--count", type=positive, default=count, help="how many pictures, or rows with --interpolate")
    add("--seed", type=seed, default=1, metavar="N", help="seed of the noise")
    add("--output", type=expanded, default=Path(output), metavar="DIR", help="folder for the pictures")
    add("--interpolate", action="store_true",
        help=f"rows of {STEPS} pictures, each from one noise to another, in place of single ones")
    add("--use_gpu", action="store_true", help="draw on CUDAPlace(0) instead of CPUPlace")
    return options


def add_source(parser, run=None, package=None):
    """Add the options that name a generator, ``--run`` with its default, ``--pretrained`` and ``--checkpoint``.

    The help lists the pretrained generators, or those for one package's ``generate.py``.
    """
    add = parser.add_argument
    add("--run", type=expanded, default=run, metavar="DIR", help="folder of the trained run")
    add("--pretrained", metavar="NAME",
        help="a generator that comes with the project, in place of --run: "
             + (", ".join(pretrained.names(package)) or "none in this copy"))
    add("--checkpoint", type=expanded, metavar="FILE",
        help="one of the run's checkpoints, or best, as evaluate.py found it (default: the newest)")


def source(args):
    """The generator that the options of `add_source` name, for `common.generator.load`; ``--pretrained`` goes first."""
    return args.run if args.pretrained is None else f"{pretrained.PREFIX}{args.pretrained}"


def load(package, args, typed, fix=()):
    """The GAN that the options of a ``generate.py`` name.

    Args:
        package: of the command.
        args, typed: the options, and the names of those that were typed.
        fix: oddities of drawing to mend.

    Raises:
        UserError: as `common.generator.load`; or there is no run, options exclude each other, or the folder for the
            pictures holds some already.
    """
    from common import generator

    if args.pretrained is not None:
        if other := typed & {"run", "checkpoint"}:
            raise UserError(f"--pretrained and --{min(other)} exclude each other; leave one out")
    elif not Records(args.run).exists():
        known = pretrained.names(package)
        raise UserError(f"there is no run in {args.run}; --run DIR draws from the folder of a trained run, "
                        f"--pretrained {'|'.join(known) or 'NAME'} from a generator that comes with the project")
    refuse_earlier(args.output)  # before the drawing, which may take minutes
    return generator.load(source(args), args.checkpoint, fix, args.use_gpu, package)


def refuse_earlier(output):
    """Refuse a folder that holds drawn pictures, unless an interrupted command has left them.

    Raises:
        UserError: it does.
    """
    output = Path(output)
    if not (output / MARK).is_file() and any(each.name in (GRID, DRAWN) or _number(each) for each in output.glob("*")):
        raise UserError(f"{output} holds generated pictures already; choose another --output, or move them away")


def _number(path):
    """The number in the name of a single picture; None for any other file."""
    found = SINGLE.fullmatch(path.name)
    return int(found[1]) if found else None


def draw(gan, count, random, interpolate=False):
    """New pictures of a GAN without classes: ``count`` pictures, or ``count`` interpolations of `STEPS` pictures."""
    return gan.interpolations(count, random) if interpolate else gan.new_pictures(count, random)[0]


def write(output, pictures, columns=None, labels=()):
    """Write a grid, single pictures and the raw array, and print where they are.

    Args:
        output: a folder; it is made if it is missing.
        pictures: [n, H, W], [n, H, W, 1] or [n, H, W, 3], float32 in [-1, 1].
        columns: of the grid; None: see `common.plotting.layout`.
        labels: above the grid's columns.

    Raises:
        UserError: the folder holds pictures already, or cannot be written.
    """
    from common import plotting  # imported here, because matplotlib would delay --help

    output = Path(output)
    grid, raw, mark = output / GRID, output / DRAWN, output / MARK
    refuse_earlier(output)
    with replacing(mark):
        pass
    for old in output.glob("*"):  # of an interrupted command, which may have had more pictures
        if (_number(old) or 0) > len(pictures):
            old.unlink()
    with replacing(raw) as temporary:
        np.save(temporary, pictures)
    drawn = pictures[..., 0] if pictures.shape[3:] == (1,) else pictures
    for number, picture in enumerate(drawn, 1):
        plotting.save_png(output / f"generated_{number}.png", picture)
    plotting.save_grid(grid, pictures, columns and (-(-len(pictures) // columns), columns), labels)
    mark.unlink(missing_ok=True)  # another command may write there
    print(f"{len(pictures)} pictures: {grid}, {raw}, {output / 'generated_1.png'} …")
