"""Batches of pictures in memory, in an order that only the seed and the epoch decide."""

import numpy as np


class Batches:
    """Real pictures, scaled and batched.

    Args:
        images: uint8 [N, H, W] or [N, H, W, 3].
        batch_size: pictures in a batch.
        shuffle: size of fluid's shuffle buffer: this many pictures in a row are shuffled among themselves, then the
            next ones. 0 keeps the order of the files.
        drop_last: skip a last batch that is short, as the book does.
        seed: of the order.
        labels: [N], to be yielded with the pictures, or None.
        reshuffle: False: all epochs have the first epoch's order.

    Attributes:
        unpacked: `common.pictures.packed.UnpackedPictures`, in a dry run whose run would pack them first; else None.
    """

    unpacked = None

    def __init__(self, images, batch_size, shuffle=60000, drop_last=True, seed=0, labels=None, reshuffle=True):
        self.images, self.batch_size, self.shuffle = images, batch_size, shuffle
        self.drop_last, self.seed, self.labels, self.reshuffle = drop_last, seed, labels, reshuffle

    def __len__(self):
        """Batches in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def order(self, epoch):
        """The order of the pictures in an epoch, counted from 0: indices [N]."""
        order = np.arange(len(self.images))
        if self.shuffle:
            random = np.random.RandomState([self.seed, epoch if self.reshuffle else 0])
            for start in range(0, len(order), self.shuffle):
                random.shuffle(order[start:start + self.shuffle])
        return order

    def epoch(self, epoch, first=0):
        """Yield the batches of an epoch from number ``first`` on: float32 [B, H·W·C] in [-1, 1], flat.

        With labels a batch is (pictures, labels [B]).
        """
        order = self.order(epoch)
        for batch in range(first, len(self)):
            chosen = order[batch * self.batch_size:(batch + 1) * self.batch_size]
            pictures = scale(self.images[chosen]).reshape(len(chosen), -1)
            yield pictures if self.labels is None else (pictures, self.labels[chosen])


def spread(count, most):
    """At most ``most`` numbers from 0 … ``count`` − 1, evenly spread, with the first and the last."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def scale(images):
    """uint8 0 … 255 to float32 [-1, 1], in the order of operations of ``paddle.dataset.mnist``."""
    return images.astype("float32") / 255.0 * 2.0 - 1.0
