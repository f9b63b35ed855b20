"""LearnPaddle2, note 6: MNIST GAN, static graph, three training programs over one startup.

Read it beside the note: its blocks come in its order, under its names. What stands elsewhere:

    mnist_reader, mnist_generator   Note6.batches below; common/data/batches.py
    z_generator, test_z             `Note6GAN.noise`
    exe, exe.run(startup)           static_gan.py
    passes, batches                 common/training/loop.py
    GAN.py of the repository        --follow repository, in `Note6GAN`
    what is odd, each --fix         docs/fidelity.md, and RECIPE at the end
    the published pictures          RECIPE at the end; ours beside them: docs/results.md
"""

from contextlib import nullcontext

import paddle
from matplotlib.image import imsave
from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.nn.initializer import Normal, XavierUniform
from paddle.static import Program, program_guard
from paddle.utils import unique_name

from common import plotting
from common.backend import amp, compat, fast
from common.backend.compat import scalar
from common.data.batches import Batches
from common.files import replacing
from common.recipe import Figures, Layout, Oddity
from static_mnist.pictures import StaticRecipe
from static_mnist.static_gan import StaticGAN, frozen, passes

z_dim = 100
LEARNING_RATE = 2e-4
BETA1 = 0.9  # fluid's own, of Adam
LEAKY = 0.02  # fluid's own slope for act='leaky_relu'


# Layers with fluid's initial values. Their names are fluid's with the prefix once; fluid puts the prefix twice
def attributes(name, initializer):
    """Names and initial values of a layer's weight and bias."""
    return {"weight_attr": ParamAttr(name=f"{name}.w_0", initializer=initializer),
            "bias_attr": ParamAttr(name=f"{name}.b_0")}


def conv2d(channels, num_filters, name):
    """5×5 convolution without padding."""
    return fast.Conv2D(channels, num_filters, 5, **attributes(name, Normal(0.0, (2.0 / (25 * channels)) ** 0.5)))


def deconv(channels, num_filters, name):
    """5×5 transposed convolution that doubles height and width."""
    return fast.Conv2DTranspose(channels, num_filters, 5, stride=2, padding=2, **attributes(name, XavierUniform()))


def fc(inputs, size, name):
    """Fully connected layer."""
    return fast.Linear(inputs, size, **attributes(name, XavierUniform()))


def batch_norm(channels, name):
    """Batch normalisation."""
    return compat.BatchNorm(channels, momentum=0.9, epsilon=1e-5, param_attr=ParamAttr(name=f"{name}.w_0"),
                            bias_attr=ParamAttr(name=f"{name}.b_0"), moving_mean_name=f"{name}.w_1",
                            moving_variance_name=f"{name}.w_2")


# 定义生成器
class Generator(nn.Layer):
    """Noise [B, 100, 1, 1] to pictures [B, 1, 28, 28] in [-1, 1].

    Args:
        fix: ``bn_activation`` puts ReLU after both batch norms.
    """

    def __init__(self, fix=()):
        super().__init__()
        self.activation = "bn_activation" in fix
        self.fc_0 = fc(z_dim, 2048, "G/fc_0")
        self.batch_norm_0 = batch_norm(2048, "G/batch_norm_0")
        self.fc_1 = fc(2048, 128 * 7 * 7, "G/fc_1")
        self.batch_norm_1 = batch_norm(128 * 7 * 7, "G/batch_norm_1")
        self.deconv_0 = deconv(128, 128, "G/conv2d_transpose_0")
        self.deconv_1 = deconv(128, 1, "G/conv2d_transpose_1")

    def forward(self, y):
        act = fast.bn_relu if self.activation else fast.bn_leaky_relu  # of slope 1: no activation
        y = act(self.batch_norm_0, self.fc_0(y.flatten(1)))       # [B, 2048]
        y = act(self.batch_norm_1, self.fc_1(y))                  # [B, 6272]
        y = y.reshape([-1, 128, 7, 7])                            # [B, 128, 7, 7]
        y = fast.relu(self.deconv_0(y, output_size=[14, 14]))     # [B, 128, 14, 14]
        return F.tanh(self.deconv_1(y, output_size=[28, 28]))     # [B, 1, 28, 28]


