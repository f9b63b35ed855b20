"""Batches of pictures in memory, in an order that only the seed and the epoch decide."""

import numpy as np


class Batches:
    """Real pictures, scaled and batched.

    Args:
        images: uint8 [N, H, W].
        batch_size: pictures in a batch.
        shuffle: size of the shuffle buffer, as fluid's reader has it: each so many pictures are shuffled
            among themselves. 0 keeps the order of the files.
        drop_last: skip a last batch that is short, as the book does.
        seed: of the order.
    """

    def __init__(self, images, batch_size, shuffle=60000, drop_last=True, seed=0):
        self.images, self.batch_size, self.shuffle = images, batch_size, shuffle
        self.drop_last, self.seed = drop_last, seed

    def __len__(self):
        """Batches in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def order(self, epoch):
        """The order of the pictures in an epoch, counted from 0: indices [N]."""
        order = np.arange(len(self.images))
        if self.shuffle:
            random = np.random.RandomState([self.seed, epoch])
            for start in range(0, len(order), self.shuffle):
                random.shuffle(order[start:start + self.shuffle])
        return order

    def epoch(self, epoch, first=0):
        """Yield the batches of an epoch from number ``first`` on: float32 [B, H·W] in [-1, 1]."""
        order = self.order(epoch)
        for batch in range(first, len(self)):
            chosen = order[batch * self.batch_size:(batch + 1) * self.batch_size]
            yield scale(self.images[chosen]).reshape(len(chosen), -1)


def scale(images):
    """uint8 0 … 255 to float32 [-1, 1], in the order of operations of ``paddle.dataset.mnist``."""
    return images.astype("float32") / 255.0 * 2.0 - 1.0
