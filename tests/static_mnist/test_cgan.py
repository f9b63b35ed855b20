"""The conditional GAN: 'same' padding, networks, losses and dropout against NumPy; its programs, order and oddities."""

import itertools

import numpy as np
import paddle
import pytest
from PIL import Image

from common.backend.compat import ADAM
from common.errors import UserError
from static_mnist import cgan, conditional
from static_mnist.cgan import CGAN
from static_mnist.classes import above
from tests.helpers import moved

SHAPE = (8, 12, 1)  # of a picture
CLASSES = ("ant", "Bee", "7")
BATCH = 4


@pytest.fixture(scope="module")
def built():
    gan = CGAN(paddle.CPUPlace(), SHAPE, CLASSES, seed=3, epochs=16, batches=10)
    return gan, gan.state()


@pytest.fixture
def gan(built):
    """The networks as they were at the start."""
    gan, start = built
    paddle.enable_static()
    gan.load_state(start)
    return gan


@pytest.fixture(scope="module")
def repaired():
    return CGAN(paddle.CPUPlace(), SHAPE, CLASSES, tuple(cgan.RECIPE.fixes))


@pytest.fixture
def mended(gan, repaired):
    """The same networks with all oddities mended."""
    repaired.load_state(gan.state())
    return repaired


def batch(count=BATCH):
    random = np.random.RandomState(0)
    return (random.uniform(-1, 1, [count, int(np.prod(SHAPE))]).astype("float32"),
            np.arange(count) % len(CLASSES))


# -- TensorFlow's arithmetic, in NumPy -----------------------------------------------------------------


