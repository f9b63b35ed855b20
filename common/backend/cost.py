"""What a network costs, counted from its layers' shapes."""

import math
from typing import NamedTuple

from paddle import nn


def multiplications(network, *inputs):
    """Multiplications a picture of each convolution and fully connected layer, in forward order.

    Args:
        network: ``paddle.nn.Layer``.
        inputs: what it is called with; only shapes count, so a program's variables do.

    Returns:
        name → multiplications for one picture.
    """
    counted = {}
    hooks = []
    for name, layer in network.named_sublayers():
        if isinstance(layer, (nn.Conv2D, nn.Conv2DTranspose, nn.Linear)):
            def count(layer, inputs, output, name=name):
                # Each weight meets each pixel of the input in a transposed convolution, of the output otherwise.
                pixels = inputs[0] if isinstance(layer, nn.Conv2DTranspose) else output
                counted[name] = math.prod(layer.weight.shape) * math.prod(pixels.shape[2:])
            hooks.append(layer.register_forward_post_hook(count))
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return counted


class Passes(NamedTuple):
    """Multiplications a picture of a network's ways through. Each is two floating-point operations."""

    forward: int
    trained: int  # forward, and the gradients of all weights; nobody wants that of pictures or noise
    through: int  # forward, and the gradient of its input alone, for the network before it


def passes(network, *inputs):
    """`Passes` of a network; see `multiplications`."""
    counted = list(multiplications(network, *inputs).values())
    forward = sum(counted)
    return Passes(forward, 3 * forward - counted[0], 2 * forward)
