"""What the static-graph recipes share: one executor, one scope, one startup, and the state in arrays."""

import numpy as np
import paddle
from paddle.static import Executor, Program, Scope, program_guard, scope_guard
from paddle.utils import unique_name

from common.backend import compat, cost
from common.backend.adam import Adam, fluid_adam
from common.recipe import GAN, LOCK
from common.training.checkpoint import taken


class StaticGAN(GAN):
    """Programs over one scope. A recipe builds its programs with ``self.startup``, then calls `initialise`.

    Its ``trained`` holds each network's name → the names of its trained parameters, its ``fix`` the names of the
    oddities to mend.
    """

    def __init__(self, place):
        paddle.enable_static()
        self.place = place
        self.scope = Scope()
        self.executor = Executor(place)
        self.startup = Program()

    def initialise(self, *programs):
        """Run the startup and note the names of the state: parameters, moving statistics, Adam's moments."""
        with scope_guard(self.scope):
            self.executor.run(self.startup)
        parameters = {name: None for program in programs for name in compat.parameters(program)}
        # A weight that two optimisers move has two sets of moments: _0 and _1.
        candidates = [f"{name}_{kind}_{k}" for name in parameters for kind in compat.ADAM for k in range(2)]
        self.names = [*parameters, *(name for name in candidates if self.scope.find_var(name) is not None)]

    def adam(self, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
        """The originals' Adam, see `common.backend.adam.fluid_adam`; with the fix ``adam_epsilon`` Paddle's own."""
        optimizer = Adam if "adam_epsilon" in self.fix else fluid_adam
        return optimizer(learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

    def __del__(self):
        """Give the arrays' memory back: Paddle's cache of programs holds the scope for longer than anybody uses it."""
        if hasattr(self, "names"):
            self.scope.drop_kids()
            # Paddle 3 lists a scope's variables, what its programs have put there among them; 2.6 does not.
            self.scope.erase(list(getattr(self.scope, "local_var_names", lambda: self.names)()))

    def run(self, program, feed, fetch):
        """One run of a program. The fetched tensors stay on the device, to be fed to the next program.

        They are live: the next run of the same program may overwrite them (Paddle 3 does), so read a loss
        with `common.backend.compat.scalar` at once.
        """
        with LOCK, scope_guard(self.scope):
            fetched = self.executor.run(program, feed=feed, fetch_list=fetch, return_numpy=False)
        self.seen(fetched[0])
        return fetched

    def drawn(self, program, feed, output):
        """A run of a program that draws: a copy of its pictures. Right from several threads."""
        with LOCK:
            return np.array(self.run(program, feed, [output])[0])

    def random_batch(self, count, random):
        """Pictures [count, 784] in [-1, 1), float32."""
        return random.uniform(-1, 1, [count, 784]).astype("float32")

    def _tensor(self, name):
        return self.scope.find_var(name).get_tensor()

    def state(self):
        """Every array that training changes, by name: a copy."""
        return {name: np.array(self._tensor(name)) for name in self.names}

    def sizes(self):
        """Trained parameters of each network."""
        state = self.state()
        return {network: sum(state[name].size for name in names) for network, names in self.trained.items()}

    def load_state(self, state):
        """Put arrays back where `state` took them from; what lies outside the recipe's names is ignored.

        Raises:
            UserError: an array is missing or has another shape.
        """
        # All are looked at before any is set
        fitting = {name: taken(state, name, self._tensor(name).shape()) for name in self.names}
        for name, array in fitting.items():
            self._tensor(name).set(array, self.place)


def frozen(network):
    """The network, without gradients of its parameters: nobody uses them where another network is trained."""
    for parameter in network.parameters():
        parameter.stop_gradient = True
    return network


def passes(network, *shapes):
    """`common.backend.cost.Passes` of a network that a function makes, by the shapes of one picture's inputs."""
    with unique_name.guard(), program_guard(Program(), Program()):
        inputs = [paddle.static.data(f"input_{i}", [None, *shape], "float32") for i, shape in enumerate(shapes)]
        return cost.passes(network(), *inputs)