def conv_same(x, weight, bias, stride):
    """tf.layers.conv2d(padding='same') of x [B, C, H, W] with weight [O, C, k, k], from TensorFlow's definition."""
    count, _, height, width = x.shape
    filters, _, k, _ = weight.shape
    out_h, out_w = -(-height // stride), -(-width // stride)
    pad_h, pad_w = max((out_h - 1) * stride + k - height, 0), max((out_w - 1) * stride + k - width, 0)
    padded = np.zeros([count, x.shape[1], height + pad_h, width + pad_w])
    padded[:, :, pad_h // 2:pad_h // 2 + height, pad_w // 2:pad_w // 2 + width] = x  # the odd pixel comes after
    y = np.zeros([count, filters, out_h, out_w])
    for i, j in itertools.product(range(out_h), range(out_w)):
        window = padded[:, :, i * stride:i * stride + k, j * stride:j * stride + k]
        y[:, :, i, j] = np.einsum("bckl,ockl->bo", window, weight)
    return y + bias[:, None, None]


def conv_transpose_same(x, weight, bias, stride):
    """tf.layers.conv2d_transpose(padding='same'): the gradient of the convolution; weight [C, O, k, k]."""
    count, _, height, width = x.shape
    filters, k = weight.shape[1], weight.shape[2]
    out_h, out_w = height * stride, width * stride
    before = max((height - 1) * stride + k - out_h, 0) // 2
    full = np.zeros([count, filters, (height - 1) * stride + k + stride, (width - 1) * stride + k + stride])
    for i, j in itertools.product(range(height), range(width)):
        window = full[:, :, i * stride:i * stride + k, j * stride:j * stride + k]
        window += np.einsum("bc,cokl->bokl", x[:, :, i, j], weight)
    return full[:, :, before:before + out_h, before:before + out_w] + bias[:, None, None]


def norm(x, state, name, moving=False):
    axes = (0, 2, 3)
    mean, variance = x.mean(axes), x.var(axes)
    if moving:
        mean, variance = state[f"{name}/moving_mean"], state[f"{name}/moving_variance"]
    x = (x - mean[:, None, None]) / np.sqrt(variance + 1e-3)[:, None, None]
    return x * state[f"{name}/gamma"][:, None, None] + state[f"{name}/beta"][:, None, None]


def leaky(x):
    return np.maximum(0.2 * x, x)


def generator(state, z, masks, moving=False):
    masks = iter(masks)
    x = (z @ state["generator/dense/kernel"] + state["generator/dense/bias"]).reshape(-1, 512, 2, 3)
    x = leaky(norm(x, state, "generator/batch_normalization_0", moving)) * next(masks)
    for i, stride in enumerate([2, 2, 1]):
        name = f"generator/conv2d_transpose_{i}"
        x = conv_transpose_same(x, state[f"{name}/kernel"], state[f"{name}/bias"], stride)
        if i < 2:
            x = leaky(norm(x, state, f"generator/batch_normalization_{i + 1}", moving)) * next(masks)
    return np.tanh(x)


# -- networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride"), [((28, 28), 2), ((14, 14), 2), ((8, 12), 2), ((7, 7), 1), ((28, 28), 1)])
def test_same_padding_is_tensorflows(size, stride):
    random = np.random.RandomState(0)
    paddle.disable_static()
    x = random.normal(size=[2, 3, *size]).astype("float32")
    layer = paddle.nn.Conv2D(3, 4, 5, stride, cgan.SAME[stride])
    expected = conv_same(x, layer.weight.numpy(), layer.bias.numpy(), stride)
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, atol=1e-4)

    layer = cgan.conv2d_transpose(3, 4, stride, f"t{size}{stride}")
    larger = [size[0] * stride, size[1] * stride]
    found = layer(paddle.to_tensor(x), output_size=larger).numpy()
    assert found.shape == (2, 4, *larger)
    expected = conv_transpose_same(x, layer.weight.numpy(), layer.bias.numpy(), stride)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_shapes_for_the_chapters_pictures():
    gan = CGAN(paddle.CPUPlace(), (28, 28, 1), "0123456789")
    state = gan.state()
    shapes = {name: list(state[name].shape) for name in [*gan.trained["G"], *gan.trained["D"]] if "kernel" in name}
    assert shapes == {
        "generator/dense/kernel": [106, 7 * 7 * 512], "generator/conv2d_transpose_0/kernel": [512, 256, 5, 5],
        "generator/conv2d_transpose_1/kernel": [256, 128, 5, 5], "generator/conv2d_transpose_2/kernel": [128, 1, 5, 5],
        "discriminator/conv2d_0/kernel": [32, 11, 5, 5], "discriminator/conv2d_1/kernel": [64, 32, 5, 5],
        "discriminator/conv2d_2/kernel": [128, 64, 5, 5], "discriminator/dense/kernel": [6272, 1]}
    assert gan.sizes() == {"D": 271745, "G": 6785793}
    macs_g = 106 * 25088 + 25 * (512 * 256 * 49 + 256 * 128 * 196 + 128 * 784)
    macs_d = 25 * (11 * 32 * 196 + 32 * 64 * 49 + 64 * 128 * 49) + 6272
    first = 25 * 11 * 32 * 196
    assert gan.flop(1) == 2 * (macs_g + 6 * macs_d - 2 * first + 3 * macs_g - 106 * 25088 + 3 * macs_d)
    for name, size in shapes.items():  # Xavier, uniform
        fans = (size[0] + size[1]) * np.prod(size[2:])
        values = state[name]
        assert np.abs(values).max() <= np.sqrt(6 / fans) * 1.0001
        assert values.std() == pytest.approx(np.sqrt(2 / fans), rel=0.05)
    assert not any(state[name].any() for name in state if name.endswith(("/bias", "/beta")))


# -- programs ------------------------------------------------------------------------------------------


def trained(gan, network):
    return {name for weight in gan.trained[network] for name in (weight, *(f"{weight}_{kind}_0" for kind in ADAM))}


def statistics(gan, network):
    return {name for name in gan.names if name.startswith(network) and "/moving_" in name}


def run(gan, network):
    """The names of all that one program moves."""
    before = gan.state()
    images, labels = batch()
    one_hot = np.eye(len(CLASSES), dtype="float32")[labels]
    random = np.random.RandomState(1)
    feed = {"input_real": images.reshape(BATCH, 1, 8, 12), "input_z": gan.joined(one_hot, random), "labels": one_hot}
    program, dropout, loss = {"D": (gan.train_d, gan.d_dropout, gan.d_loss),
                              "G": (gan.train_g, gan.g_dropout, gan.g_loss)}[network]
    gan.run(program, {**feed, **dropout.masks(BATCH, random)}, [loss])
    return moved(before, gan.state())


@pytest.mark.parametrize(("network", "scope"), [("D", "discriminator"), ("G", "generator")])
def test_mended_each_optimiser_moves_its_own_statistics_only(mended, network, scope):
    changed = run(mended, network)
    assert changed <= trained(mended, network) | statistics(mended, scope)
    assert statistics(mended, scope) <= changed


def test_adams_constants(gan):
    before = gan.state()
    run(gan, "G")
    after = gan.state()
    name = "generator/conv2d_transpose_2/kernel"
    assert after[f"{name}_beta1_pow_acc_0"].item() == pytest.approx(0.35 ** 2)
    assert after[f"{name}_beta2_pow_acc_0"].item() == pytest.approx(0.999 ** 2)
    gradient = after[f"{name}_moment1_0"] / 0.65
    large = np.abs(gradient) > 1e-4  # the first step of Adam is the learning rate in the gradient's direction
    assert large.any()
    np.testing.assert_allclose((after[name] - before[name])[large], -2e-4 * np.sign(gradient[large]), rtol=1e-2)


# -- dropout -------------------------------------------------------------------------------------------


def test_masks(gan):
    masks = gan.g_dropout.masks(BATCH, np.random.RandomState(0))
    real = fake = [(32, 4, 6), (64, 2, 3), (128, 2, 3)]
    assert [mask.shape[1:] for mask in masks.values()] == [(512, 2, 3), (256, 4, 6), (128, 8, 12), *real, *fake]
    for mask in masks.values():
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 2}
        assert mask.mean() == pytest.approx(1, abs=5 / np.sqrt(mask.size))
    a, b = masks["mask_4"], masks["mask_7"]
    assert 0.4 < (a == b).mean() < 0.6
    again = gan.g_dropout.masks(BATCH, np.random.RandomState(0))
    assert all(np.array_equal(masks[name], again[name]) for name in masks)