# 判别器 Discriminator
class Discriminator(nn.Layer):
    """Pictures [B, 1, 28, 28] in [-1, 1] to the probability [B, 1] that each is real.

    Args:
        fix: ``double_sigmoid`` leaves the last sigmoid to the loss: the result is a logit.
    """

    def __init__(self, fix=()):
        super().__init__()
        self.sigmoid = "double_sigmoid" not in fix
        self.conv2d_0 = conv2d(1, 64, "D/conv2d_0")
        self.conv2d_1 = conv2d(64, 128, "D/conv2d_1")
        self.batch_norm_0 = batch_norm(128, "D/batch_norm_0")
        self.fc_0 = fc(128 * 4 * 4, 1024, "D/fc_0")
        self.batch_norm_1 = batch_norm(1024, "D/batch_norm_1")
        self.fc_1 = fc(1024, 1, "D/fc_1")

    def forward(self, y):
        y = fast.leaky_relu_max_pool(self.conv2d_0(y), LEAKY)                # [B, 64, 12, 12]
        y = fast.max_pool(self.conv2d_1(y))                                  # [B, 128, 4, 4]
        y = fast.bn_leaky_relu(self.batch_norm_0, y, LEAKY)
        y = self.fc_0(y.flatten(1))                                          # [B, 1024]
        y = fast.bn_leaky_relu(self.batch_norm_1, y, LEAKY)
        y = self.fc_1(y)                                                     # [B, 1]
        return F.sigmoid(y) if self.sigmoid else y


# 从Program获取prefix开头的参数名字
def get_params(program, prefix):
    """The names of a program's parameters that begin with ``prefix``, without moving statistics and `frozen` ones."""
    return [name for name in compat.trained_parameters(program) if name.startswith(prefix)]


def cost(p, label):
    """Mean over the batch of the cross entropy between sigmoid(p) and ``label``, both [B, 1]."""
    return F.binary_cross_entropy_with_logits(p, label)


