"""The differences between Paddle 2.6 and 3.x, and between static and dynamic mode, in one place.

Everything else in the project is written once for both versions.
"""

import numpy as np
import paddle

ADAM = ("moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc")  # how Paddle's Adam calls its state


def pir():
    """True when programs are built in Paddle 3's new intermediate representation (its default)."""
    return bool(getattr(paddle.framework, "in_pir_mode", lambda: False)())


def parameters(program):
    """The parameters of a program by name, the untrained ones (moving statistics) among them.

    Paddle 3 lists them in reverse order of creation, Paddle 2.6 in order: here always in order.
    """
    found = program.global_block().all_parameters()
    return {p.name: p for p in (reversed(found) if pir() else found)}


def trained_parameters(program):
    """The names of a program's parameters that have gradients: without moving statistics."""
    return [name for name, parameter in parameters(program).items() if not parameter.stop_gradient]


def minimize(optimizer, loss, program, names):
    """Add to ``program`` the update of its parameters called ``names``, and of no others.

    Paddle 3 wants that program's own parameter values, Paddle 2.6 takes names; both take an empty list
    for "train everything", which is never what a GAN wants.

    Raises:
        ValueError: ``names`` is empty, or names something that ``program`` does not have.
    """
    names = list(names)
    own = parameters(program)
    missing = [name for name in names if name not in own]
    if not names or missing:
        raise ValueError(f"no such parameters in the program: {missing}" if names else "an empty parameter list")
    optimizer.minimize(loss, parameters=[own[name] for name in names] if pir() else names)


class BatchNorm(paddle.nn.BatchNorm):
    """``paddle.nn.BatchNorm`` whose ``eval()`` counts in Paddle 2.6's programs too.

    There it goes on with the batch's statistics, and moves the moving ones, unless told at construction.
    """

    def forward(self, x):
        self._is_test = not self.training
        return super().forward(x)


def parameter_name(name):
    """``name`` in a program, where equal names share a parameter; a free variant of it in dynamic mode.

    There a name can be taken only once in a process.
    """
    return name if not paddle.in_dynamic_mode() else paddle.utils.unique_name.generate(name)


def scalar(loss):
    """A loss [] or [1], as Paddle's versions and modes give it, as float32."""
    return np.float32(np.array(loss).reshape(()))


def use_cudnn(wanted):
    """Let convolutions use cuDNN or not; without CUDA there is nothing to choose."""
    if paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_conv2d_disable_cudnn": not wanted})
