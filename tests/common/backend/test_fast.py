"""The fast layers do what Paddle's do: same values and gradients, in both modes, and step aside when they must.

Both sum the same float32 products in different orders. The bound is relative to the largest value of the
reference: 2e-5, some three hundred float32 roundings, where the sums have up to tens of thousands of terms.
"""

import os
import shutil
import subprocess
import sys
from functools import partial

from common.backend import runtime

runtime.prepare()

import numpy as np  # noqa: E402
import paddle  # noqa: E402
import paddle.nn.functional as F  # noqa: E402
import pytest  # noqa: E402
from paddle import nn  # noqa: E402

from common.backend import fast  # noqa: E402
from common.errors import ROOT  # noqa: E402

BOUND = 2e-5

needs_operators = pytest.mark.skipif(  # where they can be built, they must be
    sys.platform != "linux" or os.environ.get("GAN_FAST_OPS") == "0" or not any(map(shutil.which, ("g++", "c++"))),
    reason="no Linux, no C++ compiler, or the fast operators are switched off")

# class, channels in, channels out, options, [B, H, W], output_size
LAYERS = {
    "book conv1": ("Conv2D", 1, 64, {"kernel_size": 5}, (3, 28, 28), None),
    "book conv2": ("Conv2D", 64, 128, {"kernel_size": 5}, (2, 12, 12), None),
    "one sample": ("Conv2D", 16, 8, {"kernel_size": 3}, (1, 7, 7), None),
    "odd sizes": ("Conv2D", 5, 7, {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0)}, (3, 11, 13), None),
    "few channels, odd": ("Conv2D", 2, 7, {"kernel_size": (3, 4), "stride": (2, 3), "padding": 2}, (3, 11, 8), None),
    "window wider than picture": ("Conv2D", 3, 4, {"kernel_size": 5, "padding": 4}, (2, 2, 2), None),
    "four paddings": ("Conv2D", 6, 8, {"kernel_size": 4, "padding": [0, 1, 2, 1]}, (2, 8, 9), None),
    "celeba conv1": ("Conv2D", 3, 64, {"kernel_size": 4, "stride": 2, "padding": 1, "bias_attr": False},
                     (2, 64, 64), None),
    "celeba conv2": ("Conv2D", 64, 128, {"kernel_size": 4, "stride": 2, "padding": 1, "bias_attr": False},
                     (3, 32, 32), None),
    "celeba conv4": ("Conv2D", 64, 32, {"kernel_size": 4, "stride": 2, "padding": 1}, (5, 8, 8), None),
    "cgan conv": ("Conv2D", 32, 64, {"kernel_size": 5, "stride": 2, "padding": [1, 2, 1, 2]}, (3, 14, 14), None),
    "cgan conv, stride 1": ("Conv2D", 64, 32, {"kernel_size": 5, "padding": 2}, (3, 7, 7), None),
    "a row that no window reaches": ("Conv2D", 32, 32, {"kernel_size": 4, "stride": 2}, (2, 9, 11), None),
    "celeba conv5": ("Conv2D", 512, 1, {"kernel_size": 4, "bias_attr": False}, (2, 4, 4), None),
    "book deconv1": ("Conv2DTranspose", 128, 128, {"kernel_size": 5, "stride": 2, "padding": 2}, (2, 7, 7), [14, 14]),
    "book deconv2": ("Conv2DTranspose", 128, 1, {"kernel_size": 5, "stride": 2, "padding": 2}, (3, 14, 14), [28, 28]),
    "celeba deconv1": ("Conv2DTranspose", 100, 64, {"kernel_size": 4, "bias_attr": False}, (2, 1, 1), None),
    "celeba deconv2": ("Conv2DTranspose", 64, 32, {"kernel_size": 4, "stride": 2, "padding": 1, "bias_attr": False},
                       (3, 4, 4), None),
    "cgan deconv": ("Conv2DTranspose", 64, 32, {"kernel_size": 5, "stride": 2, "padding": [1, 2, 1, 2]}, (2, 7, 7),
                    [14, 14]),
    "celeba deconv5": ("Conv2DTranspose", 64, 3, {"kernel_size": 4, "stride": 2, "padding": 1, "bias_attr": False},
                       (2, 32, 32), None),
    "output_padding": ("Conv2DTranspose", 6, 9, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
                       (1, 5, 6), None),
    "odd output_size": ("Conv2DTranspose", 6, 2, {"kernel_size": (3, 5), "stride": (3, 2)}, (2, 4, 5), [14, 13]),
}
# What the operators do not cover, and leave to Paddle.
OTHERS = {
    "groups": ("Conv2D", 8, 8, {"kernel_size": 3, "groups": 2}, (2, 7, 7), None),
    "dilation": ("Conv2D", 8, 8, {"kernel_size": 3, "dilation": 2}, (2, 7, 7), None),
    "reflected edge": ("Conv2D", 8, 8, {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, (2, 7, 7), None),
    "same": ("Conv2D", 3, 32, {"kernel_size": 5, "stride": 2, "padding": "SAME"}, (2, 28, 28), None),
    "valid": ("Conv2D", 9, 4, {"kernel_size": 3, "padding": "VALID"}, (2, 6, 6), None),
    "transposed same": ("Conv2DTranspose", 8, 8, {"kernel_size": 3, "padding": "SAME"}, (2, 7, 7), None),
}


def close(got, want):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=BOUND * np.abs(want).max() + 1e-30)


