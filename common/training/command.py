"""What the training commands share: their options, and a run from the options to the last picture."""

import argparse
import json
import sys
import time
import timeit
from pathlib import Path

import numpy as np

from common.backend import runtime
from common.errors import UserError

# What a resumed run may change; everything else decides its numbers and stays as it was.
KEPT = ("epoch", "data_dir", "no_download")  # for the next time that it is resumed
FREE = {*KEPT, "max_steps", "output", "resume", "overwrite", "dry_run", "visualdl"}


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts with their defaults, where there is one to speak of."""

    def _get_help_string(self, action):
        none = action.default is None or action.default is False or action.default == []  # 0 is one
        return action.help if none else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors and defaults in the help."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **kwargs)

    def error(self, message):
        raise UserError(f"{message}; {self.prog} --help lists the options")


def positive(text):
    """argparse type: a whole number from 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def seed(text):
    """argparse type: a random seed as NumPy takes it, 0 … 2³² − 1."""
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number < 2 ** 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2 ** 32 - 1}")
    return number


def add_training_options(parser, epoch, batch_size, output, fixes):
    """The options that every recipe has, in the tutorials' spelling.

    Args:
        epoch, batch_size, output: the tutorial's defaults.
        fixes: name → what it mends, of the recipe's oddities.
    """
    add = parser.add_argument
    add("--batch_size", type=positive, default=batch_size, help="pictures in a batch")
    add("--epoch", type=positive, default=epoch, help="epochs to train")
    add("--output", type=Path, default=Path(output), metavar="DIR",
        help="folder of the run: pictures, records, checkpoints")
    add("--use_gpu", action="store_true", help="train on CUDAPlace(0) instead of CPUPlace")
    add("--seed", type=seed, default=argparse.SUPPRESS, metavar="N",
        help="of initial values, noise and order (default: 0)")
    add("--fix", nargs="+", default=[], metavar="NAME", choices=[*fixes, "all"],
        help="mend oddities of the tutorial: " + "; ".join(f"{name}: {text}" for name, text in fixes.items())
             + "; all")
    add("--max_steps", type=positive, metavar="N", help="stop after N iterations")
    add("--resume", action="store_true", help="go on with the run in --output from its newest checkpoint")
    add("--overwrite", action="store_true", help="delete the run in --output and start anew")
    add("--dry_run", action="store_true", help="print options, sizes and cost, train nothing")
    add("--visualdl", action="store_true", help="write VisualDL logs into DIR/visualdl too")