class Note6GAN(StaticGAN):
    """The note's programs and one iteration of its training loop.

    Args:
        place: ``CPUPlace`` or ``CUDAPlace``.
        fix: names of the oddities to mend: ``bn_activation``, ``double_sigmoid``, ``shared_moments``,
            ``colour_map``, ``own_range``, ``adam_epsilon``.
        seed: of Paddle's random numbers, which the initial values come from.
        batch_size: noise vectors in a step, even if the last batch of real pictures is shorter.
        follow: ``note``; or ``repository`` for the noise of the repository's script (uniform, and the same at every
            step) and grey pictures.
        learning_rate, beta1: of Adam.
    """

    losses = ("fake_avg_cost", "real_avg_cost", "g_avg_cost")
    files = tuple(f"image/test_{i}.png" for i in range(64))

    def __init__(self, place, fix=(), seed=0, batch_size=128, follow="note", learning_rate=LEARNING_RATE,
                 beta1=BETA1):
        super().__init__(place)
        self.repository = follow == "repository"
        self.fix = {*fix, "colour_map"} if self.repository else set(fix)
        self.batch_size = batch_size
        self.rates = {"learning_rate": learning_rate, "beta1": beta1}
        self.test_z = None
        paddle.seed(seed)
        with unique_name.guard():
            self.build()
        self.initialise(self.train_d_fake, self.train_g, drawing=self.infer_program)

    def build(self):
        """Create the programs: D on reals, D on fakes, G's training, and drawing by G with moving averages."""
        self.train_d_fake, self.train_d_real = Program(), Program()
        self.train_g, self.infer_program = Program(), Program()

        # 训练判别器D识别真实图片
        with program_guard(self.train_d_real, self.startup), amp.cast():
            real_image = paddle.static.data("image", [None, 1, 28, 28], "float32")
            p_real = Discriminator(self.fix)(real_image)
            self.real_avg_cost = cost(p_real, paddle.ones_like(p_real))
            d_params = get_params(self.train_d_real, "D")
            compat.minimize(self.adam(**self.rates), self.real_avg_cost, self.train_d_real, d_params)

        # 训练判别器D识别生成器G生成的图片为假图片
        # Adam numbers the names of its moments. So it makes a second set of moments for the same weights here, unless
        # the fix ``shared_moments`` starts the numbers anew.
        with (unique_name.guard() if "shared_moments" in self.fix else nullcontext(),
              program_guard(self.train_d_fake, self.startup), amp.cast()):
            z = paddle.static.data("z", [None, z_dim, 1, 1], "float32")
            fake = frozen(Generator(self.fix))(z)
            p_fake = Discriminator(self.fix)(fake)
            self.fake_avg_cost = cost(p_fake, paddle.zeros_like(p_fake))
            d_params = get_params(self.train_d_fake, "D")
            compat.minimize(self.adam(**self.rates), self.fake_avg_cost, self.train_d_fake, d_params)

        # 训练生成器G生成符合判别器D标准的假图片
        with program_guard(self.train_g, self.startup), amp.cast():
            z = paddle.static.data("z", [None, z_dim, 1, 1], "float32")
            fake = Generator(self.fix)(z)
            p = frozen(Discriminator(self.fix))(fake)
            self.g_avg_cost = cost(p, paddle.ones_like(p))
            g_params = get_params(self.train_g, "G")
            compat.minimize(self.adam(**self.rates), self.g_avg_cost, self.train_g, g_params)

        with program_guard(self.infer_program, self.startup):
            z = paddle.static.data("z", [None, z_dim, 1, 1], "float32")
            generator = Generator(self.fix)
            generator.eval()
            self.fake = generator(z)

        self.trained = {"D": d_params, "G": g_params}

    @classmethod
    def original(cls, place, batch_size):
        """See `common.gan.GAN.original`; the noise always has ``batch_size`` vectors, even for a shorter batch."""
        return cls(place, batch_size=batch_size)

    # 噪声生成
    def noise(self, count, random):
        """Noise [count, 100, 1, 1], float32, from a ``numpy.random.RandomState``: N(0, 1), or U(-1, 1).

        The first noise that is drawn is kept as the note's ``test_z``.
        """
        shape = [count, z_dim, 1, 1]
        z = random.uniform(-1.0, 1.0, shape) if self.repository else random.normal(0.0, 1.0, shape)
        z = z.astype("float32")
        if self.test_z is None:
            self.test_z = z
        return z

    # 保存图片
    @staticmethod
    def show_image_grid(images, folder, fix=()):
        """Save the first 64 of pictures [n, 28, 28] in [-1, 1] as ``test_{i}.png`` of 28×28 pixels.

        As in ``plt.imsave`` with its defaults, each picture is stretched over the whole default colour map, unless a
        fix says otherwise.

        Args:
            images: the pictures.
            folder: for the files; it is made if it is missing.
            fix: names of mended oddities: ``colour_map`` draws in grey, ``own_range`` stretches nothing.
        """
        cmap = "Greys_r" if "colour_map" in fix else None
        limits = {"vmin": -1, "vmax": 1} if "own_range" in fix else {}
        for i, image in enumerate(images[:64]):
            with replacing(folder / f"test_{i}.png") as temporary:
                imsave(temporary, image, cmap=cmap, **limits)

    # 开始训练
    def step(self, batch, random):
        """One iteration: D on fakes, D on real pictures, G once.

        Args:
            batch: real pictures [B, 784], float32 in [-1, 1].
            random: ``numpy.random.RandomState`` that the noise is drawn from.

        Returns:
            The losses by name.
        """
        z = self.test_z if self.repository else self.noise(self.batch_size, random)
        [r_fake] = self.run(self.train_d_fake, {"z": z}, [self.fake_avg_cost])
        r_fake = scalar(r_fake)

        image = batch.reshape(-1, 1, 28, 28)
        [r_real] = self.run(self.train_d_real, {"image": image}, [self.real_avg_cost])
        r_real = scalar(r_real)

        z = self.test_z if self.repository else self.noise(self.batch_size, random)
        [r_g] = self.run(self.train_g, {"z": z}, [self.g_avg_cost])
        return {"fake_avg_cost": r_fake, "real_avg_cost": r_real, "g_avg_cost": scalar(r_g)}

    def sample(self, noise):
        """Pictures [n, 28, 28] in [-1, 1] for noise [n, 100, 1, 1], with moving averages in batch norm."""
        return self.drawn(self.infer_program, {"z": noise}, self.fake)[:, 0]

    def network(self, noise):
        """See `common.gan.GAN.network`."""
        generator = Generator(self.fix)
        generator.eval()
        return generator(noise).transpose([0, 2, 3, 1]), self.drawing_arrays()

    def noise_code(self):
        """See `common.gan.GAN.noise_code`."""
        return f"random.{'uniform(-1.0, 1.0' if self.repository else 'normal(0.0, 1.0'}, [n, {z_dim}, 1, 1])"

    def due(self, batch, step, last):
        """Pictures and message after each pass."""
        return last

    def message(self, epoch, batch, losses):
        """The note's line after a pass."""
        return "Pass：%d，fake_avg_cost：%f, real_avg_cost：%f, g_avg_cost：%f" % (
            epoch, *(losses[name] for name in self.losses))

    def draw(self, path, title, real, generated):
        """The note's 64 single pictures in ``image/``, and a grid of all."""
        self.show_image_grid(generated, path.parent / "image", self.fix)
        title = title.replace("：", ": ").replace("，", ", ")  # matplotlib's font has no full-width signs
        plotting.save_figure(path, plotting.grid(generated), title)

    def flop(self, batch_size):
        """Floating-point operations of one `step`, counted from the shapes of the multiplying layers."""
        g, d = passes(Generator, [z_dim, 1, 1]), passes(Discriminator, [1, 28, 28])
        return 2 * batch_size * (g.forward + 2 * d.trained + g.trained + d.through)


