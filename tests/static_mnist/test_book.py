"""The book's DCGAN: every number of the tutorial, and what each of the four programs moves."""

import ctypes
import gc
import math
import statistics
import sys
import time

import numpy as np
import paddle
import pytest
from PIL import Image

from common.backend import compat
from common.errors import UserError
from static_mnist import book
from static_mnist.book import BookGAN, display_image
from tests.static_mnist.book_programs import (
    BATCH,
    NETWORKS,
    STATISTICS,
    d_step,
    dg_step,
    label,
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


@pytest.fixture
def untouched(built):
    """The full networks for tests that train nothing; only their shapes count."""
    paddle.enable_static()
    return built[0]


def adams(network):
    return {f"{name}_{kind}_0" for name in NETWORKS[network]
            for kind in ("moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc")}


# -- four programs, their names, their first values ----------------------------------------------------


def test_four_programs_share_the_tutorials_parameters(untouched):
    names = {network: {*NETWORKS[network], *STATISTICS[network]} for network in "DG"}
    assert set(compat.parameters(untouched.d_program)) == names["D"]
    assert set(compat.parameters(untouched.g_program)) == names["G"]
    assert set(compat.parameters(untouched.g_program_test)) == names["G"]
    assert set(compat.parameters(untouched.dg_program)) == names["D"] | names["G"]
    assert {network: set(found) for network, found in untouched.trained.items()} == \
        {network: set(NETWORKS[network]) for network in "DG"}


def test_shapes(untouched):
    state = untouched.state()
    for group in (NETWORKS, STATISTICS):
        for shapes in group.values():
            assert {name: list(state[name].shape) for name in shapes} == shapes
    assert all(array.dtype == np.float32 for array in state.values())
    assert untouched.sizes() == {"D": 2308097, "G": 13487745}
    assert set(state) == {name for group in (NETWORKS, STATISTICS) for shapes in group.values() for name in shapes} \
        | adams("D") | adams("G")


def test_initial_values_have_fluids_distributions(built):
    _, state = built
    for name, channels in {"conv1w": 1, "conv2w": 64}.items():  # Normal
        values, deviation = state[name].ravel().astype("float64"), math.sqrt(2 / (25 * channels))
        error = 1 / math.sqrt(len(values))
        assert abs(values.mean() / deviation) < 4 * error
        assert values.std() / deviation == pytest.approx(1, abs=4 * error)
        assert np.mean(np.abs(values) > 2 * deviation) == pytest.approx(0.0455, abs=0.012)  # tails: not uniform
    for name, (fan_in, fan_out) in {"fc1w": (2048, 1024), "fc2w": (1024, 1), "fc3w": (100, 2048),
                                    "fc4w": (2048, 6272), "deconv1w": (3200, 3200), "deconv2w": (25, 3200)}.items():
        values, bound = state[name].ravel().astype("float64"), math.sqrt(6 / (fan_in + fan_out))
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        assert np.abs(values).max() > bound * (1 - 10 / len(values))
        quarters = np.histogram(values, bins=4, range=(-bound, bound))[0] / len(values)
        assert np.abs(quarters - 0.25).max() < 4 * math.sqrt(0.1875 / len(values))
    for name, array in state.items():
        if name.endswith("b") or name[:2] == "bn" and name[3:] in ("2", "3"):
            assert not array.any(), name
        elif name[:2] == "bn" and name[3:] in ("1", "4"):
            assert (array == 1).all(), name


def test_without_one_seed_weights_are_independent(built):
    _, state = built
    ratio = state["fc1w"].ravel()[:9] / state["fc3w"].ravel()[:9]
    assert np.ptp(ratio) > 0.1


def test_one_seed_starts_all_weights_from_one_sequence():
    state = BookGAN(paddle.CPUPlace(), seed=90, one_seed=True).state()
    bounds = {"fc1w": math.sqrt(6 / 3072), "fc2w": math.sqrt(6 / 1025), "fc3w": math.sqrt(6 / 2148),
              "fc4w": math.sqrt(6 / 8320), "deconv1w": math.sqrt(6 / 6400), "deconv2w": math.sqrt(6 / 3225)}
    uniform = state["fc1w"].ravel() / bounds["fc1w"]
    for name, bound in bounds.items():
        values = state[name].ravel()[:1000] / bound
        np.testing.assert_allclose(values, uniform[:len(values)], rtol=0, atol=2e-6)
    np.testing.assert_allclose(state["conv1w"].ravel(), 8 * state["conv2w"].ravel()[:1600], rtol=1e-5)
    # fluid's generator on a GPU, minstd_rand, computed once more; both Paddle versions have these
    number, drawn = 90, []
    for _ in range(1000):
        number = number * 48271 % (2 ** 31 - 1)
        drawn.append((number - 1) / (2 ** 31 - 2))
    np.testing.assert_allclose(uniform[:1000], 2 * np.array(drawn) - 1, rtol=0, atol=1e-6)
    normal = [math.sqrt(2 / 25) * statistics.NormalDist().inv_cdf(p) for p in drawn]
    np.testing.assert_allclose(state["conv1w"].ravel()[:1000], normal, atol=1e-5)
    for name, values in {"fc1w": [-0.04401536, 0.01351638, -0.03343426],
                         "conv1w": [-0.81304574, 0.11121859, -0.32989644]}.items():
        np.testing.assert_allclose(state[name].ravel()[:3], values, atol=1e-6)


def test_the_seed_decides_the_initial_values(small):
    first, same, other = (small(seed=seed).state() for seed in (5, 5, 6))
    assert all((first[name] == same[name]).all() for name in first)
    assert (first["fc4w"] != other["fc4w"]).mean() > 0.99
    assert (small(seed=5, one_seed=True).state()["conv1w"] != first["conv1w"]).any()


# -- what each program moves ---------------------------------------------------------------------------


def test_a_dg_step_moves_g_and_ds_statistics(gan):
    names = moved(gan, lambda: dg_step(gan, noise()))
    assert names & {*NETWORKS["D"], *adams("D")} == set()
    assert names >= set(STATISTICS["D"]) | set(STATISTICS["G"])
    assert names >= set(NETWORKS["G"]) - {"fc3b", "fc4b"}


def test_g_program_moves_gs_statistics_alone(gan):
    assert moved(gan, lambda: gan.run(gan.g_program, {"noise": noise()}, [gan.g_img])) == set(STATISTICS["G"])


def test_g_program_test_moves_nothing_and_uses_moving_averages(gan):
    outputs = []
    z = noise()
    assert moved(gan, lambda: outputs.append(gan.sample(z))) == set()
    [batch_statistics] = gan.run(gan.g_program, {"noise": z}, [gan.g_img])
    batch_statistics = np.array(batch_statistics).reshape([-1, 28, 28])
    assert outputs[0].shape == (BATCH, 28, 28)
    assert np.abs(outputs[0] - batch_statistics).max() > 0.05
    # Each picture depends on its own noise only, as it would not with batch statistics.
    np.testing.assert_allclose(gan.sample(z)[:3], gan.sample(z[:3]), atol=1e-6)


def test_one_step_trains_both(gan):
    names = moved(gan, lambda: gan.step(pictures(), np.random.RandomState(0)))
    assert names == set(gan.state())  # by rounding even those without a gradient


# -- an iteration --------------------------------------------------------------------------------------


class Recorder(np.random.RandomState):
    """Remembers what was drawn."""

    def __init__(self, seed):
        super().__init__(seed)
        self.draws = []

    def uniform(self, low=0.0, high=1.0, size=None):
        drawn = super().uniform(low, high, size)
        self.draws.append((low, high, tuple(size), drawn))
        return drawn


def test_an_iteration_has_the_tutorials_order(gan):
    random, batch = Recorder(4), pictures()
    losses, runs = recorded_step(gan, batch, random)
    assert [program for program, _, _ in runs] == \
        [gan.g_program, gan.d_program, gan.d_program, gan.dg_program, gan.dg_program]
    assert [(low, high, size) for low, high, size, _ in random.draws] == [(-1.0, 1.0, (BATCH, 100))] * 3
    for (_, fed, _), (*_, drawn) in zip([runs[0], *runs[3:]], random.draws, strict=True):
        assert fed["noise"].dtype == np.float32
        np.testing.assert_array_equal(fed["noise"], drawn.astype("float32"))
    [(_, _, [fakes]), (_, fake, [d_fake]), (_, real, [d_real]), (_, _, [dg_first]), (_, _, [dg_second])] = runs
    np.testing.assert_array_equal(fake["img"], fakes)
    np.testing.assert_array_equal(fake["label"], label(0.0))
    np.testing.assert_array_equal(real["img"], batch)
    np.testing.assert_array_equal(real["label"], label(1.0))
    # Fetched tensors are live: a loss read too late would be that of the next run.
    assert losses["D-Loss fake"] == d_fake != d_real == losses["D-Loss real"]
    assert losses["D-Loss"] == d_fake + d_real
    assert losses["DG-Loss first"] == dg_first != dg_second == losses["DG-Loss"]


def test_the_losses_are_those_of_the_double_sigmoid(gan):
    low, high = math.log1p(math.exp(-1)), math.log1p(math.exp(1))  # 0.3133, 1.3133
    middle = math.log(2)
    random = np.random.RandomState(0)
    for batch in (pictures(), np.ones([BATCH, 784], "float32"), -np.ones([BATCH, 784], "float32")):
        losses = gan.step(batch, random)
        assert low <= losses["D-Loss real"] <= middle + 1e-6
        assert middle - 1e-6 <= losses["D-Loss fake"] <= high
        for name in ("DG-Loss", "DG-Loss first"):
            assert low <= losses[name] <= middle + 1e-6
    for value, real, fake in [(50.0, low, high), (-50.0, middle, middle)]:  # a D that is sure
        gan.load_state({**gan.state(), "fc2b": np.full([1], value, "float32")})
        assert d_step(gan, pictures(), 1.0) == pytest.approx(real, abs=1e-5)
        gan.load_state({**gan.state(), "fc2b": np.full([1], value, "float32")})
        assert d_step(gan, pictures(), 0.0) == pytest.approx(fake, abs=1e-5)


def test_message_is_the_tutorials(untouched):
    losses = {"D-Loss": np.float32(1.25), "DG-Loss": np.float32(0.5)}
    assert untouched.message(3, 460, losses) == "Epoch ID=3 Batch ID=460 D-Loss=1.25 DG-Loss=0.5\n "


def test_kpis_are_means_over_all_d_and_all_g_steps(capsys):
    metrics = [{"D-Loss": 1.0, "DG-Loss first": 0.25, "DG-Loss": 0.5},
               {"D-Loss": 2.0, "DG-Loss first": 0.75, "DG-Loss": 1.0}]
    book.RECIPE.end({"enable_ce": False}, metrics)
    assert capsys.readouterr().out == ""
    book.RECIPE.end({"enable_ce": True}, metrics)
    assert capsys.readouterr().out == "kpis\tdcgan_d_train_cost\t1.500000\nkpis\tdcgan_g_train_cost\t0.625000\n"


# -- mended oddities -----------------------------------------------------------------------------------


def test_fix_double_sigmoid_leaves_logits(small):
    gan = small(fix=["double_sigmoid"])
    state = gan.state()
    for value in (-6.0, 6.0):
        gan.load_state({**state, "fc2w": np.zeros([16, 1], "float32"), "fc2b": np.full([1], value, "float32")})
        assert d_step(gan, pictures(), 1.0) == pytest.approx(math.log1p(math.exp(-value)), rel=1e-4)
        gan.load_state({**state, "fc2w": np.zeros([16, 1], "float32"), "fc2b": np.full([1], value, "float32")})
        assert dg_step(gan, noise()) == pytest.approx(math.log1p(math.exp(-value)), rel=1e-4)


def test_fix_max_pool_has_strided_convolutions():
    gan = BookGAN(paddle.CPUPlace(), fix=["max_pool"])
    changed = {name: shape for name, shape in NETWORKS["D"].items() if list(gan.state()[name].shape) != shape}
    assert set(changed) == {"fc1w"}
    assert gan.state()["fc1w"].shape == (6272, 1024)
    losses = gan.step(pictures(2), np.random.RandomState(0))
    assert all(math.isfinite(value) for value in losses.values())
    # conv1 28→14, conv2 14→7 and fc1 make other costs: 313600 + 10035200 + 6422528 + 1024 multiplications
    d = 14 * 14 * 64 * 25 + 7 * 7 * 128 * 64 * 25 + 6272 * 1024 + 1024
    g = 33747456
    assert gan.flop(1) == 2 * (g + 2 * (3 * d - 14 * 14 * 64 * 25) + 2 * (3 * g - 204800 + 2 * d))


# -- cost, state, compat -------------------------------------------------------------------------------


def test_flop_against_a_count_by_hand(untouched):
    # Multiplications a picture
    conv1, conv2, fc1, fc2 = 24 * 24 * 64 * 25, 8 * 8 * 128 * 64 * 25, 2048 * 1024, 1024
    fc3, fc4, deconv1, deconv2 = 100 * 2048, 2048 * 6272, 7 * 7 * 128 * 128 * 25, 14 * 14 * 128 * 25
    forward_d, forward_g = conv1 + conv2 + fc1 + fc2, fc3 + fc4 + deconv1 + deconv2
    d_step = forward_d + (conv2 + fc1 + fc2) + forward_d  # forward, gradient of inputs, gradient of weights
    dg_step = forward_g + forward_d + forward_d + (fc4 + deconv1 + deconv2) + forward_g
    assert untouched.flop(128) == 2 * 128 * (forward_g + 2 * d_step + 2 * dg_step)
    assert untouched.flop(128) == pytest.approx(101.2e9, rel=0.001)
    assert untouched.flop(1) * 128 == untouched.flop(128)


def test_state_and_load_state_repeat_a_step_bit_for_bit(gan):
    gan.step(pictures(), np.random.RandomState(1))
    state = gan.state()
    copies = {name: array.copy() for name, array in state.items()}
    first = gan.step(pictures(), np.random.RandomState(2))
    expected = gan.state()
    assert all((state[name] == copies[name]).all() for name in state)  # a copy, not a view
    gan.load_state({**state, "random": np.zeros(3), "constant_noise": np.zeros(3)})
    assert gan.step(pictures(), np.random.RandomState(2)) == first
    again = gan.state()
    assert all(again[name].tobytes() == expected[name].tobytes() for name in expected)


def test_another_instance_takes_the_state_over(small):
    one, two = small(seed=1), small(seed=2)
    before = two.state()
    one.step(pictures(), np.random.RandomState(0))
    assert all(two.state()[name].tobytes() == before[name].tobytes() for name in before)
    two.load_state(one.state())
    assert two.step(pictures(), np.random.RandomState(1)) == one.step(pictures(), np.random.RandomState(1))
    first, second = one.state(), two.state()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


@pytest.mark.parametrize(("name", "words"), [
    ("fc1w_moment2_0", "has no 'fc1w_moment2_0'"),
    ("fc1w", r"'fc1w' has shape \[256, 16\], this network's has \[128, 16\]"),
])
def test_a_state_that_does_not_fit_changes_nothing(small, name, words):
    gan = small()
    before = gan.state()
    wrong = {key: value + 1 for key, value in before.items()}
    wrong[name] = np.concatenate([wrong.pop(name)] * 2)
    if "moment" in name:
        del wrong[name]
    with pytest.raises(UserError, match=words):
        gan.load_state(wrong)
    after = gan.state()
    assert all(after[key].tobytes() == before[key].tobytes() for key in before)


@pytest.mark.parametrize("names", [[], ["conv9w"], ["w", "conv9w"], iter([])])
def test_an_empty_or_unknown_parameter_list_never_means_everything(names):
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        x = paddle.static.data("x", [None, 2], "float32")
        layer = paddle.nn.Linear(2, 1, weight_attr=paddle.ParamAttr(name="w"))
        with pytest.raises(ValueError, match="empty parameter list|no such parameters"):
            compat.minimize(paddle.optimizer.Adam(1e-3), paddle.mean(layer(x)), program, names)


class Mallinfo(ctypes.Structure):
    """What glibc's `mallinfo2` returns; hblkhd and uordblks are bytes in use."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def in_use():
    """Bytes of memory in use, not what the process holds: it keeps freed memory, in which a leak would hide."""
    measure = ctypes.CDLL(None).mallinfo2
    measure.restype = Mallinfo
    now = measure()
    return now.uordblks + now.hblkhd


def growth(before, bound):
    """How far the memory in use is above `before`, in bytes, as soon as that is below `bound`, or after five seconds.

    Paddle frees in a thread of its own, on a loaded machine some milliseconds after the step.
    """
    for _ in range(100):
        if (grown := in_use() - before) < bound:
            break
        time.sleep(0.05)
    return grown


needs_mallinfo = pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
                                    reason="needs glibc 2.33")


@needs_mallinfo
def test_memory_is_flat(small):
    gan, batch, random = small(), pictures(128), np.random.RandomState(0)
    for _ in range(3):
        gan.step(batch, random)
    time.sleep(0.2)
    before = in_use()
    for _ in range(6):
        gan.step(batch, random)
    assert growth(before, 1e6) < 1e6  # one batch of pictures left behind each time would be 2.4 MB


@needs_mallinfo
def test_a_gan_that_is_gone_gives_its_memory_back(monkeypatch):
    monkeypatch.setattr(book, "gfc_dim", 1024)

    def step_of_a_new_gan():
        gan = BookGAN(paddle.CPUPlace())
        gan.step(np.zeros([2, 784], "float32"), np.random.RandomState(0))
        return sum(array.nbytes for array in gan.state().values())

    size = step_of_a_new_gan()
    gc.collect()
    time.sleep(0.2)
    before = in_use()
    for _ in range(2):
        step_of_a_new_gan()
        gc.collect()
    assert growth(before, size / 2) < size / 2 > 40e6


# -- what is left of it --------------------------------------------------------------------------------


def test_display_image_opens_the_picture_of_a_batch(tmp_path):
    Image.new("L", (5, 4)).save(tmp_path / "0010_0460.png")
    assert display_image(10, 460, tmp_path).size == (5, 4)
    with pytest.raises(UserError, match="0010_0461.png.*every 10 batches"):
        display_image(10, 461, tmp_path)
