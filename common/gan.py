"""The base class of all GANs, with a default for everything that a tutorial need not define."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from operator import index
from threading import RLock
from typing import ClassVar

import numpy as np
from numpy.random import RandomState

from common.errors import UserError

STEPS = 10  # pictures in an interpolation, with both ends
LOCK = RLock()  # is held while Paddle's programs or networks run, because threads share scope, mode and statistics


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
    files: ClassVar[tuple[str, ...]] = ()  # names of further files that it writes into a run's folder
    classes = None  # the names of a conditional GAN's classes
    parallel = False  # whether `step` can take one process's share of a batch, see `common.parallel.processes`

    mode = nullcontext  # makes a context in which Paddle is in the mode, static or dynamic, that the networks need

    def noise(self, count, random):
        """Noise for `sample`, [count, …] float32, drawn from a ``numpy.random.RandomState``."""
        raise NotImplementedError

    def constant_noise(self, batch_size, random):
        """`noise` that is drawn once and shown all through the run: for each cell of ``preview``, else for a batch."""
        return self.noise(prod(self.preview) if self.preview else batch_size, random)

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
        return in_batches(self.sample, self.noise(count, random)), None

    def interpolations(self, count, random, labels=None):
        """Rows of pictures, each from one noise to another; see `interpolation`.

        Args:
            count: how many rows.
            random: ``numpy.random.RandomState`` of the noise.
            labels: for a conditional GAN, whole numbers [count], one for each row; None: spread evenly.

        Returns:
            [count · 10, H, W] or [count · 10, H, W, C] in [-1, 1].
        """
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
            UserError: there is no such class, or the GAN has no classes; ``count`` or ``seed`` is no such number, or
                there is not enough memory.
        """
        count = whole("count", count)
        with enough_memory():
            labels = None if classes is None else self.numbers(classes, count)
            return with_channels(self.new_pictures(count, seeded(seed), labels)[0])

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
        count = whole("count", count)
        with enough_memory():
            labels = None if classes is None else self.numbers(classes, count)
            return with_channels(self.interpolations(count, seeded(seed), labels))

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


def whole(name, value, least=1, most=None):
    """A whole number of any type, NumPy's too, that a program has given, as ``int``.

    Args:
        name: of the number, for the message.
        value: what was given.
        least, most: of the range, both included; None: there is no such end.

    Raises:
        UserError: it is no whole number, or lies outside of the range.
    """
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or least is not None and number < least or most is not None and number > most:
        ends = "".join(f" {word} {end}" for word, end in (("from", least), ("to", most)) if end is not None)
        raise UserError(f"{name} {value!r} is not a whole number{ends}")
    return number


def seeded(seed):
    """``numpy.random.RandomState`` of a seed that a program has given; raises `UserError` as `whole`."""
    return RandomState(whole("seed", seed, 0, 2 ** 32 - 1))


@contextmanager
def enough_memory():
    """Turn a lack of memory while drawing into a `UserError`."""
    try:
        yield
    except MemoryError as error:
        raise UserError(f"not enough memory for so many pictures ({error}); ask for fewer") from None


def interpolation(ends):
    """`STEPS` points on the straight line between each pair of rows of noise: from [2·n, …] to [n·STEPS, …]."""
    ends = ends.reshape([-1, 2, *ends.shape[1:]])
    weights = np.linspace(0, 1, STEPS, dtype="float32").reshape([1, STEPS] + [1] * (ends.ndim - 2))
    return ((1 - weights) * ends[:, :1] + weights * ends[:, 1:]).reshape([-1, *ends.shape[2:]])


def in_batches(sample, noise, size=128):
    """Call ``sample`` on at most ``size`` rows of noise at a time and join the results."""
    return np.concatenate([sample(noise[start:start + size]) for start in range(0, len(noise), size)])


def with_channels(pictures):
    """Pictures [n, H, W] or [n, H, W, C] as [n, H, W, C]."""
    return pictures if pictures.ndim == 4 else pictures[..., None]
