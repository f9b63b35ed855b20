"""Batch norm, activations and dropout by the fast operators: values, gradients and moving statistics of Paddle's own.

Bounds as in test_fast.py: relative to the largest value of the reference.
"""

import os
import shutil
import sys

from common.backend import runtime

runtime.prepare()

import numpy as np  # noqa: E402
import paddle  # noqa: E402
import paddle.nn.functional as F  # noqa: E402
import pytest  # noqa: E402
from paddle import ParamAttr, nn  # noqa: E402

from common.backend import compat, fast  # noqa: E402

BOUND = 2e-6

pytestmark = pytest.mark.skipif(  # where they can be built, they must be
    sys.platform != "linux" or os.environ.get("GAN_FAST_OPS") == "0" or not any(map(shutil.which, ("g++", "c++"))),
    reason="no Linux, no C++ compiler, or the fast operators are switched off")


@pytest.fixture
def names(monkeypatch):
    """Names of the operators that run."""
    found, call = [], fast._call
    monkeypatch.setattr(fast, "_call", lambda name, *args: found.append(name) or call(name, *args))
    return found


@pytest.fixture
def static_mode():
    paddle.enable_static()
    yield
    paddle.disable_static()


def close(got, want):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=BOUND * max(1, np.abs(want).max()))


def activation(x, slope):
    return F.leaky_relu(x, negative_slope=slope) if slope else F.relu(x)


def plain(bn, x, slope):
    return activation(bn(x), slope)


def layer(shape, momentum, training=True):
    """Batch norm with scales, shifts and moving statistics of its own."""
    rng = np.random.default_rng(1)
    bn = (nn.BatchNorm1D if len(shape) == 2 else nn.BatchNorm2D)(shape[1], momentum=momentum, epsilon=1e-3)
    for parameter, low in ((bn.weight, -1), (bn.bias, -1), (bn._mean, -1), (bn._variance, 0.5)):
        parameter.set_value(rng.uniform(low, 2, shape[1]).astype("float32"))
    bn.train() if training else bn.eval()
    return bn


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("training, momentum", [(True, 0.8), (True, 1.0), (False, 0.8)])
@pytest.mark.parametrize("shape", [(5, 3, 7, 6), (16, 37), (64, 20, 1, 1), (1, 3, 1, 1), (1, 5), (1, 3, 4, 4)])
def test_batch_norm_equals_paddles(shape, training, momentum, slope, names):
    rng = np.random.default_rng(2)
    x = rng.standard_normal(shape, dtype="float32") * 3 + 1
    dy = paddle.to_tensor(rng.standard_normal(shape, dtype="float32"))
    results = []
    for function in (fast.bn_leaky_relu, plain):
        bn, t = layer(shape, momentum, training), paddle.to_tensor(x, stop_gradient=False)
        y = function(bn, t, slope)
        gradients = paddle.grad([y], [t, bn.weight, bn.bias], [dy])
        results.append([value.numpy() for value in (y, *gradients, bn._mean, bn._variance)])
        assert bn._mean.stop_gradient and bn._mean.is_leaf  # no part of the graph
    assert names == ["gan_norm"]
    for got, want in zip(*results, strict=True):
        close(got, want)


