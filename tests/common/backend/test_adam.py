"""Adam of fluid and TensorFlow: its steps against its formula, and the names of its state."""

import numpy as np
import paddle
import pytest
from paddle.static import Executor, Program, Scope, program_guard, scope_guard

from common.backend import compat
from common.backend.adam import fluid_adam

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.5, 0.99, 1e-4
STEPS = 4


class Trained:
    """Two weights whose loss is linear, so that what is fed is their gradient."""

    def __init__(self, optimizer):
        paddle.enable_static()
        self.scope, self.executor, self.program, startup = Scope(), Executor(paddle.CPUPlace()), Program(), Program()
        zeros = paddle.nn.initializer.Constant(0.0)
        with paddle.utils.unique_name.guard(), program_guard(self.program, startup):
            fed = {name: paddle.static.data(f"gradient_{name}", [3], "float32") for name in "ab"}
            weights = {name: paddle.create_parameter([3], "float32", name, default_initializer=zeros) for name in "ab"}
            loss = paddle.sum(weights["a"] * fed["a"]) + paddle.sum(weights["b"] * fed["b"])
            compat.minimize(optimizer(RATE, beta1=BETA1, beta2=BETA2, epsilon=EPSILON), loss, self.program, "ab")
        with scope_guard(self.scope):
            self.executor.run(startup)

    def step(self, a, b):
        with scope_guard(self.scope):
            self.executor.run(self.program, feed={"gradient_a": a, "gradient_b": b})

    def __getitem__(self, name):
        return np.array(self.scope.find_var(name).get_tensor())


def gradients():
    """Of each step: from far below epsilon to far above it."""
    return np.random.RandomState(0).normal(size=[STEPS, 2, 3]).astype("float32") * np.float32([1e-6, 1e-4, 1e-2])


@pytest.mark.parametrize(("optimizer", "corrected"), [(fluid_adam, False), (paddle.optimizer.Adam, True)])
def test_each_step_is_the_formulas(optimizer, corrected):
    trained = Trained(optimizer)
    w, m, v = (np.zeros([2, 3]) for _ in range(3))
    for t, gradient in enumerate(gradients(), 1):
        trained.step(*gradient)
        m = BETA1 * m + (1 - BETA1) * gradient
        v = BETA2 * v + (1 - BETA2) * np.float64(gradient) ** 2
        epsilon = EPSILON * (np.sqrt(1 - BETA2 ** t) if corrected else 1)
        w -= RATE * np.sqrt(1 - BETA2 ** t) / (1 - BETA1 ** t) * m / (np.sqrt(v) + epsilon)
        for i, name in enumerate("ab"):
            np.testing.assert_allclose(trained[name], w[i], rtol=1e-5, atol=1e-10)  # float32's rounding of the sums


def test_state_has_paddles_names():
    trained = Trained(fluid_adam)
    trained.step(*gradients()[0])
    for name in "ab":
        assert trained[f"{name}_moment1_0"].shape == trained[f"{name}_moment2_0"].shape == (3,)
        assert trained[f"{name}_beta1_pow_acc_0"] == pytest.approx(BETA1 ** 2)
        assert trained[f"{name}_beta2_pow_acc_0"] == pytest.approx(BETA2 ** 2)