def case(spec):
    """The fast layer, its input and a gradient to send back."""
    kind, c_in, c_out, options, (batch, *size), output_size = spec
    paddle.seed(1)
    layer = getattr(fast, kind)(c_in, c_out, **options)
    if layer.bias is not None:
        layer.bias.set_value(paddle.rand([c_out]) - 0.5)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((batch, c_in, *size), dtype="float32")
    call = {} if output_size is None else {"output_size": output_size}
    shape = plain(layer, paddle.to_tensor(x), **call).shape
    return layer, x, call, rng.standard_normal(shape, dtype="float32")


def plain(layer, *args, **kwargs):
    """The layer by Paddle's own operators."""
    return getattr(nn, type(layer).__name__).forward(layer, *args, **kwargs)


def values(layer, forward, x, dy, call):
    """The result and the gradients of input, weight and bias, in the dynamic graph."""
    x = paddle.to_tensor(x, stop_gradient=False)
    y = forward(x, **call)
    inputs = [x, *layer.parameters()]
    return [y.numpy(), *(g.numpy() for g in paddle.grad([y], inputs, [paddle.to_tensor(dy)]))]


def called(monkeypatch):
    """Names of the operators that run from now on."""
    names, call = [], fast._call
    monkeypatch.setattr(fast, "_call", lambda name, *args: names.append(name) or call(name, *args))
    return names


@needs_operators
@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_paddles(name, monkeypatch):
    layer, x, call, dy = case(LAYERS[name])
    names = called(monkeypatch)
    got = values(layer, layer, x, dy, call)
    assert names == ["gan_conv" if layer.bias is None else "gan_conv_bias"]
    for a, b in zip(got, values(layer, partial(plain, layer), x, dy, call), strict=True):
        close(a, b)


@needs_operators
@pytest.mark.parametrize("name", ["celeba conv2", "cgan conv", "book conv2"])
def test_fewer_multiplications_are_exact_enough(name, monkeypatch):
    """Winograd's three methods against float64: no further off than twice the direct sums of Paddle's own.

    Ours do not depend on the number of threads. Paddle's do, and are more exact with one.
    """
    bound = 2 if runtime.threads() > 1 else 3
    layer, x, call, dy = case(LAYERS[name])
    exact = values(layer.to(dtype="float64"), partial(plain, layer), x.astype("float64"), dy.astype("float64"), call)
    layer.to(dtype="float32")
    names = called(monkeypatch)
    for mine, direct, truth in zip(values(layer, layer, x, dy, call),
                                   values(layer, partial(plain, layer), x, dy, call), exact, strict=True):
        error, other = (np.sqrt(np.mean((got - truth) ** 2)) for got in (mine, direct))
        assert error < bound * other, (error, other)
    assert names == ["gan_conv" if layer.bias is None else "gan_conv_bias"]


@needs_operators
@pytest.mark.parametrize("inputs, outputs, batch", [(100, 200, 128), (64, 1, 9), (5, 130, 1)])
def test_dense_layers_have_paddles_bits(inputs, outputs, batch, monkeypatch):
    """Their product is Paddle's; the bias is added, and its gradient summed, in Paddle's order."""
    layer, rng = fast.Linear(inputs, outputs), np.random.default_rng(2)
    layer.bias.set_value(rng.standard_normal(outputs, dtype="float32"))
    x, dy = (rng.standard_normal((batch, size), dtype="float32") for size in (inputs, outputs))
    names = called(monkeypatch)
    for a, b in zip(values(layer, layer, x, dy, {}), values(layer, partial(plain, layer), x, dy, {}), strict=True):
        np.testing.assert_array_equal(a, b)
    for parameter in layer.parameters():
        parameter.stop_gradient = True
    x = paddle.to_tensor(x, stop_gradient=False)
    mine, plains = (paddle.grad([f(x)], [x], [paddle.to_tensor(dy)])[0].numpy() for f in (layer, partial(plain, layer)))
    np.testing.assert_array_equal(mine, plains)
    assert names == ["gan_bias", "gan_bias_x"]