# What is known of the note beside its text

SHUFFLE = 30000  # the reader's buffer


class Note6(StaticRecipe):
    """The note's reader, and the repository's script."""

    def add_options(self, parser):
        super().add_options(parser)
        parser.add_argument("--follow", choices=["note", "repository"], default="note",
                            help="repository: its script's uniform noise, the same at every step, 20 epochs, "
                                 "grey pictures")

    def defaults(self, options):
        return {"epoch": 20} if options["follow"] == "repository" else super().defaults(options)

    def batches(self, pictures, options):
        return Batches(pictures.images, options["batch_size"], shuffle=SHUFFLE, drop_last=False, seed=options["seed"])

    def make_gan(self, config, place, fix=()):
        options = config["options"]
        return Note6GAN(place, [*options["fix"], *fix], options["seed"], options["batch_size"], options["follow"],
                        **self.adam(options))


# The md5 of each published picture, in order
MD5 = """
    0ef271524bf950b19607921bb668daa1 b46367c0940f00a699d3d81488528c2c 88eb47b084a68727bc6193a40247d322
    39e12bfedfcedda5d1cc16ae4c5ab863 8bf65091844f3eebe23c685ea51c8f02 255c25b1261a9e0a37682c2a5182c9ca
    33ab8bb85c50d8f92abe0f6c41f47449 50d9c7ab67b0f75b9dd7208a4a40e357 92dc0149bce37e2e8aaedf3289a9c7b8
    31bfde23d2de990793ff461879e67a99 6baae22d31309a4e032faf94681fbb0f 0a3380d6ce7067a3dc53068da39157e9
    b329799680a39b86bf6923e8f8328b33 24ab7f5cd4d292bc7a0ceeb7cf3f5f4a c38cbc356d10ccf698402520bc124ef4
    be8652dcf6d88a0d331bbae92c043afd 2785fda0e476126d43fc3356c7a8dada 262a9c2d452f1877e5554e584bf00913
    aa238eb22292d9d2a578541d56d380a5 166a5587184b21ac34fd48772447dfee 440e2e7f94337b54ce7e96356d80bf21
    19580b202d4f0bdcd51076615394eda8 2a9bc5b378c677517b0e9a5b4af6175f bfeb16be3d673e6402f204c758e72118
    cabe1f9e947ad9f134dc77a6c9b2f986 8a55065441e9a1d5d41ad62210080093 f6a68f1398c9d9d1a9ca7045dcbd75dc
    61de577df46651b788017cef72438517 59fbd169f42d1804686bc4eae6f5fbf9 fff76bb43243b853718f6cc8eb22324c
    dd8f73803048223f3e82e08bc358ce2c 5b628ce150ef83f9e0b28b6a2af82d27 0cacc99eaf2bdc6be6b2a90587451ac0
    b8325d3f1cfdb92ea17c0d4b317cca0e 7b2f9c78d8f076a4e86d867a57f5a46b a36aa1f2bd8aba0c4acab282b50db71c
    28e369b6188b7f20b595712b0bebad61 56ab8ff397bedf0c28b8ae8b92f6e1f1 1e729e510cad562ce8e8d947840e2a13
    15ae6e9d7242efeff6e82e87b62b3d3b 73e1e2f86b987525d8f23346f66e4301 0d8c9337a9d3acfcbc965e6d8acc3448
    8f130b57e384f7976bee5d2336dd3235 924602d2e30b6cd4a995aaace98b0b98 4a01d2210544acfd3bbcf253bea75a43
    c4a78e9128a002caa146f7e53605c85e 6f2b41b3c801bcd94842cce6cd79f923 28944e35147f450bfc090b37708dfcdf
    7ec97cd3468fded147099d010c477f99 ded78407b3cb2744d2fdbd2ecb73c82c f27631a7f7365ecb5ad28a8c89b3d4a6
    8d73cd2b6e449930fb8b959c51b65041 0cceb4d22a8a6ad02a8db404786a63cf 50939b3488985fc7cdfca3a294fdf137
    8cb0c8186fbf93094579ee223aa4d09e 76fb351f5667bdf73ed1796f1dcec4d1 35f69b2d79cfba9941658db0a7b6eeb3
    b00e2e7d2a9629d0f92f5ad89a0e18d0 65f08c0d59bddef8a11749550a8e145c e86690eca4b6b31aaec5a9d947dae485
    6695442b70b23be40ac86535593a870c 7bb9bc3c07609f7b3f94b4a3e3d84121 672486b330c4067e3534fc82603ce76f
    b21a46738065246020ea58ce27184cc3
""".split()  # noqa: SIM905  one on a line would be a page