# -- pictures ------------------------------------------------------------------------------------------


def test_previews_show_five_rows_and_a_class_a_column(gan):
    assert gan.preview == (5, 3)  # five classes at the most
    noise = gan.noise(15, np.random.RandomState(0))
    assert noise.shape == (15, 96 + 3)
    assert noise.dtype == np.float32
    np.testing.assert_array_equal(noise[:, 96:].argmax(1).reshape(5, 3), [[0, 1, 2]] * 5)
    np.testing.assert_array_equal(noise[:, 96:].sum(1), 1)
    assert -1 <= noise[:, :96].min() < -0.9 < 0.9 < noise[:, :96].max() < 1


def test_frames_show_up_to_ten_classes_from_the_previews_noise(tmp_path, monkeypatch):
    gan = CGAN(paddle.CPUPlace(), SHAPE, tuple("abcdefghijkl"))
    noise, seen = gan.noise(25, np.random.RandomState(0)), []
    monkeypatch.setattr(gan, "sample", lambda z: (seen.append(z), np.zeros([len(z), 8, 12]))[1])
    gan.save_frame(tmp_path / "frame.png", noise, np.zeros([25, 8, 12]))
    z = seen[0].reshape(5, 10, 96 + 12)
    np.testing.assert_array_equal(z[..., 96:].argmax(2), [range(10)] * 5)
    np.testing.assert_array_equal(z[:, 5:, :96], z[:, :5, :96])
    np.testing.assert_array_equal(z[:, :5], noise.reshape(5, 5, -1))
    assert Image.open(tmp_path / "frame.png").width == 5 * 10 * 13


