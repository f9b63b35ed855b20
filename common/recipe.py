"""The interface between a tutorial and the rest of the project: its `Recipe`, its `Oddity`s, and its `GAN`.

A tutorial is one file with a ``RECIPE`` in it, and one line in `TUTORIALS`. The file holds everything that is known of
the tutorial; the commands and tools ask its recipe.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from threading import RLock
from typing import ClassVar

from numpy.random import RandomState

from common.errors import UserError

# The name of each tutorial → the module with its RECIPE. The module's package has its train.py and generate.py.
# A package's first tutorial is the default of its train.py.
TUTORIALS = {
    "book": "static_mnist.book",
    "note6": "static_mnist.note6",
    "cgan": "static_mnist.cgan",
    "faces": "dygraph_celeba.gan",
}
LOCK = RLock()  # is held while Paddle's programs or networks run, because threads share scope, mode and statistics
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
    first: float  # the generator's loss stays above this value until it settles
    settled: int  # batches until the losses settle
    losses: Mapping[str, float]  # medians after that
    options: Mapping[str, object] = field(default_factory=dict)  # only runs with these options are compared


@dataclass(frozen=True)
class Curves:
    """The figure of a run's losses."""

    file: str = "losses.png"
    title: str | None = None  # None: the recipe's name
    xlabel: str = "Batch"
    labels: tuple[str, ...] | None = None  # of the lines; None: the losses' names
    by_epoch: bool = False  # a point for the last batch of each epoch, not one for each batch


