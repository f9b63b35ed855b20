"""Batch norm over the pictures of all processes, on CPU and GPU, also where they have unequal shares of the batch.

Paddle's own ``SyncBatchNorm`` needs CUDA and equal shares.
"""

import paddle
from paddle.autograd import PyLayer

from common.backend import fast
from common.parallel import processes

WIDE = [1, -1, 1, 1]  # the shape of a channel's numbers beside pictures [B, C, H, W]


class SyncBatchNorm2D(paddle.nn.BatchNorm2D):
    """``paddle.nn.BatchNorm2D`` whose statistics in training are those of all processes' pictures."""

    @property
    def apart(self):
        """Whether only this process's pictures count now, as in ``paddle.nn.BatchNorm2D``."""
        return not (self.training and processes.together)

    def forward(self, x):
        return super().forward(x) if self.apart else self.activated(x, 1.0)

    def activated(self, x, negative_slope):
        """``F.leaky_relu(self(x), negative_slope)`` in training, float32; 0 is ReLU, 1 no activation."""
        if x.dtype != paddle.float32:  # with --amp on a GPU; float16 ends at 65504, and the number of values is a sum
            x = x.astype("float32")
        with paddle.no_grad():
            mean, variance, count = statistics(x)
            for moving, value in ((self._mean, mean), (self._variance, variance)):
                moving.set_value(moving * self._momentum + value * (1 - self._momentum))
            inverse = (variance + self._epsilon).rsqrt()
        if fast.usable(x):
            return FastNormalise.apply(x, self.weight, self.bias, mean, variance, inverse, count, self._epsilon,
                                       float(negative_slope))
        y = Normalise.apply(x, self.weight, self.bias, mean, inverse, count)
        return y if negative_slope == 1 else fast.leaky_relu(y, negative_slope)


def statistics(x):
    """(mean [C], variance [C], number of values) over the [B, C, H, W] of all processes.

    Means and sums of squared deviations are joined as in Chan, Golub and LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", so that nothing is lost where a mean is large.
    """
    channels, own = x.shape[1], x.shape[0] * x.shape[2] * x.shape[3]
    if fast.usable(x):
        moments = fast.moments(x).flatten()
    else:
        mean = x.mean([0, 2, 3])
        moments = paddle.concat([mean, (x - mean.reshape(WIDE)).square().sum([0, 2, 3])])
    rows = processes.gathered(paddle.concat([moments, paddle.full([1], own, x.dtype)]))
    means, squares, counts = rows[:, :channels], rows[:, channels:-1], rows[:, -1:]
    count = float(counts.sum())
    mean = (means * counts).sum(0) / count
    return mean, (squares + counts * (means - mean).square()).sum(0) / count, count


class Normalise(PyLayer):
    """Scale and shift by statistics that depend on all processes' pictures; the gradient takes that into account.

    The gradients of weight and bias are this process's: ``paddle.DataParallel`` averages them like all others.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mean, inverse, count):
        normal = (x - mean.reshape(WIDE)) * inverse.reshape(WIDE)
        ctx.save_for_backward(normal, weight, inverse)
        ctx.count, ctx.trained = count, not weight.stop_gradient
        return normal * weight.reshape(WIDE) + bias.reshape(WIDE)

    @staticmethod
    def backward(ctx, gradient):
        normal, weight, inverse = ctx.saved_tensor()
        own = paddle.stack([(gradient * normal).sum([0, 2, 3]), gradient.sum([0, 2, 3])])  # of weight and bias
        slant, base = processes.summed(own.clone()) / ctx.count
        dx = (gradient - base.reshape(WIDE) - normal * slant.reshape(WIDE)) * (weight * inverse).reshape(WIDE)
        return dx, *(own if ctx.trained else (None, None)), None, None


class FastNormalise(PyLayer):
    """`Normalise` with leaky ReLU behind it, by the fast operators for CPUs."""

    @staticmethod
    def forward(ctx, x, weight, bias, mean, variance, inverse, count, epsilon, slope):
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.count, ctx.slope, ctx.trained = count, slope, not weight.stop_gradient
        return fast.normalised(x, weight, bias, mean, variance, epsilon, slope)

    @staticmethod
    def backward(ctx, gradient):
        own = fast.normalised_sums(*ctx.saved_tensor(), gradient, ctx.slope)
        sums = processes.summed(own.clone()) / ctx.count
        dx = fast.normalised_dx(*ctx.saved_tensor(), gradient, sums, ctx.slope)
        return dx, *(own if ctx.trained else (None, None)), None, None, None
