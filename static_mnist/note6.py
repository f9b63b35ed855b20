"""LearnPaddle2, note 6: MNIST GAN, static graph, three training programs over one startup.

Read it beside the note: names, numbers and order are its own. `docs/fidelity.md` lists what is odd about
them and what each ``--fix`` changes.
"""

from contextlib import nullcontext

import numpy as np
import paddle
from matplotlib.image import imsave
from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.nn.initializer import Normal, XavierUniform
from paddle.static import Program, program_guard
from paddle.utils import unique_name

from common import plotting
from common.backend import compat, cost, fast
from common.backend.compat import scalar
from common.files import replacing
from static_mnist.book import LEAKY, loss
from static_mnist.static_gan import StaticGAN, frozen

z_dim = 100
LEARNING_RATE = 2e-4


# Layers with the names and initial values that fluid gives them
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
    return nn.Linear(inputs, size, **attributes(name, XavierUniform()))


def batch_norm(channels, name):
    """Batch normalisation."""
    return compat.BatchNorm(channels, momentum=0.9, epsilon=1e-5, param_attr=ParamAttr(name=f"{name}.w_0"),
                            bias_attr=ParamAttr(name=f"{name}.b_0"), moving_mean_name=f"{name}.w_1",
                            moving_variance_name=f"{name}.w_2")


# 定义生成器
class Generator(nn.Layer):
    """Noise [B, 100, 1, 1] to pictures [B, 1, 28, 28] in [-1, 1]."""

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
    """Pictures [B, 1, 28, 28] in [-1, 1] to the probability [B, 1] that each is real."""

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
        y = fast.max_pool_leaky_relu(self.conv2d_0(y), LEAKY)                # [B, 64, 12, 12]
        y = fast.max_pool(self.conv2d_1(y))                                  # [B, 128, 4, 4]
        y = fast.bn_leaky_relu(self.batch_norm_0, y, LEAKY)
        y = self.fc_0(y.flatten(1))                                          # [B, 1024]
        y = fast.bn_leaky_relu(self.batch_norm_1, y, LEAKY)
        y = self.fc_1(y)                                                     # [B, 1]
        return F.sigmoid(y) if self.sigmoid else y


# 从Program获取prefix开头的参数名字
def get_params(program, prefix):
    """The names of a program's parameters that begin with ``prefix``, but for moving statistics and `frozen` ones."""
    return [name for name, parameter in compat.parameters(program).items()
            if name.startswith(prefix) and not parameter.stop_gradient]


# 保存图片
def show_image_grid(images, folder, fix=()):
    """Save the first 64 of pictures [n, 28, 28] in [-1, 1] as ``test_{i}.png`` of 28×28 pixels.

    As ``plt.imsave`` does unless told otherwise: in its default colours, each picture stretched over all of them.
    """
    cmap = "Greys_r" if "colour_map" in fix else None
    limits = {"vmin": -1, "vmax": 1} if "own_range" in fix else {}
    for i, image in enumerate(images[:64]):
        with replacing(folder / f"test_{i}.png") as temporary:
            imsave(temporary, image, cmap=cmap, **limits)


