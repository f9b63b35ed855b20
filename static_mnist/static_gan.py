"""The shared part of the static-graph recipes: one executor, one scope, one startup, and the state as arrays."""

from itertools import count, takewhile

import numpy as np
import paddle
from paddle.static import Executor, Program, Scope, program_guard, scope_guard
from paddle.utils import unique_name

from common.backend import amp, compat, cost
from common.backend.adam import Adam, fluid_adam
from common.recipe import GAN, LOCK
from common.training.checkpoint import taken


class StaticGAN(GAN):
    """Programs over one scope. A recipe builds its programs with ``self.startup``, then calls `initialise`.

    A recipe sets ``trained``, network → the names of its trained parameters, and ``fix``, the names of the oddities to
    mend.
    """

    mode = staticmethod(compat.static_mode)

    def __init__(self, place):
        if paddle.in_dynamic_mode():
            paddle.enable_static()
        self.place = place
        self.scope = Scope()
        self.executor = Executor(place)
        self.startup = Program()

    def initialise(self, *programs, drawing):
        """Run the startup and note the names of the state: parameters, moving statistics, Adam's moments, scalings.

        Args:
            programs: together they train all parameters.
            drawing: the program of the generator alone.
        """
        with scope_guard(self.scope):
            self.executor.run(self.startup)
        parameters = {name: None for program in programs for name in compat.parameters(program)}
        # A weight that two optimisers update has two sets of moments: _0 and _1.
        candidates = [f"{name}_{kind}_{k}" for name in parameters for kind in compat.ADAM for k in range(2)]
        scaling = (name for kind in compat.SCALING for name in takewhile(self.scope.find_var, (
            f"{kind}_{k}" for k in count())))
        self.names = [*parameters, *filter(self.scope.find_var, candidates), *scaling]
        self.drawing_names = list(compat.parameters(drawing))

    def adam(self, learning_rate, **settings):
        """The originals' Adam, see `common.backend.adam.fluid_adam`; with the fix ``adam_epsilon`` Paddle's own."""
        optimizer = Adam if "adam_epsilon" in self.fix else fluid_adam
        return amp.scaled(optimizer(learning_rate, **settings))

    def __del__(self):
        """Free the arrays' memory. Paddle's cache of programs keeps the scope alive after its last use."""
        if hasattr(self, "names"):
            self.scope.drop_kids()
            self.scope.erase(compat.variables(self.scope, self.names))

    def run(self, program, feed, fetch):
        """One run of a program. The fetched tensors stay on the device, to be fed to the next program.

        Args:
            program: what to run.
            feed: name of an input → array or tensor.
            fetch: the variables to return, as tensors in the same order.

        The next run of the same program may overwrite them, and does in Paddle 3. So read a loss with
        `common.backend.compat.scalar` at once.
        """
        with LOCK, scope_guard(self.scope):
            fetched = self.executor.run(program, feed=feed, fetch_list=fetch, return_numpy=False)
        self.seen(fetched[0])
        return fetched

    def drawn(self, program, feed, output):
        """Run a program that draws. Several threads may call this at the same time.

        Args:
            program, feed: as in `run`.
            output: the program's variable of the pictures.

        Returns:
            A copy of the pictures, float32 in [-1, 1], of the variable's shape.
        """
        with LOCK, compat.static_run():
            return np.array(self.run(program, feed, [output])[0])

    def drawing_arrays(self):
        """A copy of the arrays that drawing needs, by name."""
        return {name: np.array(self._tensor(name)) for name in self.drawing_names}

    def random_batch(self, count, random):
        """Pictures [count, 784] in [-1, 1), float32."""
        return random.uniform(-1, 1, [count, 784]).astype("float32")

    def _tensor(self, name):
        return self.scope.find_var(name).get_tensor()

    def state(self):
        """A copy of every array that training changes, by name."""
        return {name: np.array(self._tensor(name)) for name in self.names}

    def sizes(self):
        """Network → how many trained parameters it has."""
        state = self.state()
        return {network: sum(state[name].size for name in names) for network, names in self.trained.items()}

    def load_state(self, state):
        """Restore the arrays that `state` returned; arrays with names that the recipe does not have are ignored.

        Raises:
            UserError: an array is missing or has another shape.
        """
        self._load(state, self.names)

    def generator_names(self):
        return self.drawing_names

    def load_generator(self, arrays):
        self._load(arrays, self.drawing_names)

    def _load(self, state, names):
        # All arrays are checked before the first one is set
        fitting = {name: taken(state, name, self._tensor(name).shape()) for name in names}
        for name, array in fitting.items():
            self._tensor(name).set(array, self.place)


def frozen(network):
    """The network, set to compute no gradients of its parameters, for a program that trains another network."""
    for parameter in network.parameters():
        parameter.stop_gradient = True
    return network


def passes(network, *shapes):
    """`common.backend.cost.Passes` of the network that a function makes, from the shapes of one picture's inputs."""
    with unique_name.guard(), program_guard(Program(), Program()):
        inputs = [paddle.static.data(f"input_{i}", [None, *shape], "float32") for i, shape in enumerate(shapes)]
        return cost.passes(network(), *inputs)
