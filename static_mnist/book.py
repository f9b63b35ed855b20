"""MNIST DCGAN of the PaddlePaddle book, chapter 09.gan: static graph, four programs over one scope.

Read it beside the tutorial: its blocks come in its order, under its names. What stands elsewhere:

    plot                        common/plotting.py: save_tutorial_grid
    train_reader                Book.batches below; common/data/batches.py
    exe, startup                static_gan.py
    const_n, epochs, savefig    common/training/loop.py
    random_seed of enable_ce    fluid_random.py
    what is odd, each --fix     docs/fidelity.md, and RECIPE at the end
    published losses, figure    RECIPE at the end; ours beside them: docs/results.md
"""

import numpy as np
import paddle
import PIL.Image
import six
from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.nn.initializer import Normal, XavierUniform
from paddle.static import Program, program_guard

from common import plotting
from common.backend import amp, compat, fast
from common.backend.compat import scalar
from common.data.batches import Batches
from common.errors import UserError
from common.files import expanded
from common.recipe import DEFAULT_RUN, BatchLosses, EpochMeans, Figures, Layout, Oddity
from static_mnist import fluid_random
from static_mnist.pictures import StaticRecipe
from static_mnist.static_gan import StaticGAN, frozen, passes

# Hyper-parameters
gf_dim = 64  # channels of the generator's feature maps are multiples of this
df_dim = 64  # channels of the discriminator's feature maps are multiples of this
gfc_dim = 1024 * 2  # width of the generator's first fully connected layer
dfc_dim = 1024  # width of the discriminator's fully connected layer
img_dim = 28  # height and width of a picture

NOISE_SIZE = 100
LEARNING_RATE = 2e-4
BETA1 = 0.9  # fluid's own, of Adam
NUM_TRAIN_TIMES_OF_DG = 2  # generator steps an iteration
LEAKY = 0.02  # fluid's own slope for act='leaky_relu'


# Layers, with fluid's defaults for initial values
def bn(channels, name):
    """Batch normalisation; the tutorial's numbers: 1 scale, 2 bias, 3 moving mean, 4 moving variance."""
    one, two, three, four = (compat.parameter_name(f"{name}{i}") for i in (1, 2, 3, 4))
    return compat.BatchNorm(channels, momentum=0.9, epsilon=1e-5, param_attr=ParamAttr(name=one),
                            bias_attr=ParamAttr(name=two), moving_mean_name=three, moving_variance_name=four)


def attributes(name, initializer):
    """Names and initial values of a layer's weight and bias."""
    return {"weight_attr": ParamAttr(name=compat.parameter_name(name + "w"), initializer=initializer),
            "bias_attr": ParamAttr(name=compat.parameter_name(name + "b"))}


def conv(channels, num_filters, name, stride=1, padding=0):
    """5×5 convolution, weights from Normal(0, sqrt(2 / (5·5·channels)))."""
    return fast.Conv2D(channels, num_filters, 5, stride, padding,
                       **attributes(name, Normal(0.0, (2.0 / (25 * channels)) ** 0.5)))


def fc(size, num_filters, name):
    """Fully connected layer, weights from Xavier's uniform distribution."""
    return fast.Linear(size, num_filters, **attributes(name, XavierUniform()))


def deconv(channels, num_filters, name):
    """5×5 transposed convolution that doubles height and width; weights from Xavier's uniform distribution."""
    return fast.Conv2DTranspose(channels, num_filters, 5, stride=2, padding=2, **attributes(name, XavierUniform()))


class D(nn.Layer):
    """Discriminator: flat pictures [B, 784] in [-1, 1] to the probability [B, 1] that each is real.

    Args:
        fix: ``double_sigmoid`` leaves the last sigmoid to the loss; ``max_pool`` has strided convolutions
            in place of pooling, as the tutorial's prose says.
    """

    def __init__(self, fix=()):
        super().__init__()
        self.pooling = "max_pool" not in fix
        self.sigmoid = "double_sigmoid" not in fix
        shape = {} if self.pooling else {"stride": 2, "padding": 2}
        side = 4 if self.pooling else 7
        self.conv1 = conv(1, df_dim, "conv1", **shape)
        self.conv2 = conv(df_dim, df_dim * 2, "conv2", **shape)
        self.bn1 = bn(df_dim * 2, "bn1")
        self.fc1 = fc(df_dim * 2 * side * side, dfc_dim, "fc1")
        self.bn2 = bn(dfc_dim, "bn2")
        self.fc2 = fc(dfc_dim, 1, "fc2")

    def forward(self, x):
        x = x.reshape([-1, 1, img_dim, img_dim])
        x = self.pool(self.conv1(x), LEAKY)               # [B, 64, 12, 12]
        x = self.pool(self.conv2(x))                      # [B, 128, 4, 4]
        x = fast.bn_leaky_relu(self.bn1, x, LEAKY)
        x = self.fc1(x.flatten(1))                        # [B, 1024]
        x = fast.bn_leaky_relu(self.bn2, x, LEAKY)
        x = self.fc2(x)                                   # [B, 1]
        return F.sigmoid(x) if self.sigmoid else x

    def pool(self, x, negative_slope=1.0):
        """The 2×2 maximum of leaky ReLU; a slope of 1 is no activation, as after ``conv2``.

        With the fix ``max_pool`` there is no maximum: the convolution halves the picture.
        """
        if self.pooling:
            return fast.leaky_relu_max_pool(x, negative_slope)
        return fast.leaky_relu(x, negative_slope)