class Note6GAN(StaticGAN):
    """The note's programs and one iteration of its training loop.

    Args:
        place: ``CPUPlace`` or ``CUDAPlace``.
        fix: names of the oddities to mend: ``bn_activation``, ``double_sigmoid``, ``shared_moments``,
            ``colour_map``, ``own_range``, ``adam_epsilon``.
        seed: of Paddle's random numbers, which the initial values come from.
        batch_size: noise vectors a step, also beside a short last batch of real pictures.
        follow: ``note``, or ``repository`` for its script's own noise (uniform, and the same at every step)
            and grey pictures.
    """

    name = "note6"
    losses = ("fake_avg_cost", "real_avg_cost", "g_avg_cost")
    files = tuple(f"image/test_{i}.png" for i in range(64))

    def __init__(self, place, fix=(), seed=0, batch_size=128, follow="note"):
        super().__init__(place)
        self.repository = follow == "repository"
        self.fix = {*fix, "colour_map"} if self.repository else set(fix)
        self.batch_size = batch_size
        self.test_z = None
        paddle.seed(seed)
        with unique_name.guard():
            self.build()
        self.initialise(self.train_d_fake, self.train_g)

    def build(self):
        """Create the programs: D on reals, D on fakes, G, and G alone with moving averages."""
        self.train_d_fake, self.train_d_real = Program(), Program()
        self.train_g, self.infer_program = Program(), Program()

        # 训练判别器D识别真实图片
        with program_guard(self.train_d_real, self.startup):
            real_image = paddle.static.data("image", [None, 1, 28, 28], "float32")
            p_real = Discriminator(self.fix)(real_image)
            self.real_avg_cost = loss(p_real, paddle.ones_like(p_real))
            d_params = get_params(self.train_d_real, "D")
            compat.minimize(self.adam(LEARNING_RATE), self.real_avg_cost, self.train_d_real, d_params)

        # 训练判别器D识别生成器G生成的图片为假图片
        # Adam names its moments by counting: a second set for the same weights, unless the count starts anew.
        with (unique_name.guard() if "shared_moments" in self.fix else nullcontext(),
              program_guard(self.train_d_fake, self.startup)):
            z = paddle.static.data("z", [None, z_dim, 1, 1], "float32")
            fake = frozen(Generator(self.fix))(z)
            p_fake = Discriminator(self.fix)(fake)
            self.fake_avg_cost = loss(p_fake, paddle.zeros_like(p_fake))
            d_params = get_params(self.train_d_fake, "D")
            compat.minimize(self.adam(LEARNING_RATE), self.fake_avg_cost, self.train_d_fake, d_params)

        # 训练生成器G生成符合判别器D标准的假图片
        with program_guard(self.train_g, self.startup):
            z = paddle.static.data("z", [None, z_dim, 1, 1], "float32")
            fake = Generator(self.fix)(z)
            p = frozen(Discriminator(self.fix))(fake)
            self.g_avg_cost = loss(p, paddle.ones_like(p))
            g_params = get_params(self.train_g, "G")
            compat.minimize(self.adam(LEARNING_RATE), self.g_avg_cost, self.train_g, g_params)

        with program_guard(self.infer_program, self.startup):
            z = paddle.static.data("z", [None, z_dim, 1, 1], "float32")
            generator = Generator(self.fix)
            generator.eval()
            self.fake = generator(z)

        self.trained = {"D": d_params, "G": g_params}

    # 噪声生成
    def noise(self, count, random):
        """Noise [count, 100, 1, 1], float32, from a ``numpy.random.RandomState``: N(0, 1), or U(-1, 1).

        The first ever drawn is kept as the note's ``test_z``.
        """
        shape = [count, z_dim, 1, 1]
        z = random.uniform(-1.0, 1.0, shape) if self.repository else random.normal(0.0, 1.0, shape)
        z = z.astype("float32")
        if self.test_z is None:
            self.test_z = z
        return z

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
        [pictures] = self.run(self.infer_program, {"z": noise}, [self.fake])
        return np.array(pictures)[:, 0]

    def due(self, batch, step, last):
        """Pictures and message after each pass."""
        return last

    def message(self, epoch, batch, losses):
        """The note's line after a pass."""
        return "Pass：%d，fake_avg_cost：%f, real_avg_cost：%f, g_avg_cost：%f" % (
            epoch, *(losses[name] for name in self.losses))

    def draw(self, path, title, real, generated):
        """The note's 64 single pictures in ``image/``, and a grid of all."""
        show_image_grid(generated, path.parent / "image", self.fix)
        title = title.replace("：", ": ").replace("，", ", ")  # matplotlib's font has no full-width signs
        plotting.save_figure(path, plotting.grid(generated), title)

    def flop(self, batch_size):
        """Floating-point operations of one `step`, counted from the shapes of the multiplying layers."""
        with unique_name.guard(), program_guard(Program(), Program()):
            g = cost.multiplications(Generator(), paddle.static.data("z", [None, z_dim, 1, 1], "float32"))
            d = cost.multiplications(Discriminator(), paddle.static.data("image", [None, 1, 28, 28], "float32"))
        forward_g, forward_d = sum(g.values()), sum(d.values())
        # Forward, both gradients; nobody wants the gradient of pictures or noise.
        d_steps = forward_g + 2 * (3 * forward_d - d["conv2d_0"])
        # D gives back the gradient of its input only.
        g_step = 3 * forward_g - g["fc_0"] + 2 * forward_d
        return 2 * batch_size * (d_steps + g_step)
