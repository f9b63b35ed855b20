"""The book's chapter 09.gan and LearnPaddle2's note 6 in fluid, the API of Paddle 1.8 that they were written for.

`benchmark.py --fluid PYTHON` runs this file with an interpreter of Python 3.8 that has paddlepaddle 1.8.5, numpy<1.22
and protobuf<3.21. Layers, losses, Adam, programs, and what an iteration feeds and fetches are the listings'. The file
must stay readable for Python 3.8.
"""

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import fluid

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.bench.protocol import serve

layers = fluid.layers


def discriminator(x):
    """Pictures [B, 784] or [B, 1, 28, 28] to probabilities [B, 1]; all programs share the weights by name."""
    def convolve_and_pool(x, channels, act=None):
        return fluid.nets.simple_img_conv_pool(x, channels, filter_size=5, pool_size=2, pool_stride=2, act=act)

    with fluid.unique_name.guard("D/"):
        x = layers.reshape(x, [-1, 1, 28, 28])
        x = convolve_and_pool(x, 64, "leaky_relu")                        # [B, 64, 12, 12]
        x = layers.batch_norm(convolve_and_pool(x, 128), "leaky_relu")    # [B, 128, 4, 4]
        x = layers.batch_norm(layers.fc(x, 1024), "leaky_relu")
        return layers.fc(x, 1, act="sigmoid")


def generator(x, act):
    """Noise [B, 100] or [B, 100, 1, 1] to pictures [B, 1, 28, 28]; ``act`` follows the dense layers' batch norms."""
    def double(x, channels, side, act):
        return layers.conv2d_transpose(x, channels, [side, side], 5, padding=2, stride=2, act=act)

    with fluid.unique_name.guard("G/"):
        x = layers.batch_norm(layers.fc(x, 2048), act)
        x = layers.batch_norm(layers.fc(x, 128 * 7 * 7), act)
        x = layers.reshape(x, [-1, 128, 7, 7])
        return double(double(x, 128, 14, "relu"), 1, 28, "tanh")


def loss(probability, label):
    """Mean cross entropy after a second sigmoid, as in the listings."""
    return layers.mean(layers.sigmoid_cross_entropy_with_logits(probability, label))


def of(program, network):
    """Names of a network's parameters, ``D`` or ``G``."""
    return [p.name for p in program.global_block().all_parameters() if p.name.startswith(network + "/")]


class GAN:
    """Programs over fluid's global scope.

    Attributes:
        noise: a function that draws a batch of noise; a test may put its own in its place.
    """

    def __init__(self):
        self.startup = fluid.Program()
        self.executor = fluid.Executor(fluid.CPUPlace())
        self.build()
        self.executor.run(self.startup)

    def run(self, program, feed, fetch):
        """One run: the fetched array."""
        return self.executor.run(program, feed=feed, fetch_list=[fetch])[0]


class Book(GAN):
    """G's pictures; D on them, D on real ones; G twice."""

    def __init__(self, batch):
        self.noise = lambda: np.random.uniform(-1.0, 1.0, [batch, 100]).astype("float32")
        super().__init__()

    def build(self):
        """``d_program``, ``dg_program`` and ``g_program``."""
        self.d_program, self.dg_program = fluid.Program(), fluid.Program()
        adam = fluid.optimizer.Adam(2e-4)
        with fluid.program_guard(self.d_program, self.startup):
            img, label = (fluid.data(name, [None, size], "float32") for name, size in (("img", 784), ("label", 1)))
            self.d_loss = loss(discriminator(img), label)
            adam.minimize(self.d_loss)
        with fluid.program_guard(self.dg_program, self.startup):
            noise = fluid.data("noise", [None, 100], "float32")
            self.g_img = layers.reshape(generator(noise, "relu"), [-1, 784])
            self.g_program = self.dg_program.clone()
            real = layers.fill_constant([layers.shape(noise)[0], 1], "float32", 1.0)
            self.dg_loss = loss(discriminator(self.g_img), real)
            adam.minimize(self.dg_loss, parameter_list=of(self.g_program, "G"))

    def step(self, data):
        """One iteration on a list of (picture [784], digit) pairs; its losses in order."""
        noise = self.noise()
        real = np.array([picture for picture, _ in data]).reshape(-1, 784).astype("float32")
        fake = self.run(self.g_program, {"noise": noise}, self.g_img)
        losses = [self.run(self.d_program, {"img": fake, "label": np.zeros([len(real), 1], "float32")}, self.d_loss),
                  self.run(self.d_program, {"img": real, "label": np.ones([len(real), 1], "float32")}, self.d_loss)]
        losses += [self.run(self.dg_program, {"noise": self.noise()}, self.dg_loss) for _ in range(2)]
        return [each[0] for each in losses]


class Note6(GAN):
    """D on fakes, D on real pictures, G once: three programs with an Adam each."""

    def __init__(self, batch):
        self.noise = lambda: np.array([np.random.normal(0.0, 1.0, (100, 1, 1)).astype("float32")
                                       for _ in range(batch)])
        super().__init__()

    def build(self):
        """``train_d_real``, ``train_d_fake`` and ``train_g``, each with its loss."""
        self.real = self.program("image", [1, 28, 28], 1.0, "D", lambda x: x)
        self.fake = self.program("z", [100, 1, 1], 0.0, "D", lambda z: generator(z, None))
        self.g = self.program("z", [100, 1, 1], 1.0, "G", lambda z: generator(z, None))

    def program(self, name, shape, target, trained, pictures):
        """(a program, its loss): D's judgement of ``pictures(input)`` against a target; one network learns."""
        program = fluid.Program()
        with fluid.program_guard(program, self.startup):
            given = layers.data(name, shape)
            label = layers.fill_constant_batch_size_like(given, [-1, 1], "float32", target)
            cost = loss(discriminator(pictures(given)), label)
            fluid.optimizer.AdamOptimizer(2e-4).minimize(cost, parameter_list=of(program, trained))
        return program, cost

    def step(self, data):
        """One iteration on a list of pictures [1, 28, 28]; its losses in order."""
        losses = [self.run(self.fake[0], {"z": self.noise()}, self.fake[1]),
                  self.run(self.real[0], {"image": np.array(data)}, self.real[1]),
                  self.run(self.g[0], {"z": self.noise()}, self.g[1])]
        return [each[0] for each in losses]


def main():
    """Answer the benchmark with iterations on a batch of random pictures."""
    row, batch = sys.argv[1], int(sys.argv[2])
    pictures = np.random.RandomState(0).uniform(-1, 1, [batch, 784]).astype("float32")
    if row == "book":
        gan, data = Book(batch), [(picture, 0) for picture in pictures]
    else:
        gan, data = Note6(batch), list(pictures.reshape(-1, 1, 28, 28))
    serve({"fluid": paddle.__version__}, 1, lambda: gan.step(data))


if __name__ == "__main__":
    main()
