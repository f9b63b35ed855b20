"""Conditional GAN of Packt's TensorFlow Deep Learning Projects, chapter 4, as Paddle's static graph.

Read it beside the chapter: its blocks come in its order, under its names. What stands elsewhere:

    Dataset, get_batches        Chapter4.batches below; common/data/datasets.py, folders.py, batches.py
    class numbers and names     classes.py
    noise, drawing by class     conditional.py
    tf.nn.dropout               dropout.py
    the session, the saver      static_gan.py; common/training/checkpoint.py
    epochs, the loss plot       common/training/loop.py
    a CGan without retraining   common/generator.py: load("output_cgan").generate_new(8, rows=10, cols=10)
    what is odd, each --fix     docs/fidelity.md, and RECIPE at the end
    a published figure          RECIPE at the end; ours beside it: docs/results.md
"""

import numpy as np
import paddle
from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.nn.initializer import XavierUniform
from paddle.static import Program, program_guard
from paddle.utils import unique_name

from common import plotting
from common.backend import amp, compat, fast
from common.backend.compat import scalar
from common.data.batches import Batches, scale
from common.errors import UserError
from common.gan import enough_memory, seeded, whole
from common.recipe import Curves, Figures, Layout, Oddity
from static_mnist.classes import above, named, one_hot, present
from static_mnist.conditional import ConditionalGAN, ConditionalRecipe, plot_and_seed
from static_mnist.dropout import Dropout
from static_mnist.static_gan import frozen, passes

z_dim = 96
alpha = 0.2  # slope of leaky ReLU
smooth = 0.1  # D's target for real pictures is 1 - smooth
learning_rate, beta1 = 0.0002, 0.35
MOMENTUM, EPSILON = 0.99, 0.001  # TensorFlow's own, of batch normalisation
PREVIEW = 5  # rows of a preview, and its most classes

# padding='same' as TensorFlow has it for 5×5 kernels: [top, bottom, left, right]
SAME = {1: [2, 2, 2, 2], 2: [1, 2, 1, 2]}


# Layers under TensorFlow's names, with its initial values; ``momentum`` 1 leaves moving averages as they are
def attributes(name):
    return {"weight_attr": ParamAttr(name=f"{name}/kernel", initializer=XavierUniform()),
            "bias_attr": ParamAttr(name=f"{name}/bias")}


def dense(inputs, units, name):
    """Fully connected layer."""
    return fast.Linear(inputs, units, **attributes(name))


def conv2d_transpose(channels, filters, strides, name):
    """5×5 transposed convolution, 'same' padding: height and width times ``strides``."""
    return fast.Conv2DTranspose(channels, filters, 5, strides, SAME[strides], **attributes(name))


def batch_normalization(channels, name, momentum):
    """Batch normalisation."""
    return compat.BatchNorm(channels, momentum=momentum, epsilon=EPSILON, param_attr=ParamAttr(name=f"{name}/gamma"),
                            bias_attr=ParamAttr(name=f"{name}/beta"), moving_mean_name=f"{name}/moving_mean",
                            moving_variance_name=f"{name}/moving_variance")


