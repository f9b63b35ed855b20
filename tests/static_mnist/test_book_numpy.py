"""The book's programs, computed once more: in NumPy, and in Paddle's dynamic mode."""

import numpy as np
import paddle
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from common.backend.adam import Adam
from static_mnist import book
from tests.static_mnist.book_programs import (
    BATCH,
    NETWORKS,
    STATISTICS,
    d_step,
    dg_step,
    moved,
    noise,
    pictures,
    recorded_step,
)


@pytest.fixture
def gan(built):
    """The full networks as they were at the start."""
    gan, start = built
    paddle.enable_static()
    gan.load_state(start)
    return gan


def leaky(x):
    return np.where(x > 0, x, 0.02 * x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def batch_norm(x, state, number, moving=False):
    """Over all axes but the second; also returns the mean and the variance that it took."""
    axes = (0, *range(2, x.ndim))
    scale, bias, mean, variance = (
        state[f"bn{number}{i}"].astype("float64").reshape([1, -1] + [1] * (x.ndim - 2)) for i in (1, 2, 3, 4))
    if not moving:
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias, mean.ravel(), variance.ravel()


def convolve(x, w, b):
    """x [B, C, H, W], w [M, C, 5, 5], without padding."""
    return np.einsum("bchwij,mcij->bmhw", sliding_window_view(x, (5, 5), (2, 3)), w, optimize=True) \
        + b.reshape([1, -1, 1, 1])


def deconvolve(x, w, b):
    """x [B, C, H, W], w [C, M, 5, 5]: each pixel adds its 5×5 at twice its place, two pixels cut at each side."""
    batch, _, height, width = x.shape
    out = np.zeros([batch, w.shape[1], 2 * height + 3, 2 * width + 3])
    for i in range(5):
        for j in range(5):
            out[:, :, i:i + 2 * height:2, j:j + 2 * width:2] += np.einsum("bchw,cm->bmhw", x, w[:, :, i, j])
    return out[:, :, 2:2 + 2 * height, 2:2 + 2 * width] + b.reshape([1, -1, 1, 1])


def pool(x):
    return x.reshape([*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2]).max((3, 5))


def d_forward(state, x):
    """D's probabilities and the statistics of its batch norms, in float64."""
    w = {name: array.astype("float64") for name, array in state.items()}
    x = pool(leaky(convolve(x.astype("float64").reshape([-1, 1, 28, 28]), w["conv1w"], w["conv1b"])))
    x = pool(convolve(x, w["conv2w"], w["conv2b"]))
    x, *one = batch_norm(x, state, 1)
    x = leaky(x).reshape([len(x), -1]) @ w["fc1w"] + w["fc1b"]
    x, *two = batch_norm(x, state, 2)
    return sigmoid(leaky(x) @ w["fc2w"] + w["fc2b"]), {"bn13": one[0], "bn14": one[1], "bn23": two[0], "bn24": two[1]}


def gan_forward(state, z, moving=False):
    """G's pictures [n, 28, 28], in float64."""
    w = {name: array.astype("float64") for name, array in state.items()}
    x = np.maximum(batch_norm(z.astype("float64") @ w["fc3w"] + w["fc3b"], state, 3, moving)[0], 0)
    x = np.maximum(batch_norm(x @ w["fc4w"] + w["fc4b"], state, 4, moving)[0], 0)
    x = np.maximum(deconvolve(x.reshape([-1, 128, 7, 7]), w["deconv1w"], w["deconv1b"]), 0)
    return np.tanh(deconvolve(x, w["deconv2w"], w["deconv2b"])).reshape([-1, 28, 28])


def cross_entropy(probability, real):
    """Of sigmoid(probability): the second sigmoid."""
    return np.mean(np.log1p(np.exp(-probability if real else probability)))


@pytest.fixture
def worn(gan):
    """The networks after two iterations: biases, scales and statistics are no longer 0 and 1."""
    state = gan.state()
    random = np.random.RandomState(8)
    for name in state:
        if name.endswith("b") or name[:2] == "bn" and name[3:] in ("1", "2", "3", "4"):
            state[name] = (state[name] + random.uniform(0.0, 0.2, state[name].shape)).astype("float32")
    gan.load_state(state)
    return gan


@pytest.mark.parametrize("real", [0.0, 1.0])
def test_ds_loss_and_statistics_against_numpy(worn, real):
    before, img = worn.state(), pictures()
    probability, statistics = d_forward(before, img)
    assert d_step(worn, img, real) == pytest.approx(cross_entropy(probability, real), abs=2e-6)
    after = worn.state()
    for name, batch in statistics.items():  # momentum 0.9
        np.testing.assert_allclose(after[name], 0.9 * before[name] + 0.1 * batch, atol=2e-5)
        assert np.abs(batch - before[name]).max() > 0.01


def test_gs_pictures_and_loss_against_numpy(worn):
    z = noise()
    expected = gan_forward(worn.state(), z)
    probability, _ = d_forward(worn.state(), expected)
    assert dg_step(worn, z) == pytest.approx(cross_entropy(probability, True), abs=2e-6)
    expected = gan_forward(worn.state(), z)
    [images] = worn.run(worn.g_program, {"noise": z}, [worn.g_img])
    np.testing.assert_allclose(np.array(images).reshape([-1, 28, 28]), expected, atol=1e-5)


@pytest.mark.parametrize("network", ["D", "G"])
def test_adam_has_the_tutorials_numbers(gan, network):
    before = gan.state()
    if network == "D":
        d_step(gan, pictures(), 1.0)
    else:
        dg_step(gan, noise())
    after = gan.state()
    for name in ("fc1w", "conv1w", "fc2w") if network == "D" else ("fc4w", "deconv1w", "deconv2w"):
        part = slice(0, 100_000)
        moment1, moment2 = (after[f"{name}_moment{k}_0"].ravel()[part].astype("float64") for k in (1, 2))
        gradient = moment1 / (1 - 0.9)
        np.testing.assert_allclose(moment2, (1 - 0.999) * gradient ** 2, rtol=1e-4, atol=1e-22)
        # Fluid does not correct epsilon for the bias of the second moment, sqrt(1 - 0.999)
        step = -2e-4 * gradient / (np.abs(gradient) + 1e-8 / 0.001 ** 0.5)
        change = after[name].ravel()[part].astype("float64") - before[name].ravel()[part]
        np.testing.assert_allclose(change, step, atol=6e-8)  # the weights' own rounding
        large = np.abs(gradient) > 2e-5
        assert large.any()
        np.testing.assert_allclose(change[large], -2e-4 * np.sign(gradient[large]), rtol=0.02)
        for k, beta in ((1, 0.9), (2, 0.999)):
            assert after[f"{name}_beta{k}_pow_acc_0"] == pytest.approx(beta ** 2, rel=1e-5)


def test_the_generator_steps_with_one_adam_and_d_with_another(gan):
    for _ in range(2):
        gan.step(pictures(), np.random.RandomState(0))
    state = gan.state()
    for name in ("fc2w", "deconv2w"):  # 2 steps an iteration each, on one set of moments
        assert state[f"{name}_beta1_pow_acc_0"] == pytest.approx(0.9 ** 5, rel=1e-5)


def test_g_program_test_moves_nothing_and_uses_moving_averages(gan):
    outputs = []
    z = noise()
    assert moved(gan, lambda: outputs.append(gan.sample(z))) == set()
    [batch_statistics] = gan.run(gan.g_program, {"noise": z}, [gan.g_img])
    batch_statistics = np.array(batch_statistics).reshape([-1, 28, 28])
    assert outputs[0].shape == (BATCH, 28, 28)
    assert np.abs(outputs[0] - batch_statistics).max() > 0.05
    np.testing.assert_allclose(gan.sample(z[:3]), gan_forward(gan.state(), z[:3], moving=True), atol=1e-5)
    # Each picture depends on its own noise only, as it would not with batch statistics.
    np.testing.assert_allclose(gan.sample(z)[:3], gan.sample(z[:3]), atol=1e-6)


def test_fakes_come_from_batch_statistics(gan):
    start = gan.state()
    _, runs = recorded_step(gan, pictures(), np.random.RandomState(4))
    program, fed, [fakes] = runs[0]
    assert program is gan.g_program
    assert fakes.shape == (BATCH, 784)
    np.testing.assert_allclose(fakes.reshape([-1, 28, 28]), gan_forward(start, fed["noise"]), atol=1e-5)


# -- the same networks in dynamic mode -----------------------------------------------------------------


def parts(layer):
    """Tutorial's name → tensor, of a network in dynamic mode."""
    named = {}
    for name, part in layer.named_children():
        if name.startswith("bn"):
            tensors = (part.weight, part.bias, part._mean, part._variance)
            named.update({f"{name}{i}": tensor for i, tensor in enumerate(tensors, 1)})
        else:
            named.update({f"{name}w": part.weight, f"{name}b": part.bias})
    return named


def dynamic_run(state, batches, random, fix=()):
    """The tutorial's iterations in dynamic mode, from given weights: losses and final weights."""
    paddle.disable_static()
    d, g = book.D(fix), book.G()
    tensors = {**parts(d), **parts(g)}
    for name, tensor in tensors.items():
        tensor.set_value(state[name])
    d_adam, g_adam = (
        Adam(2e-4, beta1=0.9, beta2=0.999, epsilon=1e-8,
             parameters=[p for p in network.parameters() if not p.stop_gradient])
        for network in (d, g))
    def fresh():
        return paddle.to_tensor(random.uniform(-1, 1, [BATCH, 100]).astype("float32"))

    losses = []
    for batch in batches:
        with paddle.no_grad():
            fakes = g(fresh())
        row = []
        for img, real in ((fakes, 0.0), (paddle.to_tensor(batch), 1.0)):
            loss = book.loss(d(img), paddle.full([len(batch), 1], real))
            loss.backward()
            d_adam.step()
            d_adam.clear_grad()
            row.append(float(loss))
        for _ in range(2):
            loss = book.loss(d(g(fresh())), paddle.ones([len(batch), 1]))
            loss.backward()
            g_adam.step()
            g_adam.clear_grad()
            d_adam.clear_grad()
            row.append(float(loss))
        losses.append(row)
    final = {name: tensor.numpy() for name, tensor in tensors.items()}
    paddle.enable_static()
    return losses, final


def test_dynamic_mode_gives_the_same_losses_and_weights(small):
    """And the fix ``adam_epsilon`` is Paddle's own Adam."""
    gan = small(["adam_epsilon"], seed=3)
    batches = [pictures(seed=seed) for seed in range(3)]
    start, random = gan.state(), np.random.RandomState(5)
    static = [gan.step(batch, random) for batch in batches]
    dynamic, final = dynamic_run(start, batches, np.random.RandomState(5))
    names = ("D-Loss fake", "D-Loss real", "DG-Loss first", "DG-Loss")
    assert dynamic == [[float(losses[name]) for name in names] for losses in static]
    state = gan.state()
    assert set(final) == {name for group in (NETWORKS, STATISTICS) for shapes in group.values() for name in shapes}
    for name, array in final.items():
        assert array.tobytes() == state[name].tobytes(), name  # to the bit
