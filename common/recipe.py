"""What a tutorial is to the rest of the project: its `Recipe`, its `Oddity`s, and its `GAN`.

A tutorial is one file with a ``RECIPE`` in it, and one line in `TUTORIALS`. All that is known of it stands in that
file; the commands and tools ask the recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from threading import RLock
from typing import ClassVar

from common.errors import UserError

# The name of each tutorial → the module with its RECIPE, whose package has the commands that train it and draw from it.
# The first of a package is its train.py's default.
TUTORIALS = {
    "book": "static_mnist.book",
    "note6": "static_mnist.note6",
    "cgan": "static_mnist.cgan",
    "faces": "dygraph_celeba.gan",
}
LOCK = RLock()  # for whoever runs Paddle's programs or networks: scope, mode and running statistics are shared
FORMERLY = {"dcgan_face": "faces"}  # names in the records of old runs


@dataclass(frozen=True)
class Oddity:
    """What is odd about a tutorial, and can be mended by ``--fix``; docs/fidelity.md has a row for each."""

    name: str  # of --fix
    what: str  # what is different once it is mended, for --help
    where: str  # the place in the tutorial
    shows: str = "training"  # "drawing": a trained run can be drawn with it mended, too
    measured: bool = True  # whether the metrics of tools/evaluate.py can tell
    mended_before: bool = False  # runs from before config.json listed the oddities that were known had it mended


@dataclass(frozen=True)
class Layout:
    """What is known of a figure of pictures beforehand; None is found in the pixels."""

    rows: int | None = None  # of the grid
    columns: int | None = None
    cell: tuple[int, int] | None = None  # (height, width) of the pictures before they were drawn larger
    gap: int = 1  # width of the gaps, in the same pixels
    real: float = 0.0  # share of the cells, from the first on, that are real pictures


@dataclass(frozen=True)
class Figures:
    """The pictures that a tutorial published: where they are had, and what they show."""

    repository: str  # on GitHub, owner/name
    folder: str  # in the repository, with a slash at its end
    commits: tuple[str, ...]  # that may hold the files
    files: Mapping[str, str]  # file → its md5
    data: tuple[str, ...]  # kinds of data whose runs can be held against them: mnist, digits, celeba, …
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # file → its grid; a file without one is one picture
    stretched: bool = False  # each picture over its own range of grey values


@dataclass(frozen=True)
class BatchLosses:
    """Published losses of one batch."""

    epoch: int
    batch: int
    losses: Mapping[str, float]
    options: Mapping[str, object] = field(default_factory=dict)  # that a run must have had to be compared


@dataclass(frozen=True)
class EpochMeans:
    """Published means over all batches of one epoch."""

    options: Mapping[str, object]  # that a run must have had to be compared
    batches: int  # of the epoch
    tolerance: float  # relative, that the tutorial's own check allows
    losses: Mapping[str, tuple[float, tuple[str, ...]]]  # name → the mean, and the losses in metrics.jsonl behind it


@dataclass(frozen=True)
class LossCurve:
    """Losses read off a published figure: the generator's is high at first, then both settle."""

    generator: str  # the name of its loss
    highest: float  # the generator's loss at its height
    first: float  # what it stays above until it settles
    settled: int  # batches until then
    losses: Mapping[str, float]  # medians once settled
    options: Mapping[str, object] = field(default_factory=dict)  # that a run must have had to be compared


@dataclass(frozen=True)
class Curves:
    """The figure of a run's losses."""

    file: str = "losses.png"
    title: str | None = None  # None: the recipe's name
    xlabel: str = "Batch"
    labels: tuple[str, ...] | None = None  # of the lines; None: the losses' names
    by_epoch: bool = False  # a point for the last batch of each epoch, not one for each batch


