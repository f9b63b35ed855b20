"""LearnPaddle2's note 6: what its programs compute and move, its order, its files; the command around it."""

import json
import shutil

import numpy as np
import paddle
import pytest
from matplotlib import cm
from PIL import Image

from common.training import options
from common.training.run_folder import RunFolder
from static_mnist import note6, train
from static_mnist.book import BookGAN
from static_mnist.note6 import Note6GAN
from tests.helpers import idx, moved

BATCH = 4
NETWORKS = {
    "D": {"conv2d_0.w_0": [64, 1, 5, 5], "conv2d_0.b_0": [64], "conv2d_1.w_0": [128, 64, 5, 5], "conv2d_1.b_0": [128],
          "batch_norm_0.w_0": [128], "batch_norm_0.b_0": [128], "fc_0.w_0": [2048, 1024], "fc_0.b_0": [1024],
          "batch_norm_1.w_0": [1024], "batch_norm_1.b_0": [1024], "fc_1.w_0": [1024, 1], "fc_1.b_0": [1]},
    "G": {"fc_0.w_0": [100, 2048], "fc_0.b_0": [2048], "batch_norm_0.w_0": [2048], "batch_norm_0.b_0": [2048],
          "fc_1.w_0": [2048, 6272], "fc_1.b_0": [6272], "batch_norm_1.w_0": [6272], "batch_norm_1.b_0": [6272],
          "conv2d_transpose_0.w_0": [128, 128, 5, 5], "conv2d_transpose_0.b_0": [128],
          "conv2d_transpose_1.w_0": [128, 1, 5, 5], "conv2d_transpose_1.b_0": [1]},
}
BOOK = {  # the book's names for the same arrays
    "D": {"conv2d_0": "conv1", "conv2d_1": "conv2", "batch_norm_0": "bn1", "fc_0": "fc1", "batch_norm_1": "bn2",
          "fc_1": "fc2"},
    "G": {"fc_0": "fc3", "batch_norm_0": "bn3", "fc_1": "fc4", "batch_norm_1": "bn4", "conv2d_transpose_0": "deconv1",
          "conv2d_transpose_1": "deconv2"},
}


@pytest.fixture(scope="module")
def built():
    gan = Note6GAN(paddle.CPUPlace(), seed=3, batch_size=BATCH)
    return gan, gan.state()


@pytest.fixture
def gan(built):
    """The networks as they were at the start."""
    gan, start = built
    paddle.enable_static()
    gan.load_state(start)
    gan.test_z = None
    return gan


def pictures(count=BATCH):
    return np.random.RandomState(0).uniform(-1, 1, [count, 784]).astype("float32")


def noise(count=BATCH):
    return np.random.RandomState(1).normal(size=[count, 100, 1, 1]).astype("float32")


def weights(network):
    return {f"{network}/{name}" for name in NETWORKS[network]}


def statistics(network):
    return {f"{network}/batch_norm_{i}.w_{k}" for i in (0, 1) for k in (1, 2)}


def moments(network, number):
    return {f"{name}_{kind}_{number}" for name in weights(network)
            for kind in ("moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc")}


def run(gan, program):
    feed, fetch = {"train_d_fake": ({"z": noise()}, gan.fake_avg_cost),
                   "train_d_real": ({"image": pictures().reshape(-1, 1, 28, 28)}, gan.real_avg_cost),
                   "train_g": ({"z": noise()}, gan.g_avg_cost)}[program]
    [loss] = gan.run(getattr(gan, program), feed, [fetch])
    return float(np.array(loss).reshape(()))


# -- networks and programs -----------------------------------------------------------------------------


def test_names_shapes_and_prefixes(gan):
    state = gan.state()
    for network, shapes in NETWORKS.items():
        assert {name: list(state[f"{network}/{name}"].shape) for name in shapes} == shapes
        assert set(gan.trained[network]) == weights(network)
    assert set(state) == set.union(*(weights(n) | statistics(n) for n in "DG"),
                                   moments("D", 0), moments("D", 1), moments("G", 0))
    assert gan.sizes() == {"D": 2308097, "G": 13487745}
    assert gan.flop(BATCH) == pytest.approx(2.1e9, rel=0.03)


def test_parameters_are_chosen_by_prefix(gan):
    assert set(note6.get_params(gan.train_d_real, "D")) == weights("D")
    assert set(note6.get_params(gan.train_g, "G")) == weights("G")
    assert note6.get_params(gan.train_g, "D") == []  # marked as not trained where nobody trains them
    assert note6.get_params(gan.train_d_fake, "G") == []
    assert note6.get_params(gan.train_d_real, "G") == []