@needs_operators
@pytest.mark.parametrize("name", OTHERS)
def test_the_rest_is_left_to_paddle(name, monkeypatch):
    layer, x, call, dy = case(OTHERS[name])
    names = called(monkeypatch)
    got = values(layer, layer, x, dy, call)
    for a, b in zip(got, values(layer, partial(plain, layer), x, dy, call), strict=True):
        np.testing.assert_array_equal(a, b)
    assert names == []


@needs_operators
@pytest.mark.parametrize("output_size", [[11, 14], [14, 16]])
def test_output_size_out_of_range_is_paddles_error(output_size):
    layer = fast.Conv2DTranspose(8, 8, 5, stride=2, padding=2)
    with pytest.raises(ValueError, match="output_size"):
        layer(paddle.rand([1, 8, 7, 7]), output_size=output_size)


@needs_operators
def test_batch_sizes_may_change(monkeypatch):
    layer, names = fast.Conv2D(8, 16, 3), called(monkeypatch)
    for batch in (4, 1, 3, 4):
        x = paddle.rand([batch, 8, 9, 9])
        close(layer(x).numpy(), plain(layer, x).numpy())
    assert len(names) == 4


@needs_operators
def test_repeated_calls_give_the_same_bits(monkeypatch):
    names = called(monkeypatch)
    for name in ("book conv1", "book conv2", "book deconv1"):
        layer, x, call, dy = case(LAYERS[name])
        for a, b in zip(values(layer, layer, x, dy, call), values(layer, layer, x, dy, call), strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(names) == 6


@needs_operators
@pytest.mark.parametrize("kind", ["Conv2D", "Conv2DTranspose"])
@pytest.mark.parametrize("bias", ["_bias", ""])
def test_unwanted_gradients_are_not_computed(kind, bias, monkeypatch):
    names = called(monkeypatch)
    layer = getattr(fast, kind)(8, 8, 3, bias_attr=None if bias else False)
    x = paddle.rand([2, 8, 5, 5])
    layer(x).sum().backward()  # a picture: no gradient wanted
    assert x.grad is None and all(parameter.grad is not None for parameter in layer.parameters())

    weight = layer.weight.grad.numpy()
    layer.clear_gradients()
    plain(layer, x).sum().backward()
    close(weight, layer.weight.grad.numpy())

    for parameter in layer.parameters():
        parameter.clear_gradient(False)  # None, not zeros
        parameter.stop_gradient = True
    x.stop_gradient = False
    layer(x).sum().backward()  # a frozen network: only the gradient of its input
    assert names == [f"gan_conv{bias}_w", f"gan_conv{bias}_x"]
    assert all(parameter.grad is None for parameter in layer.parameters())
    got, x_plain = x.grad.numpy(), paddle.to_tensor(x.numpy(), stop_gradient=False)
    plain(layer, x_plain).sum().backward()
    close(got, x_plain.grad.numpy())


@needs_operators
@pytest.mark.parametrize("slope", [0.02, 0.0, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 9, 7)])
def test_pool_equals_paddles(shape, slope, monkeypatch):
    names = called(monkeypatch)
    x = np.random.default_rng(0).standard_normal(shape, dtype="float32")
    x[0, 0, :4, :4] = 0.5  # equals: the first wins
    x[0, -1, -4:, -4:] = 0

    def both(pool):
        t = paddle.to_tensor(x, stop_gradient=False)
        y = pool(t)
        (y * paddle.arange(y.size, dtype="float32").reshape(y.shape)).sum().backward()
        return y.numpy(), t.grad.numpy()

    got = both(lambda t: fast.leaky_relu_max_pool(t, slope))
    want = both(lambda t: F.max_pool2d(F.leaky_relu(t, negative_slope=slope) if slope else F.relu(t), 2, 2))
    assert names == ["gan_pool"]
    for a, b in zip(got, want, strict=True):
        if slope == 0:  # ReLU makes equals of negative pixels, whose gradient is 0 wherever it goes
            a, b = a + 0.0, b + 0.0
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(fast.max_pool(paddle.to_tensor(x)).numpy(),
                                  F.max_pool2d(paddle.to_tensor(x), 2, 2).numpy())