class GAN:
    """The networks of a tutorial, one training step, and pictures: all that the training loop wants.

    The loop knows nothing of Paddle's two modes. What raises ``NotImplementedError`` here, and ``losses``, a tutorial
    must have; the rest has defaults.
    """

    losses: ClassVar[tuple[str, ...]] = ()  # names of the losses that messages and titles show
    record_every = 10  # batches of an epoch between two pictures with their messages, see `due`
    preview = None  # (rows, columns) of the constant noise's pictures; None: a square of as many as a batch has
    curves = Curves()
    files: ClassVar[tuple[str, ...]] = ()  # that it leaves in the folder beside the pictures that `draw` is asked for
    classes = None  # the names of a conditional GAN's classes

    def noise(self, count, random):
        """Noise for `sample`, [count, …] float32, drawn from a ``numpy.random.RandomState``."""
        raise NotImplementedError

    def step(self, batch, random):
        """One training step on a batch of the recipe's data: the losses by name, those of ``losses`` among them."""
        raise NotImplementedError

    @classmethod
    def original(cls, place, batch_size):
        """A new one with all that the tutorial has by default, for batches of this size."""
        return cls(place)

    def random_batch(self, count, random):
        """Uniform noise in place of real pictures: a batch as `step` takes it."""
        raise NotImplementedError

    def seen(self, result):
        """Called within `step` after each run of a program, in dynamic mode after each step of an optimiser.

        Args:
            result: the run's loss, or the pictures of a generator that runs alone; the state is the one after it.
        """

    def sample(self, noise):
        """Pictures [n, H, W] or [n, H, W, C] in [-1, 1], float32, for noise; the same at each call."""
        raise NotImplementedError

    def state(self):
        """Every array that training changes, by name: a copy."""
        raise NotImplementedError

    def load_state(self, arrays):
        """Put arrays back where `state` took them from.

        Raises:
            UserError: an array is missing or has another shape.
        """
        raise NotImplementedError

    def message(self, epoch, batch, losses):
        """The tutorial's line about a batch, which is its picture's title too."""
        shown = " ".join(f"{name}={losses[name]}" for name in self.losses)
        return f"Epoch ID={epoch} Batch ID={batch} {shown}"

    def draw(self, path, title, real, generated):
        """Save the tutorial's picture of a batch.

        Args:
            path: of the PNG.
            title: the message, and a note where the data are not the tutorial's.
            real: the batch.
            generated: `sample` of the constant noise.
        """
        from common import plotting

        plotting.save_figure(path, plotting.grid(generated), title)

    def save_frame(self, path, noise, generated):
        """Save the pictures of the constant noise alone.

        Args:
            path: of the PNG.
            noise: the constant noise.
            generated: `sample` of it.
        """
        from common import plotting

        plotting.save_grid(path, generated, self.preview)

    def due(self, batch, step, last):
        """Whether a batch has its picture and message.

        Args:
            batch: its number in the epoch, from 0.
            step: its number in the run, from 1.
            last: it is an epoch's or the run's last.
        """
        return batch % self.record_every == 0

    def end_epoch(self, folder):
        """Called after an epoch's last batch, and after the run's last, with the run's folder."""

    def load_generator(self, arrays):
        """`load_state` of what drawing needs."""
        self.load_state(arrays)

    def new_pictures(self, count, random, labels=None):
        """Pictures as the tutorial's own generation draws them.

        Args:
            count: how many.
            random: ``numpy.random.RandomState``.
            labels: of a conditional GAN, whole numbers [count]; spread evenly over its classes when None.

        Returns:
            (pictures [count, H, W] or [count, H, W, C] in [-1, 1], labels [count] or None).
        """
        from common.training.sampling import in_batches

        return in_batches(self.sample, self.noise(count, random)), None

    def sizes(self):
        """Network → how many trained parameters it has."""
        return {}

    def flop(self, batch_size):
        """Floating-point operations of one `step`; None where nobody has counted them."""
        return None