class Discriminator(nn.Layer):
    """Pictures [B, C, H, W] in [-1, 1] and one-hot labels [B, classes] to the logit [B, 1] that each is real.

    Args:
        shape: of a picture, (H, W, C); H and W multiples of 4.
        classes: how many.
        dropout: `Dropout`.
        momentum: of batch normalisation.
    """

    def __init__(self, shape, classes, dropout, momentum=MOMENTUM):
        super().__init__()
        height, width, channels = shape
        self.dropout = dropout
        self.labels = [-1, classes, height, width]
        self.conv, self.norm = nn.LayerList(), nn.LayerList()
        for i, (inputs, filters, strides) in enumerate([(channels + classes, 32, 2), (32, 64, 2), (64, 128, 1)]):
            self.conv.append(fast.Conv2D(inputs, filters, 5, strides, SAME[strides],
                                         **attributes(f"discriminator/conv2d_{i}")))
            self.norm.append(batch_normalization(filters, f"discriminator/batch_normalization_{i}", momentum))
        self.dense = dense(128 * height // 4 * width // 4, 1, "discriminator/dense")

    def forward(self, images, labels):
        labels = labels.unsqueeze([2, 3]).expand(self.labels)
        x = paddle.concat([images, labels], 1)     # [B, C + classes, 28, 28]
        x = self.d_conv(x, 0)                      # [B, 32, 14, 14]
        x = self.d_conv(x, 1)                      # [B, 64, 7, 7]
        x = self.d_conv(x, 2)                      # [B, 128, 7, 7]
        return self.dense(x.flatten(1))            # [B, 1]

    def d_conv(self, x, i):
        return self.dropout(fast.bn_leaky_relu(self.norm[i], self.conv[i](x), alpha))


class Generator(nn.Layer):
    """Noise and one-hot labels [B, 96 + classes] to pictures [B, C, H, W] in [-1, 1]; see `Discriminator`."""

    def __init__(self, shape, classes, dropout, momentum=MOMENTUM):
        super().__init__()
        self.height, self.width, channels = shape
        self.dropout = dropout
        self.dense = dense(z_dim + classes, 512 * self.height // 4 * self.width // 4, "generator/dense")
        self.conv_1 = conv2d_transpose(512, 256, 2, "generator/conv2d_transpose_0")
        self.conv_2 = conv2d_transpose(256, 128, 2, "generator/conv2d_transpose_1")
        self.conv_3 = conv2d_transpose(128, channels, 1, "generator/conv2d_transpose_2")
        self.norm = nn.LayerList([batch_normalization(filters, f"generator/batch_normalization_{i}", momentum)
                                  for i, filters in enumerate([512, 256, 128])])

    def forward(self, z):
        h, w = self.height // 2, self.width // 2
        x = self.dense(z)
        x = x.reshape([-1, 512, h // 2, w // 2])                                     # [B, 512, 7, 7]
        x = self.regularised(x, 0)
        x = self.regularised(self.conv_1(x, output_size=[h, w]), 1)                  # [B, 256, 14, 14]
        x = self.regularised(self.conv_2(x, output_size=[2 * h, 2 * w]), 2)          # [B, 128, 28, 28]
        return F.tanh(self.conv_3(x))                                                # [B, C, 28, 28]

    def regularised(self, x, i):
        """The shared end of g_reshaping and g_conv_transpose."""
        return self.dropout(fast.bn_leaky_relu(self.norm[i], x, alpha))


def loss(logits, target):
    """Mean over the batch of the cross entropy between sigmoid(logits) and ``target``."""
    return F.binary_cross_entropy_with_logits(logits, paddle.full_like(logits, target))


def show_original_images(path, images, labels, names):
    """Write a grid of real pictures: five rows, one column for each class.

    Args:
        path: of the PNG.
        images: uint8 [N, H, W] or [N, H, W, 3].
        labels: [N], whole numbers from 0.
        names: of the classes.
    """
    classes = labels.max() + 1
    cells = np.zeros([PREVIEW, classes, *images.shape[1:]], "float32")
    for number in range(classes):
        chosen = scale(images[np.flatnonzero(labels == number)[:PREVIEW]])
        cells[:len(chosen), number] = chosen
    plotting.save_grid(path, cells.reshape([-1, *images.shape[1:]]), (PREVIEW, classes), names)


class CGAN(ConditionalGAN):
    """The chapter's graph as four programs, one iteration of its training loop, and ``generate_new``.

    Args:
        place: ``CPUPlace`` or ``CUDAPlace``.
        shape: of a picture, (H, W, C); H and W multiples of 4.
        classes: the names of the classes, see `static_mnist.classes.present`.
        fix: names of the oddities to mend: ``sampling_dropout``, ``generation_statistics``,
            ``minus_one_layout``, ``batch_norm_updates``, ``adam_epsilon`` (and ``one_shuffle``, which
            concerns the data).
        seed: of Paddle's random numbers, which the initial values come from.
        epochs, batches: epochs of the run and batches of an epoch; only messages use them.
        learning_rate, beta1: of Adam.
    """

    losses = ("Discriminator Loss", "Generator Loss")
    curves = Curves(title="Training fitting", xlabel="Epoch", labels=("Discriminator", "Generator"), by_epoch=True)
    files = ("real_samples.png",)
    z_dim = z_dim

    def __init__(self, place, shape, classes, fix=(), seed=0, epochs=1, batches=1, learning_rate=learning_rate,
                 beta1=beta1):
        super().__init__(place)
        self.shape, self.classes, self.fix = tuple(shape), tuple(classes), fix
        self.epochs, self.batches = epochs, batches
        self.rates = {"learning_rate": learning_rate, "beta1": beta1}
        self.preview = PREVIEW, min(PREVIEW, len(self.classes))
        paddle.seed(seed)
        with unique_name.guard():
            self.build()
        self.initialise(self.train_d, self.train_g, drawing=self.drawing[True][0])

    def build(self):
        """Create the programs: D's training, G's training, previews, generation."""
        height, width, channels = self.shape
        network = self.shape, len(self.classes)
        updates = 1.0 if "batch_norm_updates" in self.fix else MOMENTUM  # momentum of the network that is not trained

        def inputs():
            """The chapter's placeholders: input_real, input_z, labels."""
            return (paddle.static.data("input_real", [None, channels, height, width], "float32"),
                    paddle.static.data("input_z", [None, z_dim + len(self.classes)], "float32"),
                    paddle.static.data("labels", [None, len(self.classes)], "float32"))

        def optimizer():
            return self.adam(**self.rates, beta2=0.999, epsilon=1e-8)

        self.train_d, self.train_g = Program(), Program()
        with program_guard(self.train_d, self.startup), amp.cast():
            input_real, input_z, labels = inputs()
            self.d_dropout = Dropout()
            g_output = frozen(Generator(*network, self.d_dropout, updates))(input_z)
            discriminator = Discriminator(*network, self.d_dropout)
            d_loss_real = loss(discriminator(input_real, labels), 1 - smooth)
            d_loss_fake = loss(discriminator(g_output, labels), 0.0)
            self.d_loss = d_loss_real + d_loss_fake
            d_vars = [var for var in compat.trained_parameters(self.train_d) if var.startswith("discriminator")]
            compat.minimize(optimizer(), self.d_loss, self.train_d, d_vars)

        with program_guard(self.train_g, self.startup), amp.cast():
            input_real, input_z, labels = inputs()
            self.g_dropout = Dropout()
            g_output = Generator(*network, self.g_dropout)(input_z)
            discriminator = frozen(Discriminator(*network, self.g_dropout, updates))
            if "batch_norm_updates" not in self.fix:
                discriminator(input_real, labels)  # run only to update D's moving averages
            self.g_loss = loss(discriminator(g_output, labels), 1.0)
            g_vars = [var for var in compat.trained_parameters(self.train_g) if var.startswith("generator")]
            compat.minimize(optimizer(), self.g_loss, self.train_g, g_vars)

        self.trained = {"D": d_vars, "G": g_vars}
        self.drawing = {moving: self.build_drawing(network, moving) for moving in (True, False)}

    def build_drawing(self, network, moving):
        """(program, its pictures, its dropout): only G. Batch norm uses moving averages or the batch's statistics."""
        program = Program()
        with program_guard(program, self.startup):
            input_z = paddle.static.data("input_z", [None, z_dim + len(self.classes)], "float32")
            dropout = Dropout("sampling_dropout" not in self.fix)
            generator = Generator(*network, dropout, momentum=1.0)
            if moving:
                generator.eval()
            return program, generator(input_z), dropout

    def network(self, noise):
        """See `common.gan.GAN.network`."""
        generator = Generator(self.shape, len(self.classes), Dropout(on=False))
        generator.eval()
        return generator(noise).transpose([0, 2, 3, 1]), self.drawing_arrays()

    def noise_code(self):
        """See `common.gan.GAN.noise_code`; the pictures show all classes in turn."""
        count = len(self.classes)
        return f"np.hstack([random.uniform(-1, 1, [n, {z_dim}]), np.eye({count})[np.arange(n) % {count}]])"

    @classmethod
    def original(cls, place, batch_size):
        """A GAN for MNIST, see `common.gan.GAN.original`."""
        return cls(place, (28, 28, 1), "0123456789")

    def step(self, batch, random):
        """One iteration: D on real pictures and fakes, then G on the same noise.

        Args:
            batch: (pictures [B, H·W·C], float32 in [-1, 1], labels [B], whole numbers from 0).
            random: ``numpy.random.RandomState`` that noise and dropout are drawn from.

        Returns:
            The losses by name, each as the optimiser saw it.
        """
        images, labels = batch
        height, width, channels = self.shape
        images = images.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        labels = np.eye(len(self.classes), dtype="float32")[labels]
        feed = {"input_real": np.ascontiguousarray(images), "input_z": self.joined(labels, random), "labels": labels}

        [d_loss] = self.run(self.train_d, {**feed, **self.d_dropout.masks(len(labels), random)}, [self.d_loss])
        [g_loss] = self.run(self.train_g, {**feed, **self.g_dropout.masks(len(labels), random)}, [self.g_loss])
        return {"Discriminator Loss": scalar(d_loss), "Generator Loss": scalar(g_loss)}

    def due(self, batch, step, last):
        """A message and a preview are due every hundred steps and after each epoch."""
        return step % 100 == 0 or last

    def message(self, epoch, batch, losses):
        """The chapter's message about a batch."""
        return "Epoch %i/%i step %i... Discriminator Loss: %0.3f... Generator Loss: %0.3f" % (
            epoch + 1, self.epochs, epoch * self.batches + batch + 1, *(losses[name] for name in self.losses))

    def draw(self, path, title, real, generated):
        """The chapter's preview: five rows, one column for each class."""
        plotting.save_figure(path, plotting.tile(generated, *self.preview), title)

    def generate_new(self, target_class=-1, rows=5, cols=5, plot=None, seed=1):
        """Draw new pictures of chosen classes.

        Args:
            target_class: a class's number or name. Several classes, or "all": one column for each, repeated to fill the
                grid. -1: the chapter's own layout of all classes, see `labels`.
            rows, cols: of the grid; as in the chapter, less than 1 counts as 1.
            plot: path of a PNG of the grid; None or False: none is drawn. A number is the seed, see `plot_and_seed`.
            seed: of noise and dropout.

        Returns:
            float32 [rows·cols, H, W, C] in [-1, 1], row by row.

        Raises:
            UserError: there is no such class, grid or seed, the chapter's layout fails, ``plot`` is no path, or there
                is not enough memory.
        """
        plot, seed = plot_and_seed(plot, seed, cols)
        rows, cols = max(1, whole("rows", rows, None)), max(1, whole("cols", cols, None))
        with enough_memory():
            labels, random = self.labels(target_class, rows, cols), seeded(seed)
            samples = self.new_images(self.joined(labels, random), random)
        if plot:
            plotting.save_grid(plot, samples, (rows, cols), above(self.classes, labels, cols))
        return samples

    def labels(self, target_class, rows, cols, by_row=False):
        """One-hot labels [rows·cols, classes] for a grid, row by row.

        Args:
            target_class: see `generate_new`.
            rows, cols: of the grid.
            by_row: one row for each class, not one column.

        Raises:
            UserError: there is no such class, or the chapter's layout (-1) does not fit into the grid. It has one row
                for each class, needs at least as many rows as columns, and is right only if both are equal.
        """
        wanted = named(target_class)
        if wanted == ["-1"] and "minus_one_layout" not in self.fix and not by_row:
            target = np.zeros([rows * cols, len(self.classes)])
            try:
                for j in range(cols):
                    for i in range(rows):
                        target[j * cols + i, j] = 1.0
            except IndexError:
                raise UserError(f"class -1 cannot fill {rows} rows and {cols} columns with {len(self.classes)} classes "
                                "in the chapter's way; ask for the class all") from None
            return target
        return one_hot(self.classes, wanted, rows, cols, by_row)

    def flop(self, batch_size):
        """Floating-point operations of one `step`, counted from the shapes of the multiplying layers."""
        height, width, channels = self.shape
        network = self.shape, len(self.classes), Dropout(on=False)
        g = passes(lambda: Generator(*network), [z_dim + len(self.classes)])
        d = passes(lambda: Discriminator(*network), [channels, height, width], [len(self.classes)])
        d_again = d.forward * ("batch_norm_updates" not in self.fix)  # on real pictures, in G's step
        return 2 * batch_size * (g.forward + 2 * d.trained + g.trained + d.through + d_again)


# What is known of the chapter beside its text


class Chapter4(ConditionalRecipe):
    """The chapter's Dataset, and its figure of original images."""

    def batches(self, pictures, options):
        labels, _ = present(pictures)
        return Batches(pictures.images, options["batch_size"], shuffle=len(labels), drop_last=False,
                       seed=options["seed"], labels=labels, reshuffle="one_shuffle" in options["fix"])

    def make_gan(self, config, place, fix=()):
        options, data = config["options"], config["dataset"]
        batches = -(-data["pictures"] // options["batch_size"])
        return CGAN(place, data["shape"], data["classes"], [*options["fix"], *fix], options["seed"], options["epoch"],
                    batches, **self.adam(options))

    def begin(self, folder, data, description):
        show_original_images(folder / "real_samples.png", data.images, data.labels, description["classes"])


RECIPE = Chapter4(
    name="cgan",
    title="the conditional GAN of Packt's TensorFlow Deep Learning Projects, chapter 4",
    gan=CGAN,
    epoch=16,
    epochs={"fashion": 64, "emnist": 32},
    batch_size=32,
    learning_rate=learning_rate,
    beta1=beta1,
    output="./output_cgan",
    data=("MNIST", "Fashion-MNIST", "EMNIST balanced-train"),
    oddities=(
        Oddity("sampling_dropout", "no dropout when pictures are drawn", "keep_prob is a constant", shows="drawing"),
        Oddity("generation_statistics", "generate.py draws with moving averages in batch norm, as previews do",
               "generator's is_train=True, which generate_new leaves", shows="drawing"),
        Oddity("one_shuffle", "a new order in each epoch", "Dataset.__init__"),
        Oddity("minus_one_layout", "class -1 means all classes, one in each column", "generate_new", shows="drawing",
               measured=False),
        Oddity("batch_norm_updates", "a step moves only the moving averages of the network that it trains",
               "optimization"),
        Oddity("adam_epsilon", "Adam's epsilon is corrected for the bias, as in Paddle today",
               "TensorFlow 1's own Adam", mended_before=True),
    ),
    figures=Figures(  # the chapter's figures are only in print; this one is from Paddle's own conditional GAN on MNIST
        "PaddlePaddle/models", "PaddleCV/gan/c_gan/images/", ("df1d8f80e26c42607ce72335e7056d2604adabf3",),
        {"conditionalGAN_demo.png": "97d123a06af6ae96cf4b53ed32d95675"},
        data=("mnist", "digits"),
        layouts={"conditionalGAN_demo.png": Layout(16, 16, (28, 28), gap=1, real=0.5)},
        numbers={"sharpness": (0.2579, 0.1646), "contrast": (77.42, 78.13), "brightness": (34.24, 34.41),
                 "confidence": (0.9961, 0.9872)},
    ),
)