@needs_operators
@pytest.mark.parametrize("at", range(4))
def test_pool_keeps_a_nan(at):
    x = np.random.default_rng(0).standard_normal((1, 1, 2, 10), dtype="float32")  # four squares at once, and one
    for square in (1, 4):
        x[0, 0, at // 2, 2 * square + at % 2] = np.nan
    assert np.isnan(fast.max_pool(paddle.to_tensor(x)).numpy().ravel()).tolist() == [False, True, False, False, True]


def test_a_decreasing_activation_is_refused():
    with pytest.raises(ValueError, match="negative_slope"):
        fast.leaky_relu_max_pool(paddle.rand([1, 1, 4, 4]), negative_slope=-0.1)


def test_a_switch_turns_them_off(monkeypatch):
    names = called(monkeypatch)
    layer, x = fast.Conv2D(8, 8, 3), paddle.rand([1, 8, 5, 5])
    monkeypatch.setenv("GAN_FAST_OPS", "0")
    np.testing.assert_array_equal(layer(x).numpy(), plain(layer, x).numpy())
    fast.max_pool(x)
    assert names == []


@needs_operators
@pytest.mark.parametrize("channels", [1, 8])
def test_no_pictures_have_no_gradient(channels):
    layer = fast.Conv2D(channels, 8, 3)
    layer(paddle.rand([2, channels, 6, 6])).sum().backward()  # which leaves sums in the operators' memory
    layer.clear_gradients()
    if paddle.__version__.startswith("2.6"):
        with pytest.raises((ValueError, RuntimeError)):
            layer(paddle.zeros([0, channels, 6, 6])).sum().backward()
        return
    layer(paddle.zeros([0, channels, 6, 6])).sum().backward()
    assert float(layer.weight.grad.abs().max()) == 0


@needs_operators
@pytest.mark.skipif(paddle.__version__.startswith("2.6"), reason="Paddle 2.6 has no arrays of no pictures")
def test_no_pictures_move_no_statistics():
    norm = nn.BatchNorm2D(3)
    assert fast.bn_relu(norm, learning(0, 3, 4, 4)).shape[0] == 0
    assert float(norm._mean.abs().max()) == 0 and float(norm._variance.min()) == float(norm._variance.max()) == 1


def learning(*shape):
    """Random numbers that want a gradient; without one batch norm is Paddle's."""
    x = paddle.rand(shape)
    x.stop_gradient = False
    return x


@pytest.mark.parametrize("layer", [
    lambda: fast.bn_relu(nn.BatchNorm2D(8), learning(2, 16, 4, 4)),
    lambda: fast.bn_relu(nn.BatchNorm2D(16), learning(2, 8, 4, 4)),
    lambda: fast.Linear(50, 30)(learning(8, 10)),
    lambda: fast.Conv2D(3, 4, 3)(learning(2, 4, 8, 8))], ids=["wider", "narrower", "dense", "convolution"])
@pytest.mark.parametrize("arithmetic", [fast.FLOAT32, fast.EMULATED])
def test_an_input_that_does_not_fit_is_paddles_error(layer, arithmetic, monkeypatch):
    monkeypatch.setattr(fast, "_arithmetic", arithmetic)
    with pytest.raises(ValueError):  # the words are Paddle's
        layer()


INTERRUPTED = """
import ctypes
import signal
from time import monotonic
from common.backend import fast, runtime
runtime.prepare()
import paddle
layer, x, came = fast.Conv2D(3, 512, 4, 2, 1), paddle.rand([4, 3, 64, 64]), []
x.stop_gradient = False
signal.signal(signal.SIGALRM, lambda *_: came.append(1))
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
end = monotonic() + 3
while monotonic() < end:
    layer(x).sum().backward()
signal.setitimer(signal.ITIMER_REAL, 0)


class Stack(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack := Stack()))
print(len(came) > 1000, "SS_DISABLE" if stack.flags & 2 else "a stack for signals")
"""


@needs_operators
def test_signals_during_a_convolution_leave_the_heap_alone():
    """In a process of its own, because pytest gives its main thread a stack for signals, which hides the fault.

    Without one about every second such process ends in a damaged heap, depending on what lies beside sgemm's memory.
    """
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True, timeout=30,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": ""})
    assert (done.returncode, done.stdout) == (0, "True a stack for signals\n"), done.stderr
