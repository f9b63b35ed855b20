"""Adam of fluid and TensorFlow: its steps against its formula, and the names of its state."""

import numpy as np
import paddle
import pytest
from paddle.static import Executor, Program, Scope, program_guard, scope_guard

from common.backend import compat, fast
from common.backend.adam import Adam, fluid_adam

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


@pytest.mark.parametrize("fast_ops", ["1", "0"])
@pytest.mark.parametrize(("optimizer", "corrected"), [(fluid_adam, False), (Adam, True)])
def test_each_step_is_the_formulas(optimizer, corrected, fast_ops, monkeypatch):
    monkeypatch.setenv("GAN_FAST_OPS", fast_ops)
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


@pytest.fixture
def called(monkeypatch):
    """How often the fast operator runs."""
    names, call = [], fast._call
    monkeypatch.setattr(fast, "_call", lambda name, *args: names.append(name) or call(name, *args))
    return names


def test_dynamic_steps_are_paddles(called):
    """Over arrays larger than a thread's share; the state of one goes on in the other."""
    paddle.disable_static()
    rng = np.random.RandomState(1)
    start = rng.normal(size=[300, 41]).astype("float32")
    weights = [paddle.create_parameter(start.shape, "float32") for _ in range(2)]
    optimizers = [kind(RATE, BETA1, BETA2, EPSILON, parameters=[weight])
                  for kind, weight in zip((Adam, paddle.optimizer.Adam), weights, strict=True)]
    for weight in weights:
        weight.set_value(start)
    for _ in range(3):
        gradient = paddle.to_tensor(rng.normal(size=start.shape).astype("float32"))
        for weight, optimizer in zip(weights, optimizers, strict=True):
            (weight * gradient).sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            assert weight.is_leaf and not weight.stop_gradient
    np.testing.assert_allclose(weights[0].numpy(), weights[1].numpy(), rtol=2e-6, atol=1e-9)
    states = [sorted((key.split(weight.name)[-1], value.numpy()) for key, value in optimizer.state_dict().items()
                     if weight.name in key) for weight, optimizer in zip(weights, optimizers, strict=True)]
    assert [key for key, _ in states[0]] == [key for key, _ in states[1]] and len(states[0]) == 4
    for (_, mine), (_, other) in zip(*states, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-6, atol=1e-12)
    assert called == (["gan_adam"] * 3 if fast.usable(weights[0]) else [])