class GAN:
    """The networks of a tutorial, one training step, and pictures: everything that the training loop uses.

    The loop knows nothing of Paddle's two modes. A tutorial must define ``losses`` and each method that raises
    ``NotImplementedError`` here. The other methods and attributes have defaults.
    """

    losses: ClassVar[tuple[str, ...]] = ()  # names of the losses that messages and titles show
    record_every = 10  # batches between two pictures with their messages, counted in each epoch, see `due`
    preview = None  # (rows, columns) of the constant noise's pictures; None: as many as a batch has, in a square
    curves = Curves()
    files: ClassVar[tuple[str, ...]] = ()  # names of further files and folders that it writes into a run's folder
    classes = None  # the names of a conditional GAN's classes

    mode = nullcontext  # makes a context in which Paddle is in the mode, static or dynamic, that the networks need

    def noise(self, count, random):
        """Noise for `sample`, [count, …] float32, drawn from a ``numpy.random.RandomState``."""
        raise NotImplementedError

    def step(self, batch, random):
        """Do one training step on a batch of the recipe's data; return name → loss, with every name in ``losses``."""
        raise NotImplementedError

    @classmethod
    def original(cls, place, batch_size):
        """A new GAN with all of the tutorial's defaults, for batches of this size."""
        return cls(place)

    def random_batch(self, count, random):
        """Uniform noise in place of real pictures: a batch as `step` takes it."""
        raise NotImplementedError

    def seen(self, result):
        """Called within `step` after each run of a program, in dynamic mode after each step of an optimiser.

        Args:
            result: the loss of that run; or the generated pictures, if it ran only the generator. `state` is already
                the state after the run.
        """

    def sample(self, noise):
        """Pictures [n, H, W] or [n, H, W, C] in [-1, 1], float32, for noise; the same at each call."""
        raise NotImplementedError

    def state(self):
        """A copy of every array that training changes, by name."""
        raise NotImplementedError

    def load_state(self, arrays):
        """Put arrays back where `state` took them from.

        Raises:
            UserError: an array is missing or has another shape.
        """
        raise NotImplementedError

    def message(self, epoch, batch, losses):
        """The tutorial's message about a batch; the batch's picture has it as its title."""
        shown = " ".join(f"{name}={losses[name]}" for name in self.losses)
        return f"Epoch ID={epoch} Batch ID={batch} {shown}"

    def draw(self, path, title, real, generated):
        """Save the tutorial's picture of a batch.

        Args:
            path: of the PNG.
            title: the message, and a note where the data are not the tutorial's.
            real: the batch of real pictures.
            generated: `sample` of the constant noise.
        """
        from common import plotting

        plotting.save_figure(path, plotting.grid(generated), title)

    def save_frame(self, path, noise, generated):
        """Save only the pictures of the constant noise.

        Args:
            path: of the PNG.
            noise: the constant noise.
            generated: `sample` of it.
        """
        from common import plotting

        plotting.save_grid(path, generated, self.preview)

    def due(self, batch, step, last):
        """Whether a picture and a message are due after a batch.

        Args:
            batch: its number in the epoch, from 0.
            step: its number in the run, from 1.
            last: whether it is the last batch of an epoch or of the run.
        """
        return batch % self.record_every == 0

    def end_epoch(self, folder):
        """Called with the run's folder after the last batch of each epoch and of the run."""

    def generator_names(self):
        """The names of the arrays of `state` that `load_generator` needs; old checkpoints keep only these arrays."""
        return list(self.state())

    def load_generator(self, arrays):
        """`load_state`, only for the arrays that drawing needs, see `generator_names`."""
        self.load_state(arrays)

    def new_pictures(self, count, random, labels=None):
        """New pictures, drawn as the tutorial draws them after training.

        Args:
            count: how many.
            random: ``numpy.random.RandomState`` of the noise.
            labels: for a conditional GAN, whole numbers [count]; None: spread evenly over its classes.

        Returns:
            (pictures [count, H, W] or [count, H, W, C] in [-1, 1], labels [count] or None).
        """
        from common.training.sampling import in_batches

        return in_batches(self.sample, self.noise(count, random)), None

    def interpolations(self, count, random, labels=None):
        """Rows of pictures, each from one noise to another; see `common.training.sampling.interpolation`.

        Args:
            count: how many rows.
            random: ``numpy.random.RandomState`` of the noise.
            labels: for a conditional GAN, whole numbers [count], one for each row; None: spread evenly.

        Returns:
            [count · 10, H, W] or [count · 10, H, W, C] in [-1, 1].
        """
        from common.training.sampling import in_batches, interpolation

        return in_batches(self.sample, interpolation(self.noise(2 * count, random)))

    # For a user's own program

    def network(self, noise):
        """Build the generator in the current static program, for `common.export`.

        Batch norm uses moving averages, and there is no dropout: with the fixes of all oddities that show only in
        drawing, `sample` draws the same pictures.

        Args:
            noise: the program's variable [n, …].

        Returns:
            (pictures [n, H, W, C] in [-1, 1], name of a parameter → its array).

        Raises:
            UserError: the tutorial's generator cannot be exported.
        """
        raise UserError("the generator of this tutorial cannot be exported")

    def noise_code(self):
        """A line of Python that draws `noise` from a ``numpy.random.RandomState`` called random, for n pictures."""
        raise UserError("the generator of this tutorial cannot be exported")

    def generate(self, count=64, seed=1, classes=None):
        """New pictures, as generate.py draws them.

        Args:
            count: how many.
            seed: of the noise, 0 … 2³² − 1.
            classes: for a conditional GAN, the name or number of a class, or several, which are repeated in turn until
                there are ``count``; None: all of its classes in turn.

        Returns:
            float32 [count, H, W, C] in [-1, 1], the same for the same arguments. C is 1 or 3.

        Raises:
            UserError: there is no such class, or the GAN has no classes.
        """
        labels = None if classes is None else self.numbers(classes, count)
        return with_channels(self.new_pictures(count, RandomState(seed), labels)[0])

    def interpolate(self, count=5, seed=1, classes=None):
        """Rows of ten pictures, each from one noise to another; ``show(…, columns=10)`` shows them as rows.

        Args:
            count: how many rows.
            seed, classes: see `generate`; a row has one class.

        Returns:
            float32 [count · 10, H, W, C] in [-1, 1], row by row. C is 1 or 3.

        Raises:
            UserError: as `generate`.
        """
        labels = None if classes is None else self.numbers(classes, count)
        return with_channels(self.interpolations(count, RandomState(seed), labels))

    def numbers(self, classes, count):
        """The numbers [count] of classes that a user names, repeated in turn.

        Raises:
            UserError: there is no such class, or the GAN has no classes.
        """
        raise UserError("classes are for conditional GANs; this GAN has none, leave them out")

    def sizes(self):
        """Network → how many trained parameters it has."""
        return {}

    def flop(self, batch_size):
        """Floating-point operations of one `step`; None if they are not counted."""
        return None


@dataclass(frozen=True)
class Recipe:
    """A tutorial: its defaults, its data, what is odd about it, and what it published.

    A tutorial with options and data of its own overrides the methods in a subclass. Their argument ``options`` is a
    mapping, name of an option → value. Their argument ``config`` is a run's ``config.json``; before that file is
    written, it is a mapping with only ``options`` and ``dataset``.
    """

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
            fix: names of oddities that show only in drawing; "all" among them for all; None for all that there are.
            measured: whether to allow only oddities that change the metrics of tools/evaluate.py.

        Raises:
            UserError: the tutorial has no such oddity.
        """
        known = [oddity.name for oddity in self.oddities
                 if oddity.shows == "drawing" and (oddity.measured or not measured)]
        if fix is None:
            return known
        if unknown := [name for name in fix if not known or name not in (*known, "all")]:
            there = f"has {', '.join(known)}, all" if known else "has no oddity that concerns drawing alone"
            raise UserError(f"--fix {unknown[0]}: the recipe {self.name} {there}")
        return known if "all" in fix else list(fix)

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


def with_channels(pictures):
    """Pictures [n, H, W] or [n, H, W, C] as [n, H, W, C]."""
    return pictures if pictures.ndim == 4 else pictures[..., None]


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


def other_pictures(source):
    """The error of `Recipe.real` if the data are not the run's data."""
    return UserError(f"the pictures in {source} are not those that the run was trained on; "
                     "name their folder with --data_dir")