def test_sampling_moves_nothing(gan):
    before = gan.state()
    images = gan.sample(noise())
    assert images.shape == (BATCH, 28, 28)
    assert np.abs(images).max() <= 1
    np.testing.assert_allclose(images[:2], gan.sample(noise()[:2]), atol=1e-5)  # moving averages: one by one
    assert moved(before, gan.state()) == set()


def test_shared_moments_are_one_set():
    gan = Note6GAN(paddle.CPUPlace(), {"shared_moments"}, batch_size=BATCH)
    gan.step(pictures(), np.random.RandomState(0))
    state = gan.state()
    assert not moments("D", 1) & set(state)
    assert state["D/fc_1.w_0_beta1_pow_acc_0"].item() == pytest.approx(0.9 ** 3)  # two steps
    assert state["G/fc_0.w_0_beta1_pow_acc_0"].item() == pytest.approx(0.9 ** 2)


def test_d_is_the_books_and_g_lacks_its_activations(gan):
    """With the same weights D gives the book's losses, and G with ``bn_activation`` the book's pictures."""
    state = gan.state()
    book = BookGAN(paddle.CPUPlace(), seed=8)
    numbers = {"w_0": "1", "b_0": "2", "w_1": "3", "w_2": "4"}
    arrays = book.state()
    for network, layers in BOOK.items():
        for ours, theirs in layers.items():
            for part, number in numbers.items():
                if f"{network}/{ours}.{part}" in state:
                    name = theirs + (number if "batch_norm" in ours else part[0])
                    assert arrays[name].shape == state[f"{network}/{ours}.{part}"].shape
                    arrays[name] = state[f"{network}/{ours}.{part}"]
    book.load_state(arrays)
    [loss] = book.run(book.d_program, {"img": pictures(), "label": np.ones([BATCH, 1], "float32")}, [book.d_loss])
    assert run(gan, "train_d_real") == pytest.approx(float(np.array(loss)), abs=1e-6)

    expected = book.sample(noise()[:, :, 0, 0])
    assert np.abs(gan.sample(noise()) - expected).max() > 0.1
    fixed = Note6GAN(paddle.CPUPlace(), {"bn_activation"})
    fixed.load_state(state)
    np.testing.assert_allclose(fixed.sample(noise()), expected, atol=1e-5)


def test_double_sigmoid_bounds_the_losses(gan):
    """Where D's last layer is huge, the loss stays within the sigmoid's range, unless mended."""
    for fix, bounded in (((), True), ({"double_sigmoid"}, False)):
        chosen = Note6GAN(paddle.CPUPlace(), fix) if fix else gan
        state = gan.state()
        state["D/fc_1.b_0"][:] = -50
        chosen.load_state(state)
        loss = run(chosen, "train_d_real")
        assert (0.6931 <= loss <= 0.6932) is bounded
        assert bounded or loss == pytest.approx(50, rel=0.1)


# -- one iteration -------------------------------------------------------------------------------------


@pytest.fixture
def runs(gan, monkeypatch):
    """Notes the programs that a step runs and what they are fed."""
    noted = []
    original = gan.run

    def note(program, feed, fetch):
        name = next(name for name in ("train_d_fake", "train_d_real", "train_g") if getattr(gan, name) is program)
        noted.append((name, {key: np.array(value) for key, value in feed.items()}))
        return original(program, feed, fetch)

    monkeypatch.setattr(gan, "run", note)
    return noted


def test_a_step_in_the_notes_order_on_its_noise(gan, runs):
    random = np.random.RandomState(5)
    test_z = gan.noise(BATCH, random)  # the loop's constant noise comes first
    losses = gan.step(pictures(3), random)  # a short last batch has as much noise as any
    assert [name for name, _ in runs] == ["train_d_fake", "train_d_real", "train_g"]

    stream = np.random.RandomState(5)
    first, second, third = (np.stack([stream.normal(0.0, 1.0, (100, 1, 1)) for _ in range(BATCH)]).astype("float32")
                            for _ in range(3))
    np.testing.assert_array_equal(test_z, first)
    np.testing.assert_array_equal(runs[0][1]["z"], second)
    np.testing.assert_array_equal(runs[1][1]["image"], pictures(3).reshape(3, 1, 28, 28))
    np.testing.assert_array_equal(runs[2][1]["z"], third)
    assert list(losses) == ["fake_avg_cost", "real_avg_cost", "g_avg_cost"]


def test_the_repository_freezes_uniform_noise(gan, runs, monkeypatch):
    monkeypatch.setattr(gan, "repository", True)
    random = np.random.RandomState(5)
    test_z = gan.noise(BATCH, random)
    for _ in range(2):
        gan.step(pictures(), random)
    np.testing.assert_array_equal(test_z, np.random.RandomState(5).uniform(-1, 1, [BATCH, 100, 1, 1]).astype("float32"))
    assert len(runs) == 6
    for name, feed in runs:
        assert name == "train_d_real" or np.array_equal(feed["z"], test_z)