class G(nn.Layer):
    """Generator: noise [B, 100] in [-1, 1] to flat pictures [B, 784] in [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.fc3 = fc(NOISE_SIZE, gfc_dim, "fc3")
        self.bn3 = bn(gfc_dim, "bn3")
        self.fc4 = fc(gfc_dim, gf_dim * 2 * img_dim // 4 * img_dim // 4, "fc4")
        self.bn4 = bn(gf_dim * 2 * img_dim // 4 * img_dim // 4, "bn4")
        self.deconv1 = deconv(gf_dim * 2, gf_dim * 2, "deconv1")
        self.deconv2 = deconv(gf_dim * 2, 1, "deconv2")

    def forward(self, x):
        x = fast.bn_relu(self.bn3, self.fc3(x))                           # [B, 2048]
        x = fast.bn_relu(self.bn4, self.fc4(x))                           # [B, 6272]
        x = x.reshape([-1, gf_dim * 2, img_dim // 4, img_dim // 4])       # [B, 128, 7, 7]
        x = fast.relu(self.deconv1(x, output_size=[14, 14]))              # [B, 128, 14, 14]
        x = F.tanh(self.deconv2(x, output_size=[img_dim, img_dim]))       # [B, 1, 28, 28]
        return x.reshape([-1, img_dim * img_dim])                         # [B, 784]


def loss(x, label):
    """Mean over the batch of the cross entropy between sigmoid(x) and ``label``, both [B, 1]."""
    return F.binary_cross_entropy_with_logits(x, label)


class BookGAN(StaticGAN):
    """The four programs and one iteration of the tutorial's training loop.

    Args:
        place: ``CPUPlace`` or ``CUDAPlace``.
        fix: names of the oddities to mend: ``adam_epsilon``, and those of `D`.
        seed: of Paddle's random numbers, which the initial values come from.
        one_seed: fill every weight from the one sequence of random numbers that fluid took from a program's
            ``random_seed``, see `static_mnist.fluid_random`; the published baseline depends on it.
        learning_rate, beta1: of Adam.
        use_cudnn: the tutorial's switch; it matters on CUDA only.
    """

    losses = ("D-Loss", "DG-Loss")  # what messages and titles show
    record_every = 10  # batches between two pictures

    def __init__(self, place, fix=(), seed=0, one_seed=False, use_cudnn=False, learning_rate=LEARNING_RATE,
                 beta1=BETA1):
        super().__init__(place)
        compat.use_cudnn(use_cudnn)
        self.fix = fix
        self.rates = {"learning_rate": learning_rate, "beta1": beta1}
        paddle.seed(seed)
        with paddle.utils.unique_name.guard():
            self.build()
        self.initialise(self.d_program, self.dg_program, drawing=self.g_program_test)
        if one_seed:
            state = self.state()
            shapes = {name: state[name].shape for name in self.trained["D"] + self.trained["G"]}
            self.load_state({**state, **fluid_random.weights(shapes, seed)})

    def build(self):
        """Create the programs, see the section Create Program."""
        self.d_program, self.dg_program = Program(), Program()

        # Define the program to distinguish the real picture
        with program_guard(self.d_program, self.startup), amp.cast():
            img = paddle.static.data("img", [None, 784], "float32")
            label = paddle.static.data("label", [None, 1], "float32")
            d_logit = D(self.fix)(img)
            self.d_loss = loss(d_logit, label)

        # The tutorial's clones of dg_program, built anew over the same parameters: in Paddle 3 nothing of the original
        # can be fetched from a clone, and clone(for_test=True) is gone
        self.g_program, self.g_img = self.generator()
        self.g_program_test, self.g_img_test = self.generator(for_test=True)

        # Define the program to distinguish the generated pictures
        with program_guard(self.dg_program, self.startup), amp.cast():
            noise = paddle.static.data("noise", [None, NOISE_SIZE], "float32")
            g_img = G()(noise)

            # Judge the probability that the generated image is a real sample
            dg_logit = frozen(D(self.fix))(g_img)  # D's weights get no gradients here: 8 % less work in an iteration

            # Calculate the loss of the generated image as the real sample
            self.dg_loss = loss(dg_logit, paddle.ones_like(dg_logit))

        parameters = compat.trained_parameters(self.g_program)
        self.trained = {"D": compat.trained_parameters(self.d_program), "G": parameters}
        self.minimize(self.d_loss, self.d_program, self.trained["D"])
        self.minimize(self.dg_loss, self.dg_program, parameters)

    def generator(self, for_test=False):
        """(program, its pictures): only G. ``for_test`` makes batch norm use its moving averages."""
        program = Program()
        with program_guard(program, self.startup):
            noise = paddle.static.data("noise", [None, NOISE_SIZE], "float32")
            g = G()
            if for_test:
                g.eval()
            return program, g(noise)

    def minimize(self, loss, program, parameters):
        """Add Adam's step on a loss to its program."""
        with program_guard(program, self.startup):
            compat.minimize(self.adam(**self.rates), loss, program, parameters)

    def noise(self, count, random):
        """Uniform noise [count, 100] in [-1, 1), float32, from a ``numpy.random.RandomState``."""
        return random.uniform(low=-1.0, high=1.0, size=[count, NOISE_SIZE]).astype("float32")

    def step(self, batch, random):
        """One iteration: D on fakes, D on real pictures, G twice.

        Args:
            batch: real pictures [B, 784], float32 in [-1, 1].
            random: ``numpy.random.RandomState`` that the noise is drawn from.

        Returns:
            The losses by name. D-Loss is the sum of D's two, DG-Loss the second of the generator's.
        """
        count = len(batch)
        fake_labels = np.zeros([count, 1], "float32")
        real_labels = np.ones([count, 1], "float32")

        noise_data = self.noise(count, random)
        [generated_image] = self.run(self.g_program, {"noise": noise_data}, [self.g_img])
        [d_loss] = self.run(self.d_program, {"img": generated_image, "label": fake_labels}, [self.d_loss])
        d_loss_1 = scalar(d_loss)
        [d_loss] = self.run(self.d_program, {"img": batch, "label": real_labels}, [self.d_loss])
        d_loss_2 = scalar(d_loss)

        dg_losses = []
        for _ in six.moves.xrange(NUM_TRAIN_TIMES_OF_DG):
            noise_data = self.noise(count, random)
            [dg_loss] = self.run(self.dg_program, {"noise": noise_data}, [self.dg_loss])
            dg_losses.append(scalar(dg_loss))

        return {"D-Loss": d_loss_1 + d_loss_2, "DG-Loss": dg_losses[-1],
                "D-Loss fake": d_loss_1, "D-Loss real": d_loss_2, "DG-Loss first": dg_losses[0]}

    def sample(self, noise):
        """Pictures [n, 28, 28] in [-1, 1] for noise [n, 100], with moving averages in batch norm."""
        return self.drawn(self.g_program_test, {"noise": noise}, self.g_img_test).reshape(-1, img_dim, img_dim)

    def network(self, noise):
        """See `common.gan.GAN.network`."""
        g = G()
        g.eval()
        return g(noise).reshape([-1, img_dim, img_dim, 1]), self.drawing_arrays()

    def noise_code(self):
        """See `common.gan.GAN.noise_code`."""
        return f"random.uniform(-1, 1, [n, {NOISE_SIZE}])"

    def message(self, epoch, batch, losses):
        """The tutorial's message about a batch; the batch's picture has it as its title."""
        return f"Epoch ID={epoch} Batch ID={batch} D-Loss={losses['D-Loss']} DG-Loss={losses['DG-Loss']}\n "

    def draw(self, path, title, real, generated):
        """The tutorial's picture: the real batch above the generated one."""
        plotting.save_tutorial_grid(path, np.concatenate([real.reshape(-1, img_dim, img_dim), generated]), title)

    def flop(self, batch_size):
        """Floating-point operations of one `step`, counted from the shapes of the multiplying layers."""
        g, d = passes(G, [NOISE_SIZE]), passes(lambda: D(self.fix), [784])
        return 2 * batch_size * (g.forward + 2 * d.trained + NUM_TRAIN_TIMES_OF_DG * (g.trained + d.through))