def test_previews_use_moving_averages_and_dropout(gan):
    for _ in range(3):
        gan.step(batch(), np.random.RandomState(2))
    state, z = gan.state(), gan.noise(5, np.random.RandomState(0))
    random = np.random.RandomState(0)
    shapes = ([5, 512, 2, 3], [5, 256, 4, 6], [5, 128, 8, 12])
    expected = generator(state, z, [cgan.Dropout.mask(shape, random) for shape in shapes], moving=True)
    np.testing.assert_allclose(gan.sample(z), expected[:, 0], atol=1e-4)
    np.testing.assert_array_equal(gan.sample(z), gan.sample(z))
    assert moved(state, gan.state()) == set()


def test_generation_uses_the_batchs_statistics_and_dropout(gan):
    state = gan.state()
    images = gan.generate_new("ant", rows=2, cols=3, seed=4)
    assert images.shape == (6, 8, 12, 1)
    assert images.dtype == np.float32
    random = np.random.RandomState(4)
    z = np.concatenate([random.uniform(-1, 1, [6, 96]), np.eye(3)[[0] * 6]], axis=1).astype("float32")
    shapes = ([6, 512, 2, 3], [6, 256, 4, 6], [6, 128, 8, 12])
    expected = generator(state, z, [cgan.Dropout.mask(shape, random) for shape in shapes])
    np.testing.assert_allclose(images, expected.transpose(0, 2, 3, 1), atol=1e-4)
    assert moved(state, gan.state()) == set()


def test_mended_generation_depends_on_its_own_noise_only(gan, mended):
    z = gan.noise(6, np.random.RandomState(0))
    one, other = (np.random.RandomState(seed) for seed in (1, 2))
    np.testing.assert_allclose(mended.new_images(z, one)[:2], mended.new_images(z[:2], other), atol=1e-6)
    assert np.abs(gan.new_images(z, one)[:2] - gan.new_images(z[:2], other)).max() > 0.01


def test_seeds(gan):
    first = gan.generate_new("all", 2, 3, seed=1)
    np.testing.assert_array_equal(first, gan.generate_new("all", 2, 3))
    assert not np.array_equal(first, gan.generate_new("all", 2, 3, seed=2))


@pytest.mark.parametrize(("target", "rows", "cols", "expected"), [
    ("all", 2, 3, [[0, 1, 2]] * 2), ("all", 3, 2, [[0, 1]] * 3), ("all", 2, 5, [[0, 1, 2, 0, 1]] * 2),
    (["all"], 1, 1, [[0]]), (1, 2, 2, [[1, 1]] * 2), ("Bee", 1, 2, [[1, 1]]), ("bee", 1, 1, [[1]]),
    ("7", 1, 1, [[2]]), (7, 1, 1, [[2]]), ("0", 1, 1, [[0]]), (["7", "ant"], 2, 3, [[2, 0, 2]] * 2),
    (-1, 3, 3, [[0] * 3, [1] * 3, [2] * 3]),  # the chapter's own: a class a row
])
def test_layouts(gan, target, rows, cols, expected):
    labels = gan.labels(target, rows, cols)
    np.testing.assert_array_equal(labels.sum(1), 1)
    np.testing.assert_array_equal(labels.argmax(1).reshape(rows, cols), expected)


def test_the_chapters_layout_is_right_for_squares_only(gan, mended):
    labels = gan.labels(-1, 3, 2)  # more rows than columns: pictures of two classes, and of none
    assert set(labels.sum(1)) == {0, 1, 2}
    for rows, cols in ((1, 3), (4, 4)):
        with pytest.raises(UserError, match="ask for the class all"):
            gan.labels(-1, rows, cols)
    np.testing.assert_array_equal(mended.labels(-1, 2, 3), gan.labels("all", 2, 3))