@dataclass(frozen=True)
class Recipe:
    """A tutorial: its defaults, its data, what is odd about it, and what it published.

    The methods are for its own options and data: a subclass has them. ``options`` is a mapping of the names of options
    to their values; ``config`` is a run's ``config.json``, or its ``options`` and ``dataset`` before it is written.
    """

    name: str  # of --recipe, and in config.json
    title: str  # what "Train" goes before in --help
    gan: type[GAN]
    epoch: int  # the tutorial's defaults, from here
    batch_size: int
    output: str
    data: tuple[str, ...]  # names of the data sets that are the tutorial's own; another one is named in every title
    epochs: Mapping[str, int] = field(default_factory=dict)  # --dataset → epochs, where they are not ``epoch``
    oddities: tuple[Oddity, ...] = ()
    picture: Layout = Layout()  # of the pictures that a run saves; a cell of None has the size of the run's data
    figures: Figures | None = None  # published
    published: tuple[BatchLosses | EpochMeans | LossCurve, ...] = ()  # of a run on ``data`` with no oddity mended

    @property
    def description(self):
        """The first lines of ``train.py --help``."""
        return f"Train {self.title}."

    @property
    def fixes(self):
        """Name → what it mends, of all oddities."""
        return {oddity.name: oddity.what for oddity in self.oddities}

    def drawing(self, fix, measured=False):
        """Which of the oddities that concern drawing alone are to be mended.

        Args:
            fix: their names; "all" for all of them.
            measured: only those count that change what tools/evaluate.py measures.

        Raises:
            UserError: the tutorial has no such oddity.
        """
        known = [oddity.name for oddity in self.oddities
                 if oddity.shows == "drawing" and (oddity.measured or not measured)]
        if unknown := [name for name in fix if not known or name not in (*known, "all")]:
            there = f"has {', '.join(known)}, all" if known else "has no oddity that concerns drawing alone"
            raise UserError(f"--fix {unknown[0]}: the recipe {self.name} {there}")
        return known if "all" in fix else list(fix)

    # Options

    def add_options(self, parser):
        """Add the tutorial's own options to a `common.training.options.Parser`, those of its data among them."""

    def defaults(self, options):
        """Defaults that depend on other options, by name; what was typed, or kept with the run, wins over them."""
        return {"epoch": self.epochs.get(options.get("dataset"), self.epoch)}

    def fault(self, options):
        """What is wrong with the options together, in words; None where they fit."""
        return None

    # Data

    def open_data(self, options):
        """The data set to train on.

        Returns:
            (data, description): data has ``len()``, batches in an epoch, ``batch_size``, and ``epoch(number, first)``,
            which yields an epoch's batches from number ``first`` on. The description goes into ``config.json``: name,
            source, pictures (how many), checksum, fallback (whether they stand in for others), note (for titles).

        Raises:
            UserError: there are no such pictures, or they cannot be used.
        """
        raise NotImplementedError

    def data_kind(self, config):
        """What a run has learnt from: mnist, fashion, emnist, digits, celeba, or folder for one's own pictures."""
        return "folder"

    def real(self, config, split, data_dir=None):
        """The pictures of a run's data set.

        Args:
            config: of the run.
            split: "train", what the run was trained on; or "test".
            data_dir: where the data lie now, if no longer where they were.

        Returns:
            (pictures, labels): uint8 [N, H, W] or [N, H, W, 3], and whole numbers [N] or None.

        Raises:
            UserError: the data are gone, or others than the run's.
            common.data.datasets.NotThere: there is no such split.
        """
        raise NotImplementedError

    # A run

    def make_gan(self, config, place, fix=()):
        """The tutorial's `GAN` for a run, as it is before its first step.

        Args:
            config: of the run.
            place: Paddle's, see `common.backend.runtime.place`.
            fix: oddities to mend beside those that the run was trained with.
        """
        raise NotImplementedError

    def begin(self, folder, data, description):
        """Called before the first step of a new run, with its folder and what `open_data` returned."""

    def end(self, options, metrics):
        """Called after the last step, with the lines of ``metrics.jsonl``."""


def names(package=None):
    """The names of the tutorials: all, or those of a package."""
    return tuple(name for name in TUTORIALS if package in (None, package_of(name)))


def package_of(name):
    """The package of a tutorial; None if there is no such tutorial."""
    return TUTORIALS[name].partition(".")[0] if name in TUTORIALS else None


def current(name):
    """The name of a recipe today, from the records of a run."""
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
    """What a command says of a run that is not for it, after a comma: which one is."""
    package = package_of(name)
    return f"which is for {package}/{command}" if package else f"which is none of {', '.join(TUTORIALS)}"


def other_pictures(source):
    """The error of `Recipe.real` where the data are others than the run's."""
    return UserError(f"the pictures in {source} are not those that the run was trained on; "
                     "name their folder with --data_dir")