def display_image(epoch_no, batch_id, output=DEFAULT_RUN):
    """The picture that was saved at a batch of an epoch, as ``PIL.Image``: ``display_image(10, 460)``.

    Raises:
        UserError: there is no such picture; pictures are saved every ten batches.
    """
    path = expanded(output) / f"{epoch_no:04d}_{batch_id:04d}.png"
    if not path.is_file():
        raise UserError(f"there is no picture {path}; a run saves one every {BookGAN.record_every} batches")
    return PIL.Image.open(path)


# What is known of the tutorial beside its text

SHUFFLE = 60000  # the reader's buffer, all of MNIST
CE_SEED, CE_STARTUP_SEED = 10, 90  # of NumPy and of startup, with --enable_ce

# The tutorial's continuous evaluation: name that is printed → (loss, its published mean, the losses of that mean)
KPIS = {"dcgan_d_train_cost": ("D-Loss", 1.161403, ("D-Loss",)),
        "dcgan_g_train_cost": ("DG-Loss", 0.665533, ("DG-Loss first", "DG-Loss"))}


class Book(StaticRecipe):
    """The tutorial's options, and its reader."""

    def add_options(self, parser):
        add = parser.add_argument
        add("--enable_ce", action="store_true",
            help="the book's continuous evaluation: one epoch, numpy seed 10, startup seed 90, "
                 "unshuffled, prints two kpis lines")
        add("--use_cudnn", action="store_true", help="use cuDNN for convolutions; needs --use_gpu")
        super().add_options(parser)

    def defaults(self, options):
        return {"epoch": 1, "seed": CE_SEED} if options["enable_ce"] else super().defaults(options)

    def fault(self, options):
        if options["use_cudnn"] and not options["use_gpu"]:
            return "--use_cudnn needs --use_gpu"
        if options["amp"] and options["use_gpu"] and not options["use_cudnn"]:
            return "--amp with --use_gpu needs --use_cudnn, because Paddle's own convolutions have no float16"
        return super().fault(options)

    def batches(self, pictures, options):
        shuffle = 0 if options["enable_ce"] else SHUFFLE
        return Batches(pictures.images, options["batch_size"], shuffle=shuffle, seed=options["seed"])

    def make_gan(self, config, place, fix=()):
        options = config["options"]
        seed = CE_STARTUP_SEED if options["enable_ce"] else options["seed"]
        return BookGAN(place, [*options["fix"], *fix], seed, one_seed=options["enable_ce"],
                       use_cudnn=options["use_cudnn"], **self.adam(options))

    def end(self, options, metrics):
        """With --enable_ce, print the book's two lines: the mean loss over all D steps, and over all G steps."""
        if options["enable_ce"]:
            for kpi, (_, _, names) in KPIS.items():
                mean = np.mean([sum(line[name] for name in names) / len(names) for line in metrics])
                print(f"kpis\t{kpi}\t{mean:f}")