# -- pictures and messages -----------------------------------------------------------------------------


def test_the_notes_line(gan):
    assert gan.message(3, 468, {"fake_avg_cost": 0.7, "real_avg_cost": 0.35, "g_avg_cost": 0.68}) == \
        "Pass：3，fake_avg_cost：0.700000, real_avg_cost：0.350000, g_avg_cost：0.680000"
    assert gan.due(467, 468, last=True)
    assert not gan.due(9, 10, last=False)


@pytest.mark.parametrize("fix", [(), {"colour_map"}, {"own_range"}, {"colour_map", "own_range"}])
def test_64_single_pictures(tmp_path, fix):
    images = np.random.RandomState(0).uniform(-0.5, 0.2, [70, 28, 28]).astype("float32")
    Note6GAN.show_image_grid(images, tmp_path / "image", fix)
    assert {path.name for path in (tmp_path / "image").iterdir()} == {f"test_{i}.png" for i in range(64)}
    picture = Image.open(tmp_path / "image" / "test_63.png")
    assert picture.size == (28, 28)
    low, high = (-1, 1) if "own_range" in fix else (images[63].min(), images[63].max())
    colours = cm.Greys_r if "colour_map" in fix else cm.viridis  # matplotlib's default
    expected = colours((images[63] - low) / (high - low), bytes=True)
    np.testing.assert_allclose(np.asarray(picture), expected, atol=3)


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of seven pictures: two batches of four, the second short."""
    folder = tmp_path_factory.mktemp("data")
    images = np.random.RandomState(0).randint(0, 256, [7, 28, 28]).astype("uint8")
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images))
    return folder


def arguments(data, *more):
    return ["--recipe", "note6", "--data_dir", str(data), "--batch_size", "4", "--epoch", "2", *more]


@pytest.mark.parametrize("follow", ["note", "repository"])
def test_a_run_goes_on_from_its_state_and_its_constant_noise(built, follow):
    """As a resumed run does: its loop has drawn the constant noise before the state is loaded."""
    whole, resumed = built[0], Note6GAN(paddle.CPUPlace(), seed=8, batch_size=BATCH, follow=follow)
    assert resumed.fix == ({"colour_map"} if follow == "repository" else set())  # its pictures are grey
    whole.repository, whole.test_z = resumed.repository, None
    random, again = np.random.RandomState(5), np.random.RandomState(5)
    whole.load_state(built[1])
    for gan, drawn in ((whole, random), (resumed, again)):
        gan.noise(BATCH, drawn)
    whole.step(pictures(), random)
    resumed.load_state(whole.state())
    again.set_state(random.get_state())
    assert resumed.step(pictures(), again) == whole.step(pictures(), random)
    assert not moved(whole.state(), resumed.state())
    whole.repository = False


def test_a_run_leaves_the_notes_files(data, tmp_path, capsys):
    train.main([*arguments(data), "--output", str(tmp_path / "run")])
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["batch"]) for line in lines] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    printed = capsys.readouterr().out
    for number, line in ((0, lines[1]), (1, lines[3])):  # the last batch's
        assert f"Pass：{number}，fake_avg_cost：{np.float32(line['fake_avg_cost']):f}, real_avg_cost：" in printed
    assert {path.name for path in run.glob("0*.png")} == {"0000_0001.png", "0001_0001.png"}
    assert len(list((run / "image").iterdir())) == 4  # of the constant noise, as many as a batch
    shutil.rmtree(run)  # some hundred MB of checkpoints


def test_overwrite_deletes_the_single_pictures(tmp_path):
    mine = tmp_path / "run" / "image" / "mine.png"
    for path in (*(tmp_path / "run" / name for name in Note6GAN.files), mine, tmp_path / "outside.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    config = {**dict.fromkeys(["options", "dataset", "versions", "machine"], {}),
              "recipe": "note6", "files": [*Note6GAN.files, "../outside.png"]}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    RunFolder(tmp_path / "run", overwrite=True).close()
    assert list((tmp_path / "run" / "image").iterdir()) == [mine]
    assert (tmp_path / "outside.png").exists()


def test_defaults_are_the_notes():
    def read(*more):
        return options.read("static_mnist", ["--recipe", "note6", *more])[1]

    args = read()
    assert (args.epoch, args.batch_size, args.fix, args.follow) == (5, 128, [], "note")
    assert read("--follow", "repository").epoch == 20
    assert read("--follow", "repository", "--epoch", "3").epoch == 3