RECIPE = Note6(
    name="note6",
    title="the MNIST GAN of LearnPaddle2, note 6",
    gan=Note6GAN,
    epoch=5,
    batch_size=128,
    learning_rate=LEARNING_RATE,
    beta1=BETA1,
    output="./output_note6",
    data=("MNIST",),
    oddities=(
        Oddity("bn_activation", "ReLU after G's two batch norms, as the book has it", "Generator"),
        Oddity("double_sigmoid", "D ends in logits; only the loss has a sigmoid",
               "the last fc of Discriminator, and the costs"),
        Oddity("shared_moments", "one set of Adam's moments for D on fakes and D on reals",
               "the optimizers of train_d_fake and train_d_real"),
        Oddity("adam_epsilon", "Adam's epsilon is corrected for the bias, as in Paddle today", "fluid's own Adam",
               mended_before=True),
        Oddity("colour_map", "the single pictures in grey, not in matplotlib's default colours", "show_image_grid",
               measured=False),
        Oddity("own_range", "the single pictures in [-1, 1], not each stretched to its own range", "show_image_grid",
               measured=False),
    ),
    picture=Layout(cell=(28, 28)),
    figures=Figures(
        "yeyupiaoling/LearnPaddle2", "note6/image/", (  # the pictures were replaced four times
            "9927cb3ac9a5fd909c9fd561c072bb4d6a4cb4fa", "6eb337dfabf1622f497937d0afad81f7f8ccd5d6",
            "07beaea55855b632e97c658613a041c958158a0c", "263d615a092371bbde704581d92be0018ab46a30",
            "3f12117a05079230074c26b70f2667ca62b09b88"),
        {f"test_{i}.png": md5 for i, md5 in enumerate(MD5)},
        data=("mnist", "digits"), stretched=True,
        numbers={"sharpness": (0.3204, None), "contrast": (80.39, None), "brightness": (44.54, None),
                 "confidence": (0.8694, None)},
    ),
)