RECIPE = Book(
    name="book",
    title="the MNIST DCGAN of the PaddlePaddle book, chapter 09.gan",
    gan=BookGAN,
    epoch=20,
    batch_size=128,
    learning_rate=LEARNING_RATE,
    beta1=BETA1,
    output=DEFAULT_RUN,
    data=("MNIST",),
    oddities=(
        Oddity("double_sigmoid", "D ends in logits; only the loss has a sigmoid", "act of fc2, and loss"),
        Oddity("max_pool", "D has strided convolutions in place of pooling, as the prose says",
               "section DCGAN against conv"),
        Oddity("adam_epsilon", "Adam's epsilon is corrected for the bias, as in Paddle today", "fluid's own Adam",
               mended_before=True),
    ),
    picture=Layout(cell=(28, 28), real=0.5),
    figures=Figures(
        "PaddlePaddle/book", "09.gan/image/", ("af3b2f13d57eaa2d22321f24ae3f3bf3ed57950d",),
        {"dcgan_demo.png": "22bc85f0f92b88cee13445d10027db92"},
        data=("mnist", "digits"),
        # The second name is of an older, related tutorial's figure, which shows 121 pictures of each kind
        layouts=dict.fromkeys(("dcgan_demo.png", "DCGAN_demo.png"), Layout(16, 16, (28, 28), gap=1, real=0.5)),
        numbers={"sharpness": (0.1646, 0.1638), "contrast": (81.34, 78.48), "brightness": (37.46, 34.87),
                 "confidence": (0.9604, 0.9961)},
    ),
    published=(
        # The title of dcgan_demo.png
        BatchLosses(epoch=19, batch=460, losses={"D-Loss": 1.1586, "DG-Loss": 0.6668},
                    options={"enable_ce": False, "batch_size": 128}),
        EpochMeans(options={"enable_ce": True, "batch_size": 128}, batches=468, tolerance=0.02,
                   losses={name: (mean, names) for name, mean, names in KPIS.values()}),
    ),
)
