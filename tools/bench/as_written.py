"""The tutorials' loops as they are written, for `worker.py` to run: the recipes without this project's savings.

Arrays go through NumPy between programs, Paddle computes the gradients of a frozen network's weights too, and
activations stand before pools. Layers, losses and order of steps are the recipes' own.
"""

from contextlib import nullcontext

import paddle
from paddle.nn import functional as F

from common.backend import fast
from common.backend.compat import scalar
from dygraph_celeba import gan as faces
from static_mnist import book, cgan, note6
from static_mnist.dropout import KEEP_PROB


def activation_then_pool(x, negative_slope=0.01, size=2):
    """Leaky ReLU, then pooling, in the order of the listings."""
    x = x if negative_slope == 1 else F.leaky_relu(x, negative_slope=negative_slope)
    return F.max_pool2d(x, size, size)


class AsWritten:
    """A program's outputs are fetched to NumPy, and the next program is fed from there; Adam is Paddle's own."""

    adam = staticmethod(paddle.optimizer.Adam)

    def run(self, program, feed, fetch):
        with paddle.static.scope_guard(self.scope):
            return self.executor.run(program, feed=feed, fetch_list=fetch)


class Book(AsWritten, book.BookGAN):
    """The book's loop."""


class Note6(AsWritten, note6.Note6GAN):
    """Note 6's loop."""


class Dropout(cgan.Dropout):
    """Paddle's own dropout, whose masks are drawn within the program."""

    def __call__(self, x):
        return F.dropout(x, 1 - KEEP_PROB)


class Conditional(AsWritten, cgan.CGAN):
    """The loop of Packt's chapter: its TensorFlow graph, translated to Paddle."""


class Faces(faces.FaceGAN):
    """CelebA's loop: G's computation is recorded for D's step too, and then detached."""

    def train_discriminator(self, real, noise):
        self.optimizerD.clear_grad()
        output = self.netD(real)
        errD_real = self.loss(output, paddle.full_like(output, faces.real_label))
        self.update(self.optimizerD, errD_real)
        fake = self.netG(paddle.to_tensor(noise))
        output = self.netD(fake.detach())
        errD_fake = self.loss(output, paddle.full_like(output, faces.fake_label))
        self.update(self.optimizerD, errD_fake)
        return scalar(errD_real), scalar(errD_fake)

    def update(self, optimizer, loss):
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()


LOOPS = {"book": Book, "note6": Note6, "cgan": Conditional, "faces": Faces}  # recipe → loop


def undo():
    """Undo the savings in the modules of the recipes, in this process."""
    fast.leaky_relu_max_pool = activation_then_pool
    book.frozen = note6.frozen = lambda network: network  # not cgan's: TensorFlow does not compute them either
    cgan.Dropout = Dropout
    faces.frozen = lambda network: nullcontext()


def loader(folder, batch_size):
    """CelebA's DataLoader: scikit-image reads and scales each picture, in two processes."""
    from dygraph_celeba.data import DataGenerater

    return paddle.io.DataLoader(DataGenerater(folder), batch_size=batch_size, shuffle=True, num_workers=2,
                                use_shared_memory=False, drop_last=True)
