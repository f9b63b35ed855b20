"""What a network costs, counted from its layers' shapes."""

import math
from typing import NamedTuple

from paddle import nn


def multiplications(network, *inputs):
    """Multiplications for one picture in each convolution and fully connected layer, in forward order.

    Args:
        network: ``paddle.nn.Layer``.
        inputs: what the network is called with. Only shapes matter, so a static program's variables will do.

    Returns:
        One number for each of these layers.
    """
    counted = []

    def count(layer, inputs, output):
        # A transposed convolution uses each weight for each input pixel, a convolution for each output pixel
        pixels = inputs[0] if isinstance(layer, nn.Conv2DTranspose) else output
        counted.append(math.prod(layer.weight.shape) * math.prod(pixels.shape[2:]))

    hooks = [layer.register_forward_post_hook(count) for layer in network.sublayers()
             if isinstance(layer, (nn.Conv2D, nn.Conv2DTranspose, nn.Linear))]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return counted


class Passes(NamedTuple):
    """Multiplications for one picture in a network's passes. Each counts as two floating-point operations."""

    forward: int
    trained: int  # forward, and the gradients of all weights, but not of the input (pictures or noise)
    through: int  # forward, and only the gradient of the input, which the network before it needs


def passes(network, *inputs):
    """`Passes` of a network; see `multiplications`."""
    counted = multiplications(network, *inputs)
    forward = sum(counted)
    return Passes(forward, 3 * forward - counted[0], 2 * forward)