@pytest.mark.parametrize("name", ["3", "wasp", "", "-2", ["ant", "wasp"]])
def test_a_class_that_does_not_exist(gan, name):
    with pytest.raises(UserError, match="0 ant, 1 Bee, 2 7"):
        gan.generate_new(name)


def test_a_grids_rows_and_columns(gan):
    assert len(gan.generate_new(1, 0, -3)) == 1  # in the chapter less than 1 counts as 1
    with pytest.raises(UserError, match="rows '5' is not a whole number$"):
        gan.generate_new(1, "5")


@pytest.mark.parametrize(("plot", "message"), [("grid", "has no suffix of a picture"), (".", "is a folder")])
def test_a_plot_that_is_no_picture_is_refused_before_the_drawing(gan, monkeypatch, plot, message):
    monkeypatch.setattr(gan, "new_images", None)
    with pytest.raises(UserError, match=message):
        gan.generate_new(1, plot=plot)


def test_a_plot_in_the_home_folder(gan, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    gan.generate_new(1, 1, 1, plot="~/x.png")
    assert (tmp_path / "x.png").is_file()


def test_the_chapters_plot_true_says_what_shows_the_grid(gan):
    with pytest.raises(UserError, match=r"plot is the name of a PNG here, not True; common.show\(images, columns=4\)"):
        gan.generate_new(1, rows=3, cols=4, plot=True)
    np.testing.assert_array_equal(gan.generate_new(1, 2, 3, False), gan.generate_new(1, 2, 3))  # in the chapter's order


def test_earlier_versions_had_the_seed_before_the_plot(gan, tmp_path):
    drawn = [gan.generate_new(1, 2, 3, 0), gan.generate_new(1, 2, 3, np.int64(5), tmp_path / "grid.png")]
    np.testing.assert_array_equal(drawn, [gan.generate_new(1, 2, 3, seed=seed) for seed in (0, 5)])
    assert not np.array_equal(*drawn) and (tmp_path / "grid.png").is_file()
    with pytest.raises(UserError, match="not 4;"):
        gan.generate_new(1, 2, 3, 0, seed=4)
    with pytest.raises(UserError, match="seed"):
        gan.generate_new(1, 2, 3, -1)


def test_a_plot_and_many_pictures(gan, tmp_path, monkeypatch):
    monkeypatch.setattr(conditional, "MOST", 4)
    images = gan.generate_new("all", 2, 3, plot=tmp_path / "grid.png")
    assert images.shape == (6, 8, 12, 1)
    width, height = Image.open(tmp_path / "grid.png").size
    assert width == 15 * 3 * 13 and height > 15 * 2 * 9  # enlarged, under the classes' names
    assert above(CLASSES, gan.labels("all", 2, 3), 3) == list(CLASSES)
    assert above(CLASSES, gan.labels("Bee", 2, 3), 3) == above(CLASSES, gan.labels(-1, 3, 3), 3) == []  # a class a row


def test_all_runs_of_the_generator_have_about_as_many_pictures(gan, monkeypatch):
    """A few left over would be normalised by statistics of their own."""
    seen, run = [], gan.run
    monkeypatch.setattr(conditional, "MOST", 4)
    monkeypatch.setattr(gan, "run", lambda program, feed, fetch: seen.append(len(feed["input_z"]))
                        or run(program, feed, fetch))
    gan.generate_new("all", 3, 3)
    assert seen == [3, 3, 3]


def test_the_chapters_line(gan):
    losses = {"Discriminator Loss": 1.23456, "Generator Loss": 0.7}
    assert gan.message(1, 4, losses) == \
        "Epoch 2/16 step 15... Discriminator Loss: 1.235... Generator Loss: 0.700"
    assert [step for step in range(1, 1875) if gan.due(0, step, False)] == list(range(100, 1875, 100))
    assert gan.due(1874, 1875, last=True)