def test_sums_are_as_exact_as_paddles(names):
    """Against float64, on values whose mean is large beside their deviation."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((128, 4, 16, 16)) + 30).astype("float32")
    exact = (x - x.mean((0, 2, 3), keepdims=True, dtype="float64")) / x.std((0, 2, 3), keepdims=True, dtype="float64")
    errors = []
    for function in (fast.bn_leaky_relu, plain):
        bn = nn.BatchNorm2D(4, epsilon=1e-12)
        errors.append(np.abs(function(bn, paddle.to_tensor(x, stop_gradient=False), 1.0).numpy() - exact).max())
    assert errors[0] <= errors[1] + 1e-6 and names == ["gan_norm"]


def test_frozen_layers_and_no_gradient(names):
    x = paddle.rand([8, 3, 4, 4])
    bn, other = layer(x.shape, 0.8), layer(x.shape, 0.8)
    with paddle.no_grad():  # the moving statistics move all the same
        close(fast.bn_relu(bn, x).numpy(), plain(other, x, 0.0).numpy())
    close(bn._mean.numpy(), other._mean.numpy())
    bn.weight.stop_gradient = bn.bias.stop_gradient = True
    other.weight.stop_gradient = other.bias.stop_gradient = True
    grads = []
    for norm, function in ((bn, fast.bn_relu), (other, lambda norm, t: plain(norm, t, 0.0))):
        t = paddle.to_tensor(x.numpy(), stop_gradient=False)
        (function(norm, t) ** 2).sum().backward()
        grads.append(t.grad.numpy())
    close(*grads)
    assert names == ["gan_norm", "gan_norm_x"] and bn.weight.grad is None


def test_what_is_not_covered_is_left_to_paddle(names):
    x = paddle.rand([4, 3, 5, 5])
    x.stop_gradient = False
    for bn in (nn.BatchNorm2D(3, use_global_stats=True), nn.BatchNorm2D(3, weight_attr=False, bias_attr=False),
               nn.BatchNorm(3, act="relu")):
        fast.bn_leaky_relu(bn, x)
    fast.bn_leaky_relu(nn.BatchNorm2D(3), paddle.rand([4, 3, 5, 5]))  # a gradient of the scale, none of the picture
    assert names == []


def test_repeated_calls_give_the_same_bits(names):
    for shape in ((16, 24, 5, 5), (16, 100)):
        x, results = paddle.rand(shape), []
        for _ in range(2):
            bn, t = layer(shape, 0.8), paddle.to_tensor(x.numpy(), stop_gradient=False)
            y = fast.bn_leaky_relu(bn, t, 0.2)
            (y ** 2).sum().backward()
            results.append([value.numpy() for value in (y, t.grad, bn.weight.grad, bn.bias.grad, bn._variance)])
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b)
    assert names == ["gan_norm"] * 4


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_leaky_relu_equals_paddles(slope, names):
    x = np.random.default_rng(0).standard_normal((3, 5, 7)).astype("float32")
    x[0, 0, :2] = 0, -0.0
    results = []
    for function in (fast.leaky_relu, activation):
        t = paddle.to_tensor(x, stop_gradient=False)
        y = function(t, slope)
        (y * 3).sum().backward()
        results.append((y.numpy(), t.grad.numpy()))
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)
    assert names == ["gan_leaky_relu"]


def test_masked_equals_a_product(names):
    rng = np.random.default_rng(0)
    x = paddle.to_tensor(rng.standard_normal((4, 6, 5)).astype("float32"), stop_gradient=False)
    mask = (rng.uniform(size=x.shape) < 0.5) * 2
    y = fast.masked(x, paddle.to_tensor(mask.astype("uint8")))
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.numpy(), x.numpy() * mask.astype("float32"))
    np.testing.assert_array_equal(x.grad.numpy(), (2 * y.numpy()) * mask.astype("float32"))
    assert names == ["gan_mask"]


def static_run(steps=3):
    """Weights, moving statistics and losses of a network that holds each operator, trained and frozen, in programs."""
    scope, startup, main = paddle.static.Scope(), paddle.static.Program(), paddle.static.Program()
    executor = paddle.static.Executor(paddle.CPUPlace())

    def bn(name, trainable):
        return compat.BatchNorm(6, momentum=0.7, param_attr=ParamAttr(name=f"{name}s", trainable=trainable),
                                bias_attr=ParamAttr(name=f"{name}b", trainable=trainable),
                                moving_mean_name=f"{name}m", moving_variance_name=f"{name}v")

    with paddle.static.scope_guard(scope):
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            x = paddle.static.data("x", [None, 6, 4, 4])
            mask = paddle.static.data("mask", [None, 6, 4, 4], "uint8")
            dense = paddle.create_parameter([6], "float32", name="w", default_initializer=nn.initializer.Constant(0.5))
            trained = bn("t", True)
            y = x * dense.reshape([1, 6, 1, 1])
            y = fast.masked(fast.bn_leaky_relu(trained, y, 0.2), mask)
            y = fast.bn_relu(trained, y)  # twice in one program: its statistics move twice, in this order
            y = fast.leaky_relu(fast.bn_leaky_relu(bn("f", False), y), 0.3)
            unused = fast.bn_relu(bn("u", False), x)  # nobody fetches it, but its statistics move
            assert unused is not None
            loss = ((y - x) ** 2).mean()
            names = [name for name, parameter in compat.parameters(main).items() if not parameter.stop_gradient]
            compat.minimize(paddle.optimizer.SGD(0.1), loss, main, names)
            arrays = list(compat.parameters(main))
        executor.run(startup)
        rng = np.random.default_rng(4)
        losses = []
        for batch in [4, 3, 5][:steps]:
            shape = batch, 6, 4, 4
            feed = {"x": rng.standard_normal(shape).astype("float32"), "mask": rng.integers(0, 3, shape, "uint8")}
            losses.append(float(executor.run(main, feed=feed, fetch_list=[loss])[0]))
        return losses, {name: np.array(scope.find_var(name).get_tensor()) for name in arrays}


def test_static_programs_train_alike(static_mode, names, monkeypatch):
    losses, arrays = static_run()
    assert names == ["gan_norm", "gan_mask", "gan_norm", "gan_norm_x", "gan_leaky_relu", "gan_norm_x"]
    monkeypatch.setenv("GAN_FAST_OPS", "0")
    plain_losses, plain_arrays = static_run()
    assert len(names) == 6 and set(arrays) >= {"ts", "tb", "tm", "tv", "fm", "fv", "um", "uv", "w"}
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-5)
    for name, array in arrays.items():
        np.testing.assert_allclose(array, plain_arrays[name], rtol=0, atol=1e-5, err_msg=name)
    assert all(np.abs(arrays[name]).max() > 1e-3 for name in ("tm", "fm", "um"))  # they have moved from 0
