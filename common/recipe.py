"""The interface between a tutorial and the rest of the project: its `Recipe`, its `Oddity`s, and its `GAN`.

A tutorial is one file with a ``RECIPE`` in it, and one line in `TUTORIALS`. The file holds everything that is known of
the tutorial; the commands and tools ask its recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar

from common.errors import UserError
from common.gan import GAN, LOCK, Curves  # noqa: F401  a tutorial finds its whole interface here

# The name of each tutorial → the module with its RECIPE. The module's package has its train.py and generate.py.
# A package's first tutorial is the default of its train.py.
TUTORIALS = {
    "book": "static_mnist.book",
    "note6": "static_mnist.note6",
    "cgan": "static_mnist.cgan",
    "faces": "dygraph_celeba.gan",
}
DEFAULT_RUN = "output_dcgan"  # the book's ``output``; it stands here because the book's module imports Paddle
FORMERLY = {"dcgan_face": "faces"}  # names in the records of old runs


@dataclass(frozen=True)
class Oddity:
    """A peculiarity of a tutorial that ``--fix`` can mend; docs/fidelity.md has a row for each."""

    name: str  # of --fix
    what: str  # what is different after the fix, for --help
    where: str  # the place in the tutorial
    shows: str = "training"  # or "drawing": then the fix can also be used when a trained run draws
    measured: bool = True  # whether it changes the metrics of tools/evaluate.py
    mended_before: bool = False  # it was always mended in old runs, whose config.json has no list of known oddities


@dataclass(frozen=True)
class Layout:
    """What is known of a figure of pictures before it is read; a field of None is found in the pixels."""

    rows: int | None = None  # of the grid
    columns: int | None = None
    cell: tuple[int, int] | None = None  # (height, width) of the pictures before they were drawn larger
    gap: int = 1  # width of the gaps, in the same pixels
    real: float = 0.0  # this share of the cells, from the first on, shows real pictures


@dataclass(frozen=True)
class Figures:
    """The figures that a tutorial published: where they are, and what they show."""

    repository: str  # on GitHub, owner/name
    folder: str  # in the repository, with a slash at its end
    commits: tuple[str, ...]  # commits that may hold the files
    files: Mapping[str, str]  # file → its md5
    data: tuple[str, ...]  # kinds of data; runs on them can be compared with the figures: mnist, digits, celeba, …
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # file → its grid; a file without one is one picture
    stretched: bool = False  # whether each picture is stretched over its own range of grey values
    # What this project measures on the figure, see `common.comparison.known`: name → of its generated pictures, and of
    # its real ones or None
    numbers: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchLosses:
    """The published losses of one batch."""

    epoch: int
    batch: int
    losses: Mapping[str, float]
    options: Mapping[str, object] = field(default_factory=dict)  # that a run must have had to be compared


@dataclass(frozen=True)
class EpochMeans:
    """Published means of losses over all batches of one epoch."""

    options: Mapping[str, object]  # only runs with these options are compared
    batches: int  # in the epoch
    tolerance: float  # relative difference that the tutorial's own check allows
    losses: Mapping[str, tuple[float, tuple[str, ...]]]  # name → the mean, and the losses in metrics.jsonl behind it


@dataclass(frozen=True)
class LossCurve:
    """Losses read off a published figure: the generator's loss is high at first, then both losses settle."""

    generator: str  # the name of the generator's loss
    highest: float  # the generator's highest loss
    first: float  # the generator's loss is above this value most of the time until it settles
    settled: int  # batches until the losses settle
    losses: Mapping[str, float]  # medians after that
    options: Mapping[str, object] = field(default_factory=dict)  # only runs with these options are compared


