"""The options of a training. A typed value goes before one that the run has kept, and that before a default."""

import argparse
import math
import sys
from pathlib import Path

from common import recipe as recipes
from common.backend import runtime
from common.errors import UserError
from common.files import expanded
from common.parallel import processes
from common.training.records import Records, no_run

# Where the tutorial has CelebA: cropped, and as it is downloaded, unpacked or not
CROPPED, *UNCROPPED = map(Path, ("work/imgs", "work/img_align_celeba", "img_align_celeba", "work/img_align_celeba.zip",
                                 "img_align_celeba.zip"))
LARGEST_SIDE = 4096  # pixels of a crop
KEPT = ("epoch", "data_dir", "no_download")  # a resumed run may change them; config.json keeps the new value
# All options that a resumed run may change. Any other option decides the run's numbers and stays as it was.
FREE = {*KEPT, "max_steps", "output", "resume", "overwrite", "dry_run", "visualdl"}


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, defaults in the help, and `typed`."""

    def __init__(self, **kwargs):
        self.defaults = {}
        super().__init__(allow_abbrev=False, **kwargs)

    def add_argument(self, *names, default=None, help=None, **kwargs):
        """As in argparse. Defaults are kept separately, so that typed options can be told from defaults."""
        if default is argparse.SUPPRESS:  # --help itself
            return super().add_argument(*names, default=default, help=help, **kwargs)
        if kwargs.get("action") == "store_true":
            default = False
        if not (default is None or default is False or default == []):
            help = f"{help} (default: {str(default).replace('%', '%%')})"
        action = super().add_argument(*names, default=argparse.SUPPRESS, help=help, **kwargs)
        self.defaults[action.dest] = default
        return action

    def parse_known_args(self, args=None, namespace=None):
        """As in argparse, whose `parse_args` calls it: the typed options, and defaults for all others."""
        typed, rest = super().parse_known_args(args, namespace)
        return argparse.Namespace(**{**self.defaults, **vars(typed)}), rest

    def typed(self, argv):
        """Only the options that were typed: name → value."""
        typed, rest = super().parse_known_args(argv)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return vars(typed)

    def both(self, argv=None):
        """(the options as a namespace, the names of those that were typed)."""
        typed = self.typed(argv)
        return argparse.Namespace(**{**self.defaults, **typed}), set(typed)

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


def number(range_of, fits):
    """An argparse type: a number for which ``fits`` is true; ``range_of`` says so in words."""
    def read_number(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan  # fits no range
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {range_of}")
        return value

    return read_number


learning_rate = number("above 0 and up to 1", lambda value: 0 < value <= 1)
beta = number("from 0 and below 1", lambda value: 0 <= value < 1)


def coordinate(text):
    """argparse type: a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def at_most(largest, fault):
    """An argparse type: a whole number from 1 to ``largest``; ``fault`` says what is wrong with a larger one."""
    def read_at_most(text):
        value = positive(text)
        if value > largest:
            raise argparse.ArgumentTypeError(f"{text!r} is {fault}")
        return value

    return read_at_most


side = at_most(LARGEST_SIDE, f"more than {LARGEST_SIDE} pixels")  # width and height of a crop


def add_box(parser, more=""):
    """Add the options of a `common.crop.Box`, with its defaults; ``more`` is added to the help of ``--size``."""
    add = parser.add_argument
    add("--x", type=coordinate, default=0, metavar="PIXELS", help="left edge of the crop, after scaling")
    add("--y", type=coordinate, default=10, metavar="PIXELS",
        help="upper edge of the crop; the tutorial's listing says 20, its prose 10")
    add("--size", type=side, default=64, metavar="PIXELS",
        help=f"width and height of the crop; the short side is scaled to it first{more}")


