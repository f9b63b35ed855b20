"""What a conditional GAN has beside its training step: noise joined with labels, drawing by class, chosen classes."""

from numbers import Integral
from os import PathLike

import numpy as np

from common import plotting
from common.errors import UserError
from common.files import expanded, picture_file
from common.gan import interpolation, whole
from static_mnist.classes import chosen, every, named, note, one_hot, present
from static_mnist.pictures import StaticRecipe
from static_mnist.static_gan import StaticGAN

SHOWN = 10  # the most classes in the constant noise's pictures
MOST = 256  # largest batch of the generator; a bigger request is split into nearly equal ones


class ConditionalGAN(StaticGAN):
    """A GAN whose generator takes noise joined with a one-hot label.

    A tutorial sets ``shape``, (H, W, C) of a picture; ``classes``, their names; ``preview``, rows and columns;
    ``z_dim``, the numbers in a picture's noise; and ``drawing``, whether batch norm uses moving averages → (program,
    its pictures, its `static_mnist.dropout.Dropout`).
    """

    def random_batch(self, count, random):
        """Random pictures [count, H·W·C] in [-1, 1), float32, and labels [count] that repeat all classes in order."""
        images = random.uniform(-1, 1, [count, int(np.prod(self.shape))]).astype("float32")
        return images, np.arange(count) % len(self.classes)

    def noise(self, count, random):
        """Noise and one-hot labels [count, z_dim + classes] for previews: row by row, one column for each class."""
        columns = np.arange(count) % self.preview[1]
        return self.joined(np.eye(len(self.classes))[columns], random)

    def joined(self, labels, random):
        """Noise in [-1, 1) joined with one-hot labels [n, classes]: [n, z_dim + classes], float32."""
        noise = random.uniform(-1, 1, size=(len(labels), self.z_dim))
        return np.concatenate([noise, labels], axis=1).astype("float32")

    def images(self, input_z, random, moving):
        """Pictures [n, H, W, C] in [-1, 1] for noise and labels, in batches of at most `MOST`.

        Args:
            input_z: see `joined`.
            random: ``numpy.random.RandomState`` of dropout.
            moving: whether batch norm uses moving averages, not the statistics of a batch.
        """
        program, output, dropout = self.drawing[moving]
        parts = []
        for part in np.array_split(input_z, -(-len(input_z) // MOST)):  # equal: a small last part has odd statistics
            images = self.drawn(program, {"input_z": part, **dropout.masks(len(part), random)}, output)
            parts.append(images.transpose(0, 2, 3, 1))
        return np.concatenate(parts)

    def sample(self, noise):
        """Pictures [n, H, W] or [n, H, W, 3] in [-1, 1] for `noise`: moving averages, dropout with a fixed seed."""
        images = self.images(noise, np.random.RandomState(0), moving=True)
        return images[..., 0] if images.shape[-1] == 1 else images

    def new_images(self, input_z, random):
        """Pictures [n, H, W, C] in [-1, 1] for noise and labels, as ``generate_new`` draws them.

        The statistics in batch norm are those of up to `MOST` pictures, unless ``fix`` says moving averages.
        """
        return self.images(input_z, random, moving="generation_statistics" in self.fix)

    def new_pictures(self, count, random, labels=None):
        """See `common.gan.GAN.new_pictures`.

        Without labels, whole batches of `MOST` pictures are drawn, and the first ``count`` are returned. So batch norm
        has as good statistics for a few pictures as for many.
        """
        drawn = np.arange(-(-count // MOST) * MOST) % len(self.classes) if labels is None else np.asarray(labels)
        pictures = self.new_images(self.joined(np.eye(len(self.classes))[drawn], random), random)
        return pictures[:count], drawn[:count]

    def interpolations(self, count, random, labels=None):
        """See `common.gan.GAN.interpolations`; drawn as ``generate_new`` draws."""
        labels = np.arange(count) % len(self.classes) if labels is None else np.asarray(labels)
        ends = self.joined(np.eye(len(self.classes))[labels.repeat(2)], random)
        return self.new_images(interpolation(ends), random)

    def generate(self, count=64, seed=1, classes=None):
        """See `common.gan.GAN.generate`. Whole batches are drawn for named classes, too, see `new_pictures`."""
        count = whole("count", count)
        return super().generate(count if classes is None else -(-count // MOST) * MOST, seed, classes)[:count]

    def numbers(self, classes, count):
        """See `common.gan.GAN.numbers`."""
        return one_hot(self.classes, named(classes), 1, count).argmax(1)

    def save_frame(self, path, noise, generated):
        """Save the constant noise's pictures, one column for each class, at most `SHOWN` classes.

        Columns after the preview's classes reuse the preview's noise: drawing more noise would change the random
        numbers that the training draws next.
        """
        rows, columns = self.preview
        shown = min(SHOWN, len(self.classes))
        if shown > columns:
            z = noise.reshape(rows, columns, -1)[:, np.arange(shown) % columns, :self.z_dim]
            labels = np.tile(np.eye(len(self.classes), dtype="float32")[:shown], [rows, 1])
            generated = self.sample(np.concatenate([z.reshape(-1, self.z_dim), labels], axis=1))
        plotting.save_grid(path, generated, (rows, shown), self.classes[:shown])


def plot_and_seed(plot, seed, cols):
    """(path of the grid's PNG or None, seed) from the arguments of a ``generate_new``.

    A whole number as ``plot`` is the seed, and then ``seed`` may be the path: earlier versions had the seed before the
    plot, where the chapter has the plot.

    Raises:
        UserError: ``plot`` is neither a path nor None or False.
    """
    if isinstance(plot, Integral) and not isinstance(plot, bool):
        plot, seed = None if seed == 1 else seed, plot
    if plot is not None and plot is not False and not isinstance(plot, (str, PathLike)):
        raise UserError(f"plot is the name of a PNG here, not {plot!r}; common.show(images, columns={cols}) shows "
                        "the grid")
    return picture_file(expanded(plot)) if plot else None, seed


class ConditionalRecipe(StaticRecipe):
    """A tutorial on pictures with labels, of any size, and of all classes or of chosen ones."""

    shape = None

    def add_options(self, parser):
        super().add_options(parser)
        parser.add_argument("--classes", nargs="+", default=[], metavar="CLASS",
                            help="train on these classes of the data set alone, named or by number; two at least "
                                 "(default: all)")

    def open_data(self, options):
        data, description = super().open_data(options)
        if not every(options["classes"]):
            description["note"] = "; ".join(filter(None, (description["note"], note(description["classes"]))))
        return data, description

    def _pictures(self, dataset, data_dir, options, **more):
        return chosen(super()._pictures(dataset, data_dir, options, **more), options.get("classes"))

    def describe(self, pictures):
        shape = pictures.images.shape[1:]
        return {"shape": [*shape[:2], *(shape[2:] or [1])], "classes": present(pictures)[1]}
