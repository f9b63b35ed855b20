"""Convolutions and dense layers in bfloat16: the rounding of factors, emulated, and the processor's own.

A factor rounded to a mantissa of eight bits, the leading one among them, is off by 2^-8 of itself at the most, a
product of two by 2^-7 + 2^-16; a sum by as much of the sum of its terms' sizes, which the same layer computes of
absolute values.
"""

import os
import shutil
import sys

from common.backend import runtime

runtime.prepare()

import numpy as np  # noqa: E402
import paddle  # noqa: E402
import pytest  # noqa: E402
from paddle import nn  # noqa: E402

from common.backend import fast  # noqa: E402

pytestmark = pytest.mark.skipif(  # where they can be built, they must be
    sys.platform != "linux" or os.environ.get("GAN_FAST_OPS") == "0" or not any(map(shutil.which, ("g++", "c++"))),
    reason="no Linux, no C++ compiler, or the fast operators are switched off")

LAYERS = {
    "faces conv": (lambda: fast.Conv2D(64, 32, 4, 2, 1, bias_attr=False), (2, 64, 16, 16)),
    "book conv2": (lambda: fast.Conv2D(32, 64, 5), (2, 32, 12, 12)),
    "faces deconv1": (lambda: fast.Conv2DTranspose(100, 64, 4, bias_attr=False), (3, 100, 1, 1)),
    "cgan deconv": (lambda: fast.Conv2DTranspose(64, 32, 5, 2, [1, 2, 1, 2]), (2, 64, 7, 7)),
    "dense": (lambda: fast.Linear(50, 30), (7, 50)),
}
FEW = {"one channel": (lambda: fast.Conv2D(1, 16, 5), (2, 1, 12, 12))}


def values(make, shape, arithmetic, monkeypatch, absolute=False):
    """The result, the gradients of input, weight and bias."""
    monkeypatch.setattr(fast, "_arithmetic", arithmetic)
    paddle.seed(1)
    layer, rng = make(), np.random.default_rng(2)
    size = np.abs if absolute else (lambda array: array)
    for parameter in layer.parameters():
        parameter.set_value(size(rng.standard_normal(parameter.shape, dtype="float32")))
    x = paddle.to_tensor(size(rng.standard_normal(shape, dtype="float32")), stop_gradient=False)
    y = layer(x)
    dy = paddle.to_tensor(size(rng.standard_normal(y.shape, dtype="float32")))
    return [y.numpy(), *(g.numpy() for g in paddle.grad([y], [x, *layer.parameters()], [dy]))]


@pytest.mark.parametrize("name", LAYERS)
def test_rounded_factors_stay_within_the_mantissas_bound(name, monkeypatch):
    exact, rounded = (values(*LAYERS[name], kind, monkeypatch) for kind in (fast.FLOAT32, fast.EMULATED))
    sizes = values(*LAYERS[name], fast.FLOAT32, monkeypatch, absolute=True)
    for i, (a, b, size) in enumerate(zip(rounded, exact, sizes, strict=True)):
        assert (np.abs(a - b) <= (2 ** -7 + 2 ** -15) * size).all()
        if i < 3:  # a bias's gradient is a sum of what comes in, without factors
            assert np.abs(a - b).max() > 2 ** -14 * np.abs(b).max()  # it is rounded indeed


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.skipif(not runtime.bf16_processor(), reason="the processor has no bf16")
def test_the_processor_rounds_as_the_emulation_does(name, monkeypatch):
    for a, b in zip(*(values(*LAYERS[name], kind, monkeypatch) for kind in (fast.BF16, fast.EMULATED)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_pictures_of_few_channels_stay_float32(monkeypatch):
    make, shape = FEW["one channel"]
    for a, b in zip(*(values(make, shape, kind, monkeypatch) for kind in (fast.EMULATED, fast.FLOAT32)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rounding_is_to_the_nearest_and_then_to_the_even(monkeypatch):
    monkeypatch.setattr(fast, "_arithmetic", fast.EMULATED)
    step = 2.0 ** -7  # between neighbours from 1 to 2
    x = np.float32([[1 + step / 2, 1 + 3 * step / 2, 1 + 0.51 * step, -1 - 0.49 * step]]).T
    layer = fast.Linear(1, 1)
    layer.weight.set_value(np.float32([[1]]))
    np.testing.assert_array_equal(layer(paddle.to_tensor(x)).numpy().ravel(), [1, 1 + 2 * step, 1 + step, -1])


def test_frozen_dense_layers_and_pictures(monkeypatch):
    monkeypatch.setattr(fast, "_arithmetic", fast.EMULATED)
    names, call = [], fast._call
    monkeypatch.setattr(fast, "_call", lambda name, *args: names.append(name) or call(name, *args))
    layer, x = fast.Linear(6, 4), paddle.rand([3, 6])
    layer(x).sum().backward()
    np.testing.assert_allclose(layer.bias.grad.numpy(), [3] * 4)
    for parameter in layer.parameters():
        parameter.stop_gradient = True
    x.stop_gradient = False
    layer(x).sum().backward()
    assert names == ["gan_dense_w", "gan_dense_x"]
    np.testing.assert_allclose(x.grad.numpy(), np.tile(layer.weight.numpy().sum(1), (3, 1)), rtol=0,
                               atol=2 ** -7 * np.abs(layer.weight.numpy()).sum(1).max())


def test_it_is_off_unless_wanted_and_possible(monkeypatch):
    monkeypatch.setattr(fast, "_arithmetic", fast.FLOAT32)  # put back afterwards
    for flags, has in (("fpu avx512f", False), ("avx512f avx512_bf16", True), ("amx_bf16", True)):
        monkeypatch.setattr(runtime, "cpuinfo", lambda flags=flags: f"flags : {flags}\n")
        assert runtime.bf16_processor() is has
    layer, x = fast.Linear(3, 2), paddle.rand([2, 3])
    monkeypatch.setattr(runtime, "bf16_processor", lambda: False)
    assert not fast.use_bf16() and fast.arithmetic() == "float32"
    np.testing.assert_array_equal(layer(x).numpy(), nn.Linear.forward(layer, x).numpy())
    monkeypatch.setattr(runtime, "bf16_processor", lambda: True)
    assert not fast.use_bf16(False) and fast.use_bf16() and fast.arithmetic() == "bfloat16"
    monkeypatch.setenv("GAN_FAST_OPS", "0")
    assert not fast.use_bf16()
