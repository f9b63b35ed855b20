"""``--amp`` on a GPU: Paddle's own mixed precision. Convolutions and dense products are float16, weights float32.

Each optimiser has a loss scaling. It multiplies the loss, so that small gradients are not 0 in float16, and divides the
gradients again. If a gradient overflows, the step is left out and the factor halved; the factor doubles after 2000 good
steps. On a CPU ``--amp`` is `common.backend.fast.use_bf16`.
"""

import contextlib
import io

import numpy as np
import paddle

from common.backend import compat, cuda, fast
from common.errors import UserError

CAPABILITY = 7  # from Volta on; Paddle itself refuses float16 on older cards, but only in dynamic mode
# Paddle's lists of what is float16 (white) and what is float32 (black) lack these operators. In float16 a sigmoid is 1
# from 8.3 on, and its gradient 0.
WHITE, BLACK = {"conv2d_transpose"}, {"sigmoid"}

on = False  # see `use`


def use(wanted=True):
    """Let networks multiply in float16 from now on, where they are built (static) or called (dynamic) in `cast`.

    Raises:
        UserError: the GPU is too old.
    """
    global on
    if wanted and paddle.device.cuda.get_device_capability()[0] < CAPABILITY:
        card = cuda.card(paddle.device.get_device())
        raise UserError(f"--amp: {card} is too old for float16, which needs {CAPABILITY}.0; leave the flag out")
    on = wanted


def arithmetic():
    """What convolutions and dense layers multiply in: ``float16``, ``bfloat16`` or ``float32``."""
    return "float16" if on else fast.arithmetic()


def cast():
    """A context to build (static) or to call (dynamic) networks in that are trained; it does nothing unless `on`."""
    return compat.auto_cast(WHITE, BLACK) if on else contextlib.nullcontext()


def scaled(optimizer):
    """An optimiser for a static program, with loss scaling if `on`; for `common.backend.compat.minimize`."""
    return compat.Scaled(optimizer, WHITE, BLACK) if on else optimizer


def scaler():
    """The loss scaling of an optimiser in dynamic mode; unless `on`, it does nothing."""
    return paddle.amp.GradScaler(enable=on)


def state(scaler):
    """The state of a `scaler`, under the names that static programs have for it: name → array [1]; or nothing."""
    found = scaler.state_dict()
    return dict(zip(compat.SCALING, (np.reshape(found[key], 1) for key in ("scale", "incr_count", "decr_count")),
                    strict=True)) if found else {}


def load_state(scaler, arrays):
    """Restore what `state` returned."""
    if arrays:
        scale, good, bad = (arrays[name] for name in compat.SCALING)
        scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "incr_count": int(good[0]),
                                "decr_count": int(bad[0])})


def step(scaler, optimizer):
    """A step of an optimiser in dynamic mode, on the gradients of a loss that ``scaler`` has scaled."""
    scaler.step(optimizer)
    if scaler.is_enable():
        # Paddle prints a line about each step that it leaves out. It cannot print the factor if that is an array of one
        # number and NumPy is 2.4 or newer.
        scaler._scale = scaler._scale.reshape([])
        with contextlib.redirect_stdout(io.StringIO()):
            scaler.update()
        scaler._scale = scaler._scale.reshape([1])
