"""The training step, pictures and state of dcgan_face."""

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

from common import plotting
from common.errors import UserError
from dygraph_celeba.data import network_input
from dygraph_celeba.gan import RECIPE, FaceGAN

BATCH = 2
pytestmark = pytest.mark.usefixtures("narrow_faces")


def make(*fix, seed=0):
    return FaceGAN(paddle.CPUPlace(), fix, seed)


def real():
    return np.random.RandomState(1).uniform(0, 1, [BATCH, 3, 64, 64]).astype("float32")


def changed(before, after):
    return {name for name in after if name not in before or not np.array_equal(before[name], after[name])}


def weights(arrays, network):
    """The names of a network's trained weights."""
    return {name for name in arrays if name.startswith(network + ".") and name.endswith((".weight", ".bias"))}


def statistics(arrays, network):
    return {name for name in arrays if name.startswith(network + ".") and name.endswith(("._mean", "._variance"))}


def draws(gan):
    """The noise that one step draws, in order."""
    drawn = []
    original = gan.noise
    gan.noise = lambda count, random: drawn.append(original(count, random)) or drawn[-1]
    gan.step(real(), np.random.RandomState(3))
    return drawn


def test_noise_is_drawn_twice_and_the_second_is_kept_for_the_picture():
    gan = make()
    first, second = draws(gan)
    assert first.shape == (BATCH, 100, 1, 1) and first.dtype == np.float32
    expected = np.random.RandomState(3).standard_normal([2, BATCH, 100, 1, 1]).astype("float32")
    np.testing.assert_array_equal([first, second], expected)
    assert gan.last_noise is second


def test_noise_distribution():
    random = np.random.RandomState(0)
    normal, uniform = make().noise(500, random), make("noise").noise(500, random)
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    assert 0 <= uniform.min() < 0.01 and 0.99 < uniform.max() <= 1 and abs(uniform.mean() - 0.5) < 0.01


def test_g_steps_draws_fresh_noise_for_each_and_reports_the_last():
    gan = make("g_steps")
    drawn = draws(gan)
    assert len(drawn) == 3 and not np.array_equal(drawn[1], drawn[2]) and gan.last_noise is drawn[2]
    losses = gan.step(real(), np.random.RandomState(0))
    assert losses["G-Loss"] != losses["G-Loss first"]


def test_d_step_is_on_the_sum_of_both_losses():
    gan, other = make("d_step"), make("d_step")
    noise = gan.noise(BATCH, np.random.RandomState(0))
    gan.train_discriminator(gan.as_input(real()), noise)
    one = other.loss(other.netD(other.as_input(real())), paddle.ones([BATCH, 1, 1, 1]))
    two = other.loss(other.netD(other.netG(paddle.to_tensor(noise)).detach()), paddle.zeros([BATCH, 1, 1, 1]))
    (one + two).backward()
    other.optimizerD.step()
    assert not changed(gan.state(), other.state())


@pytest.mark.parametrize("fix", [(), ("data_range",), ("orientation",), ("data_range", "orientation")])
def test_pictures_come_out_upright_as_they_went_in(fix):
    gan = make(*fix)
    pictures = np.random.RandomState(0).randint(0, 256, [2, 64, 64, 3]).astype("uint8")
    fed = gan.as_input(network_input(pictures))
    low, high = (-1, 1) if "data_range" in fix else (0, 1)
    assert abs(float(fed.min()) - low) < 1e-6 and abs(float(fed.max()) - high) < 1e-6
    red = fed.numpy()[0, 0]
    assert np.array_equal(red.argmax(1), (pictures[0, :, :, 0].argmax(1) if "orientation" in fix
                                          else pictures[0, :, :, 0].argmax(0)))
    np.testing.assert_array_equal(plotting.to_uint8(gan.as_pictures(fed)), pictures)


def test_negative_colours_become_black():
    generated = paddle.full([1, 3, 64, 64], -0.5)
    assert (make().as_pictures(generated) == -1).all()
    assert (make("data_range").as_pictures(generated) == -0.5).all()


def test_sample_moves_nothing_and_goes_by_moving_averages():
    gan = make()
    gan.step(real(), np.random.RandomState(0))
    noise = gan.noise(3, np.random.RandomState(1))
    before = gan.state()
    pictures = gan.sample(noise)
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == np.float32
    np.testing.assert_allclose(gan.sample(noise[:1]), pictures[:1], atol=1e-4)
    assert not changed(before, gan.state())
    assert gan.netG.training