@dataclass(frozen=True)
class Recipe:
    """A tutorial: its defaults, its data, what is odd about it, and what it published.

    A tutorial with options and data of its own overrides the methods in a subclass. Their argument ``options`` is a
    mapping, name of an option → value. Their argument ``config`` is a run's ``config.json``; before that file is
    written, it is a mapping with only ``options`` and ``dataset``.
    """

    embedded: ClassVar[str]  # the --dataset that replaces the tutorial's data where they cannot be had

    name: str  # of --recipe, and in config.json
    title: str  # follows the word "Train" in --help
    gan: type[GAN]
    epoch: int  # the tutorial's defaults, from here
    batch_size: int
    output: str
    data: tuple[str, ...]  # names of the data sets that are the tutorial's own; another one is named in every title
    epochs: Mapping[str, int] = field(default_factory=dict)  # --dataset → epochs, if they differ from ``epoch``
    learning_rate: float | None = None  # of both networks' Adam; None: there is no such option
    beta1: float | None = None
    oddities: tuple[Oddity, ...] = ()
    picture: Layout = Layout()  # of the pictures that a run saves; with cell=None cells have the size of the run's data
    figures: Figures | None = None  # the published figures
    published: tuple[BatchLosses | EpochMeans | LossCurve, ...] = ()  # losses of a run on ``data`` without any fix

    @property
    def description(self):
        """The first lines of ``train.py --help``."""
        return f"Train {self.title}."

    @property
    def fixes(self):
        """All oddities: name → what is different after the fix."""
        return {oddity.name: oddity.what for oddity in self.oddities}

    def drawing(self, fix, measured=False):
        """The names of the oddities to mend when a trained run draws.

        Args:
            fix: names of oddities that show only in drawing, or one name; "all" among them for all; None for all that
                there are.
            measured: whether to allow only oddities that change the metrics of tools/evaluate.py.

        Raises:
            UserError: the tutorial has no such oddity.
        """
        known = [oddity.name for oddity in self.oddities
                 if oddity.shows == "drawing" and (oddity.measured or not measured)]
        if fix is None:
            return known
        fix = [fix] if isinstance(fix, str) else fix
        if unknown := [name for name in fix if not known or name not in (*known, "all")]:
            there = f"has {', '.join(known)}, all" if known else "has no oddity that concerns drawing alone"
            raise UserError(f"--fix {unknown[0]}: the recipe {self.name} {there}")
        return sorted(name for name in known if "all" in fix or name in fix)  # one order: the names of metrics have it

    # Options

    def add_options(self, parser):
        """Add the tutorial's own options, including the options of its data, to a `common.training.options.Parser`."""

    def defaults(self, options):
        """Defaults that depend on other options, by name. A value that was typed or kept with the run goes first."""
        return {"epoch": self.epochs.get(options.get("dataset"), self.epoch)}

    def adam(self, options):
        """Adam's ``learning_rate`` and ``beta1``; the tutorial's in a run from before they were options."""
        return {name: options.get(name, getattr(self, name)) for name in ("learning_rate", "beta1")}

    def fault(self, options):
        """Why the options do not fit together, in words; None if they do."""
        return None

    # Data

    def open_data(self, options):
        """The data set to train on.

        Returns:
            (data, description). ``len(data)`` is the number of batches in an epoch; ``data.batch_size`` the pictures in
            a batch; ``data.epoch(number, first)`` yields an epoch's batches from number ``first`` on. The description
            goes into ``config.json``: name, source, pictures (how many), checksum, fallback (whether they replace the
            wanted data), note (for titles).

        Raises:
            UserError: there are no such pictures, or they cannot be used.
        """
        raise NotImplementedError

    def data_kind(self, config):
        """The kind of a run's data: mnist, fashion, emnist, digits, celeba, or folder for a user's own pictures."""
        return "folder"

    def real(self, config, split, data_dir=None):
        """The pictures of a run's data set.

        Args:
            config: of the run.
            split: "train", the pictures that the run was trained on; or "test".
            data_dir: where the data lie now, if they were moved; else None.

        Returns:
            (pictures, labels): uint8 [N, H, W] or [N, H, W, 3], and whole numbers [N] or None.

        Raises:
            UserError: the data are gone, or are not the run's data.
            common.data.datasets.NotThere: there is no such split.
        """
        raise NotImplementedError

    # A run

    def make_gan(self, config, place, fix=()):
        """The tutorial's `GAN` for a run, as it is before its first step.

        Args:
            config: of the run.
            place: Paddle's place, see `common.backend.runtime.place`.
            fix: oddities to mend, besides the fixes that the run was trained with.
        """
        raise NotImplementedError

    def begin(self, folder, data, description):
        """Called before the first step of a new run, with its folder and what `open_data` returned."""

    def end(self, options, metrics):
        """Called after the last step, with the lines of ``metrics.jsonl``."""


def names(package=None):
    """The names of all tutorials, or of a package's tutorials."""
    return tuple(name for name in TUTORIALS if package in (None, package_of(name)))


def package_of(name):
    """The package of a tutorial; None if there is no such tutorial."""
    return TUTORIALS[name].partition(".")[0] if name in TUTORIALS else None


def current(name):
    """The present name of a recipe; ``name``, from an old run's records, may be a former one."""
    return FORMERLY.get(name, name)


def load(name):
    """The `Recipe` of a tutorial.

    This imports its networks, and Paddle with them: `common.backend.runtime.prepare` comes first.

    Raises:
        UserError: there is no such tutorial.
    """
    if name not in TUTORIALS:
        raise UserError(f"there is no recipe {name!r}, only {', '.join(TUTORIALS)}")
    return import_module(TUTORIALS[name]).RECIPE


def other_command(name, command):
    """The end of a message about a run of another package: which command to use. It follows a comma."""
    package = package_of(name)
    return f"which is for {package}/{command}" if package else f"which is none of {', '.join(TUTORIALS)}"


def gone(source):
    """The error if a run's pictures of the user's own are not where they were."""
    return UserError(f"the pictures that the run was trained on are not in {source} any more; "
                     "--data_dir names the place where they are now")


def same_pictures(recorded, checksum):
    """Whether a run's recorded checksum is that of pictures.

    A run of an earlier version may have the first 32 digits alone, see `common.data.datasets.Pictures`.
    """
    return recorded in (checksum, checksum[:32])


def other_pictures(source):
    """The error of `Recipe.real` if the data are not the run's data."""
    return UserError(f"the pictures in {source} are not those that the run was trained on; "
                     "name their folder with --data_dir")