def add_training_options(parser, names, recipe=None):
    """The options that every tutorial has, in the tutorials' spelling.

    Args:
        parser: `Parser`.
        names: of the tutorials to choose from; with a single name there is no ``--recipe``.
        recipe: the recipe that gives defaults and oddities; None for a help text that is true of all ``names``.
    """
    add = parser.add_argument
    if len(names) > 1:
        add("--recipe", choices=names, default=recipe.name if recipe else names[0],
            help="the tutorial; --recipe NAME --help lists the options of each")
    own = {} if recipe else {"default": "the tutorial's"}
    add("--batch_size", type=positive, help="pictures in a batch", **own or {"default": recipe.batch_size})
    epochs = "".join(f"; {count} for {data}" for data, count in (recipe.epochs if recipe else {}).items())
    add("--epoch", type=positive, help="epochs to train" + epochs, **own or {"default": recipe.epoch})
    add("--output", type=expanded, metavar="DIR", help="folder of the run: pictures, records, checkpoints",
        **own or {"default": Path(recipe.output)})
    add("--use_gpu", action="store_true", help="train on CUDAPlace(0) instead of CPUPlace")
    add("--amp", action="store_true",
        help="faster: convolutions and dense layers round their factors to bfloat16, on a CPU with AVX-512 BF16 or "
             "AMX, or to float16, on a GPU; not the tutorial's arithmetic, see docs/performance.md")
    add("--seed", type=seed, default=0, metavar="N", help="seed of initial values, noise and order")
    if not recipe or recipe.learning_rate is not None:
        add("--learning_rate", type=learning_rate, metavar="RATE", help="of Adam, for both networks",
            **own or {"default": recipe.learning_rate})
        add("--beta1", type=beta, metavar="SHARE", help="of Adam: how much of its mean gradient stays at each step",
            **own or {"default": recipe.beta1})
    fixes = recipe.fixes if recipe else {}
    listed = "; ".join(f"{name}: {text}" for name, text in fixes.items()) + "; all" if recipe else (
        "each tutorial has its own; or all")
    add("--fix", nargs="+", default=[], metavar="NAME", choices=[*fixes, "all"], help=f"mend oddities: {listed}")
    add("--max_steps", type=positive, metavar="N", help="stop after N iterations, those before --resume included")
    add("--resume", action="store_true", help="go on with the run in --output from its newest checkpoint")
    add("--overwrite", action="store_true", help="delete the run in --output and start anew")
    add("--dry_run", action="store_true",
        help="print options and sizes, and estimate minutes and disk space from two iterations; leave no run behind")
    add("--visualdl", action="store_true", help="write VisualDL logs into DIR/visualdl too")


def read(package, argv=None):
    """Read the command line of a package's train.py and complete it by kept values and defaults.

    This imports Paddle, because the file with a tutorial's defaults has its networks, too. There is one exception:
    ``--help`` without a tutorial's name, in a package with several tutorials, lists the options that all of them have.

    Args:
        package: of the tutorials to choose from, see `common.recipe.TUTORIALS`.
        argv: the typed arguments; None: those of ``sys.argv``.

    Returns:
        (`common.recipe.Recipe`, the options as a namespace).

    Raises:
        UserError: a value is wrong, options exclude each other, or one differs from the run's that is resumed.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = chosen(recipes.names(package), argv)
    runtime.prepare()
    recipe = recipes.load(name)
    return recipe, complete(recipe, argv)


def parser_of(recipe):
    """The `Parser` of a recipe's options."""
    parser = Parser(prog="train.py", description=recipe.description)
    add_training_options(parser, recipes.names(recipes.package_of(recipe.name)), recipe)
    recipe.add_options(parser)
    return parser


def complete(recipe, argv):
    """The options as a namespace, as in `read`, for a given recipe."""
    parser = parser_of(recipe)
    typed = parser.typed(argv)
    if "fix" in typed:
        typed["fix"] = sorted(recipe.fixes if "all" in typed["fix"] else {*typed["fix"]})
    kept = {}
    if typed.get("resume"):
        if typed.get("overwrite"):
            parser.error("--resume and --overwrite exclude each other")
        kept = kept_options(recipe, typed, typed.get("output", Path(recipe.output)))
    options = {**parser.defaults, **kept, **typed}
    options |= {**recipe.defaults(options), **kept, **typed}
    if fault := recipe.fault(options):
        parser.error(fault)
    return argparse.Namespace(**options)