def parse(parser, argv, fixes):
    """The options as a namespace; with ``--resume`` those of the run in ``--output``.

    Raises:
        UserError: a value is wrong, or differs from the one that the run was started with.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    args.fix = sorted(fixes) if "all" in args.fix else sorted(set(args.fix))
    if args.resume and args.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    if args.resume and (args.output / "config.json").is_file():
        options, untold = read_options(args.output, fixes)
        args.fix = sorted({*args.fix, *untold})
        take_over(args, given(parser, argv), options)
    return args


def given(parser, argv):
    """The names of the options that were typed."""
    untyped = object()
    args = parser.parse_args(argv, argparse.Namespace(**{action.dest: untyped for action in parser._actions}))
    return {name for name, value in vars(args).items() if value is not untyped}


def read_options(output, fixes):
    """The options that the run in ``output`` was started with, and which of its fixes ``config.json`` does not tell.

    Until it listed the oddities that were known, all runs had Paddle's own Adam, which has become the fix
    ``adam_epsilon`` since: where the recipe has that oddity, they go on with it mended.
    """
    from common.training.run_folder import read_config

    config = read_config(output)
    options = config["options"]
    untold = {"adam_epsilon"} & set(fixes) if "oddities" not in config else set()
    return {**options, "fix": sorted({*options["fix"], *untold})}, untold


def take_over(args, typed, options):
    """Bring a run's own options into ``args``.

    Raises:
        UserError: one that was typed differs, and is not free to change.
    """
    for name, value in options.items():
        if name in FREE:
            if name in KEPT and name not in typed:
                setattr(args, name, Path(value) if name == "data_dir" and value else value)
        elif name in typed and jsonable(getattr(args, name)) != value:
            raise UserError(f"--resume: the run in {args.output} was started with {name} {value}, "
                            f"not {jsonable(getattr(args, name))}; leave --{name} out, or start anew elsewhere")
        else:
            setattr(args, name, value)


def jsonable(value):
    """An option as JSON holds it."""
    return str(value) if isinstance(value, Path) else value


def train(args, data, description, make_gan, fixes, start=None, report=None):
    """From options to the last picture.

    Args:
        args: options, see `add_training_options`.
        data: batches, see `common.training.loop.Loop`.
        description: of the data set, kept in ``config.json``; ``note`` in it goes into every title.
        make_gan: called with the place when the folder is ours.
        fixes: the recipe's, whose names are kept as the oddities that were known when the run was started.
        start: called with the folder's path before a new run.
        report: called with the folder's path after the last picture.

    Returns:
        The loop, which has run; None after ``--dry_run``.
    """
    place = runtime.place(args.use_gpu)
    if args.dry_run:
        dry_run(args, data, make_gan(place))
        return None

    from common.training.loop import Loop
    from common.training.run_folder import RunFolder

    writer = visualdl() if args.visualdl else None
    folder = RunFolder(args.output, args.resume, args.overwrite)
    try:
        if args.resume:
            check_data(folder, description)
        gan = make_gan(place)
        config = {"recipe": gan.name, "options": {name: jsonable(value) for name, value in vars(args).items()},
                  "oddities": sorted(fixes), "dataset": description, "files": list(gan.files), **runtime.describe()}
        if not args.resume:
            folder.write_config({**config, "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
            if start:
                start(folder.path)
        loop = Loop(gan, data, folder, np.random.RandomState(args.seed), args.epoch, args.max_steps,
                    description.get("note", ""), writer and writer(logdir=str(args.output / "visualdl")), report)
        if args.resume:
            path = loop.resume()
            kept = folder.read_config()
            kept["options"].update({name: config["options"][name] for name in KEPT if name in config["options"]})
            folder.write_config(kept)
            print(f"resuming {path} at step {loop.step} of {loop.steps}")
        loop.run()
        return loop
    finally:
        folder.close()


def check_data(folder, description):
    """Refuse to go on with other pictures, and warn where the sums would come out otherwise.

    Raises:
        UserError: the data set is another.
    """
    config = folder.read_config()
    if config["dataset"]["checksum"] != description["checksum"]:
        raise UserError(f"--resume: the run in {folder.path} was started on {config['dataset']['name']} "
                        f"from {config['dataset']['source']}, these pictures are others "
                        f"({description['name']} from {description['source']})")
    now = runtime.describe()
    for what, before, after in (
            ("threads", config["machine"]["threads"], now["machine"]["threads"]),
            ("Paddle", config["versions"].get("paddlepaddle"), now["versions"].get("paddlepaddle"))):
        if before != after:
            print(f"note: {what} {before} when the run started, {after} now: "
                  "the numbers will agree to rounding only, not to the bit", file=sys.stderr)


def visualdl():
    """VisualDL's ``LogWriter``.

    Raises:
        UserError: it is not installed.
    """
    try:
        from visualdl import LogWriter
    except ImportError:
        raise UserError("--visualdl: the package is not installed; pip install visualdl") from None
    return LogWriter


def dry_run(args, data, gan):
    """Print the options, the sizes of the networks, and what the run costs on this machine."""
    print(json.dumps({name: jsonable(value) for name, value in vars(args).items()}, indent=2))
    for name, count in gan.sizes().items():
        print(f"{name}: {count:,} trained parameters")
    steps = min(args.epoch * len(data), args.max_steps or sys.maxsize)
    flop = gan.flop(data.batch_size)
    if not flop:
        print(f"{len(data)} batches an epoch, {steps} iterations")
        return
    rate = product_rate()
    print(f"{len(data)} batches an epoch, {steps} iterations of {flop / 1e9:.1f} GFLOP")
    print(f"this processor multiplies 2048×2048 matrices at {rate / 1e9:.0f} GFLOP/s: at the very least "
          f"{flop / rate:.2f} s an iteration, {steps * flop / rate / 60:.0f} min in all"
          + ("; a GPU is faster" if args.use_gpu else ""))


def product_rate():
    """FLOP a second of NumPy's float32 product of 2048×2048 matrices on all cores: the best of three."""
    a = np.ones([2048, 2048], "float32")
    return 2 * 2048 ** 3 / min(timeit.repeat(lambda: a @ a, number=1, repeat=3))