def drawing(gan, monkeypatch):
    """What `draw` hands to the figure, and whether it moved G's moving averages."""
    monkeypatch.setattr(plotting, "save_figure", lambda path, picture, title, **more: drawn.append((picture, more)))
    drawn = []
    gan.step(real(), np.random.RandomState(0))
    before = gan.state()
    constant = np.random.RandomState(0).uniform(-1, 1, [BATCH, 64, 64, 3]).astype("float32")
    gan.draw("a.png", "title", None, constant)
    [(picture, more)] = drawn
    return picture, more, constant, changed(before, gan.state())


def test_the_picture_is_of_the_last_noise_with_its_own_statistics_which_moves_the_averages(monkeypatch):
    gan, other = make(), make()
    picture, more, _, moved = drawing(gan, monkeypatch)
    assert moved == statistics(gan.state(), "G")
    other.step(real(), np.random.RandomState(0))
    shown = other.as_pictures(other.netG(paddle.to_tensor(other.last_noise)))
    np.testing.assert_array_equal(picture[6:70, 6:70], shown[0])
    np.testing.assert_array_equal(picture[6:70, 76:140], shown[1])
    assert picture.shape == (700, 700, 3) and (picture[:6] == 1).all()
    assert more == {"inches": 15, "fontsize": 20}


def test_fixed_noise_draws_the_constant_noise_and_moves_nothing(monkeypatch):
    picture, _, constant, moved = drawing(make("fixed_noise"), monkeypatch)
    assert not moved
    np.testing.assert_array_equal(picture[6:70, 6:70], constant[0])


def test_new_pictures_of_fixed_noise_go_by_moving_averages(monkeypatch):
    monkeypatch.setattr(FaceGAN, "sample_in_training", None)
    gan = make("fixed_noise")
    found, _ = gan.new_pictures(2, np.random.RandomState(0))
    np.testing.assert_array_equal(found, gan.sample(gan.noise(2, np.random.RandomState(0))))


def test_a_state_goes_on_to_the_bit_under_other_names():
    first, second = make(seed=1), make(seed=2)
    random = np.random.RandomState(0)
    for _ in range(2):
        first.step(real(), random)
    second.load_state(first.state())
    again = np.random.RandomState(9)
    losses = first.step(real(), np.random.RandomState(9))
    assert second.step(real(), again) == losses
    assert not changed(first.state(), second.state())


def test_before_the_first_step_there_are_no_moments_to_load():
    untrained, gan = make(), make()
    gan.step(real(), np.random.RandomState(0))
    gan.load_state(untrained.state())
    losses = untrained.step(real(), np.random.RandomState(1))
    assert gan.step(real(), np.random.RandomState(1)) == losses  # the moments of the step before are gone
    assert not changed(untrained.state(), gan.state())


def test_a_state_is_a_copy_with_structured_names():
    gan = make()
    gan.step(real(), np.random.RandomState(0))
    kept = gan.state()
    copies = {name: array.copy() for name, array in kept.items()}
    gan.step(real(), np.random.RandomState(1))
    assert not changed(copies, kept)
    assert {"D.conv_1.weight", "G.bn_1._mean", "G.bn_4.bias.moment2", "D.conv_5.weight.beta2_pow_acc"} <= set(kept)


def test_a_wrong_state_is_refused():
    gan = make()
    gan.step(real(), np.random.RandomState(0))
    arrays = gan.state()
    with pytest.raises(UserError, match=r"no 'G\.bn_1\.weight\.moment1'"):
        make().load_state({name: array for name, array in arrays.items() if name != "G.bn_1.weight.moment1"})
    with pytest.raises(UserError, match=r"'D\.conv_5\.weight' has shape"):
        make("two_outputs").load_state(arrays)


def test_the_generators_weights_are_written_under_its_own_names(tmp_path):
    gan = make()
    gan.end_epoch(tmp_path)
    written = load_file(tmp_path / "generator.safetensors")
    own = gan.netG.state_dict()
    assert set(written) == set(own)
    assert all(np.array_equal(written[name], own[name].numpy()) for name in own)


def test_title_of_the_picture():
    losses = {"D-Loss": np.float32(0.5), "G-Loss": np.float32(1.25)}
    assert make().message(2, 300, losses) == "Epoch ID=2 Batch ID=300 \n\n D-Loss=0.5 G-Loss=1.25"


def test_initial_values_come_from_the_seed():
    assert not changed(make(seed=4).state(), make(seed=4).state())
    assert changed(make(seed=4).state(), make(seed=5).state())


def test_all_fixes_together_train():
    losses = make(*RECIPE.fixes).step(real(), np.random.RandomState(0))
    assert all(np.isfinite(value) for value in losses.values())