def chosen(names, argv):
    """The name of the tutorial: the one that was typed, else that of the run to resume, else the first one.

    Raises:
        UserError: there is no such tutorial, or the run belongs to another package.
        SystemExit: ``--help`` without a tutorial's name has been printed.
    """
    parser = Parser(prog="train.py", add_help=False)
    parser.add_argument("--recipe", choices=names)
    parser.add_argument("--output", type=expanded)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    args, _ = parser.parse_known_args(argv)
    if args.recipe:
        return args.recipe
    if args.help and len(names) > 1:
        parser = Parser(prog="train.py", description=f"Train one of the tutorials {', '.join(names)}. Each has options "
                        "of its own, data sets and oddities: --recipe NAME --help lists them.")
        add_training_options(parser, names)
        parser.parse_args(["--help"])
    if args.resume and args.output and Records(args.output).exists():
        kept = Records(args.output).read_config()["recipe"]
        if kept not in names:
            raise UserError(f"--resume: the run in {args.output} is of the recipe {kept}, "
                            + recipes.other_command(kept, "train.py"))
        return kept
    return names[0]


def kept_options(recipe, typed, output):
    """The options that the run in ``output`` was started with, without those that are for one call only.

    If `run_options` adds a fix, it is added to the typed options, too, so that an old run's command resumes it.

    Raises:
        UserError: there is no run; a typed option differs and may not change, see `KEPT`; or the run is of another
            recipe.
    """
    records = Records(output)
    if not records.exists():
        # Before data are downloaded or packed; a dry run does neither
        if processes.count == 1 and not (typed.get("dry_run") or records.metrics_path.exists()):
            raise no_run(output)
        return {}
    config = records.read_config()
    if config["recipe"] != recipe.name:
        known = config["recipe"] in recipes.names(recipes.package_of(recipe.name))
        raise UserError(f"--resume: the run in {output} is of the recipe {config['recipe']}, " + (
            f"not {recipe.name}; --recipe {config['recipe']} resumes it" if known else
            recipes.other_command(config["recipe"], "train.py")))
    options = run_options(recipe, config)
    if "fix" in typed:
        typed["fix"] = sorted({*typed["fix"], *(set(options["fix"]) - set(config["options"]["fix"]))})
    if config["dataset"].get("fallback") and jsonable(typed.get("data_dir")) in (None, options.get("data_dir")):
        options["dataset"] = recipe.embedded  # the data that were not there may be there now
        if typed.get("dataset") == "auto":
            del typed["dataset"]
    for name, value in options.items():
        if name in typed and name not in FREE and jsonable(typed[name]) != value:
            _refuse(output, name, value, jsonable(typed[name]))
    if options.get("data_dir"):
        options["data_dir"] = Path(options["data_dir"])
    return {name: value for name, value in options.items() if name in KEPT or name not in FREE}


def run_options(recipe, config):
    """The options in a run's ``config.json``, completed for old runs.

    An option that did not exist then has its default. In an old run ``config.json`` has no list of known oddities.
    Oddities with ``mended_before`` were mended in it.
    """
    defaults = {name: jsonable(value) for name, value in parser_of(recipe).defaults.items() if name not in FREE}
    before = () if "oddities" in config else [oddity.name for oddity in recipe.oddities if oddity.mended_before]
    return {**defaults, **config["options"], "fix": sorted({*config["options"]["fix"], *before})}


def _refuse(output, name, kept, typed):
    raise UserError(f"--resume: the run in {output} was started with {name} {kept}, not {typed}; "
                    f"leave --{name} out, or start anew elsewhere")


def jsonable(value):
    """An option's value as a type that JSON has."""
    return str(value) if isinstance(value, Path) else value
