"""TensorFlow's dropout, with masks that are drawn outside of the program and fed to it."""

import numpy as np
import paddle

from common.backend import fast

KEEP_PROB = 0.5  # the chapter's; a mask has one random bit for each value, so no other share is possible


class Dropout:
    """``tf.nn.dropout``. A program's masks are numbered in the order in which its layers are built.

    The masks come from NumPy, whose random state a checkpoint can keep; Paddle's own random state cannot be kept.
    """

    def __init__(self, on=True):
        self.on = on
        self.shapes = {}  # name that a mask is fed under → its shape for one picture, in the current program

    def __call__(self, x):
        if not self.on:
            return x
        name = f"mask_{len(self.shapes)}"
        self.shapes[name] = list(x.shape[1:])
        return fast.masked(x, paddle.static.data(name, x.shape, "uint8"))

    def masks(self, count, random):
        """Masks to feed for ``count`` pictures: 1 / KEEP_PROB keeps a value, 0 drops it; both are equally likely."""
        return {name: self.mask([count, *shape], random) for name, shape in self.shapes.items()}

    @staticmethod
    def mask(shape, random):
        """One mask, uint8 of this shape."""
        size = int(np.prod(shape))
        bits = np.unpackbits(np.frombuffer(random.bytes(-(-size // 8)), np.uint8), count=size)
        bits *= int(1 / KEEP_PROB)
        return bits.reshape(shape)
