"""The parts of a GAN in dynamic mode that are not in the tutorial: its state as arrays, and its cost."""

import contextlib

import numpy as np
import paddle

from common.backend import amp, compat, cost
from common.backend.compat import ADAM
from common.recipe import GAN
from common.training.checkpoint import taken


class DynamicGAN(GAN):
    """Two networks, D and G, with an optimiser each.

    Attributes:
        betas: Adam's betas; a new optimiser's accumulated powers of beta begin with them.
        scalers: optimiser → its loss scaling, see `common.backend.amp.scaler`.
    """

    betas = (0.9, 0.999)
    mode = staticmethod(compat.dynamic_mode)

    def networks(self):
        """(name, network, optimiser) of both."""
        raise NotImplementedError

    def state(self):
        """A copy of every array that training changes, by name.

        ``G.bn_1._mean`` is an array of the network, ``G.conv_1.weight.moment1`` one of its optimiser.
        """
        arrays = {}
        for network, layer, optimizer in self.networks():
            moments = optimizer.state_dict()
            for name, parameter in layer.state_dict().items():
                arrays[f"{network}.{name}"] = np.array(parameter.numpy())
                for kind in ADAM:
                    if (key := f"{parameter.name}_{kind}_0") in moments:
                        arrays[f"{network}.{name}.{kind}"] = np.array(moments[key].numpy())
            arrays |= {f"{network}.{name}": value for name, value in amp.state(self.scalers[optimizer]).items()}
        return arrays

    def load_state(self, arrays):
        """Restore the arrays that `state` returned. If a network had made no step, they have no moments of it.

        Raises:
            UserError: an array is missing or has another shape.
        """
        for network, layer, optimizer in self.networks():
            load_network(layer, network, arrays)
            moments = {}
            untrained = not any(name.startswith(f"{network}.") and name.endswith(ADAM) for name in arrays)
            for name, parameter in layer.state_dict().items():
                if parameter.stop_gradient:
                    continue
                for kind, start in zip(ADAM, (0.0, 0.0, *self.betas), strict=True):
                    shape = parameter.shape if kind.startswith("moment") else [1]
                    moments[f"{parameter.name}_{kind}_0"] = paddle.to_tensor(
                        np.full(shape, start, "float32") if untrained
                        else taken(arrays, f"{network}.{name}.{kind}", shape))
            optimizer.set_state_dict(moments)
            scaler = self.scalers[optimizer]
            amp.load_state(scaler, {name: taken(arrays, f"{network}.{name}", [1]) for name in amp.state(scaler)})

    def generator_names(self):
        return [f"{name}.{key}" for name, layer, _ in self.networks() if name == "G" for key in layer.state_dict()]

    def load_generator(self, arrays):
        for network, layer, _ in self.networks():
            if network == "G":
                load_network(layer, network, arrays)

    def sizes(self):
        """Network → how many trained parameters it has."""
        return {network: sum(int(np.prod(p.shape)) for p in trained(layer))
                for network, layer, _ in self.networks()}


def load_network(layer, name, arrays):
    """Fill a network from the arrays ``{name}.…`` of a state.

    Raises:
        UserError: an array is missing or has another shape.
    """
    for key, parameter in layer.state_dict().items():
        parameter.set_value(taken(arrays, f"{name}.{key}", parameter.shape))


@contextlib.contextmanager
def frozen(layer):
    """A context in which the parameters of ``layer`` get no gradients; gradients still flow through to its input."""
    parameters = trained(layer)
    for parameter in parameters:
        parameter.stop_gradient = True
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.stop_gradient = False


@contextlib.contextmanager
def averages_kept(layer):
    """A context in which the moving averages of a layer's batch norms stay as they are."""
    norms = [(norm, norm._momentum) for norm in layer.sublayers() if isinstance(norm, paddle.nn.BatchNorm2D)]
    for norm, _ in norms:
        norm._momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm._momentum = momentum


def trained(layer):
    """The parameters of a layer that training changes: without moving averages."""
    return [parameter for parameter in layer.parameters() if not parameter.stop_gradient]


def passes(layer, shape):
    """`common.backend.cost.Passes` of a network, by the shape of one picture's input."""
    layer.eval()  # counting must not change moving statistics
    try:
        with paddle.no_grad():
            return cost.passes(layer, paddle.zeros([1, *shape]))
    finally:
        layer.train()
