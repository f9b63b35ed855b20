"""What the tools see of runs: their pictures, their data, the features that suit them."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from PIL import Image

from common import load
from common.data import datasets
from common.data.batches import scale
from common.errors import UserError
from common.evaluation import scores
from common.evaluation.trained import Trained
from common.training import checkpoint
from dygraph_celeba import generate as faces_generate
from static_mnist import generate
from tests.helpers import one_step


@pytest.fixture
def copy(book_run, tmp_path):
    return shutil.copytree(book_run, tmp_path / "copy")


def with_config(run, **changes):
    """Change values of ``config.json``, ``dataset__name`` standing for one in another."""
    path = run / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        *above, name = name.split("__")
        (config[above[0]] if above else config)[name] = value
    path.write_text(json.dumps(config), encoding="utf-8")
    return run


# Pictures


def test_pictures_are_those_of_generate(book_run, tmp_path):
    run = Trained(book_run)
    pictures, labels = run.sample(5, seed=3)
    assert (pictures.shape, pictures.dtype, labels) == ((5, 28, 28, 1), np.float32, None)
    generate.main(["--run", str(book_run), "--count", "5", "--seed", "3", "--output", str(tmp_path / "drawn")])
    np.testing.assert_array_equal(pictures[..., 0], np.load(tmp_path / "drawn" / "generated.npy"))


def test_each_checkpoint_draws_its_own(book_run):
    run = Trained(book_run)
    assert [path.name for path in run.checkpoints] == ["0001_0000.safetensors", "0002_0000.safetensors"]
    first, last, newest, untrained, again = (each[0] for each in (
        *(run.sample(3, 1, path) for path in run.checkpoints), run.sample(3), run.untrained(3), run.untrained(3)))
    np.testing.assert_array_equal(last, newest)
    np.testing.assert_array_equal(untrained, again)
    assert not np.array_equal(first, last)
    assert not np.array_equal(untrained, first)


def test_classes_are_spread_evenly(folder_run):
    run = Trained(folder_run)
    assert run.classes == ["8", "bag", "sneaker"]
    pictures, labels = run.sample(25)
    assert pictures.shape == (25, 4, 8, 1)
    np.testing.assert_array_equal(labels, np.arange(25) % 3)
    longer, _ = run.sample(30)
    np.testing.assert_array_equal(longer[:25], pictures)  # statistics are of 256 pictures, however many are wanted
    np.testing.assert_array_equal(run.untrained(12)[1], np.arange(12) % 3)


def test_drawing_oddities_mended(folder_run):
    def both(*fix):
        pictures, labels = Trained(folder_run, fix=[*fix]).sample(4, seed=5)
        expected = load(folder_run, fix=fix).new_pictures(4, np.random.RandomState(5))
        np.testing.assert_array_equal(pictures, expected[0])
        np.testing.assert_array_equal(labels, expected[1])
        return pictures

    plain = both()
    assert not any(np.array_equal(plain, both(name)) for name in ("sampling_dropout", "generation_statistics"))


def test_mended_oddities_have_one_order(folder_run):
    """Else one protocol would have two names, and everything would be measured twice."""
    recipe = Trained(folder_run).recipe
    orders = ["generation_statistics", "sampling_dropout"], ["sampling_dropout", "generation_statistics"], ["all"]
    assert len({tuple(recipe.drawing(each, measured=True)) for each in orders}) == 1


def test_faces_are_those_of_generate(faces_run, tmp_path):
    pictures, labels = Trained(faces_run).sample(3, seed=2)
    assert (pictures.shape, labels) == ((3, 64, 64, 3), None)
    faces_generate.main(["--run", str(faces_run), "--count", "3", "--seed", "2", "--output", str(tmp_path / "drawn")])
    np.testing.assert_array_equal(pictures, np.load(tmp_path / "drawn" / "generated.npy"))
    untrained = Trained(faces_run).untrained(3, seed=2)[0]
    assert not np.array_equal(untrained, pictures)


@pytest.fixture(scope="module")
def note6_run(tmp_path_factory):
    """Note 6 on the embedded digits, one step old."""
    return one_step("note6", tmp_path_factory.mktemp("note6") / "run")


@pytest.mark.parametrize("name", ["book_run", "note6_run", "folder_run", "faces_run"])
def test_a_generator_alone_draws_as_the_whole_checkpoint_does(request, tmp_path, name):
    run = shutil.copytree(request.getfixturevalue(name), tmp_path / "run")
    trained = Trained(run)
    before = trained.sample(5, seed=3)[0]
    path = trained.checkpoints[-1]
    arrays, _ = checkpoint.load(path)
    generator = trained.recipe.make_gan(trained.config, paddle.CPUPlace()).generator_names()
    paddle.disable_static()
    assert len(generator) < len(arrays) / 2
    checkpoint._reduce(path, generator)
    assert set(checkpoint.load(path)[0]) == {*generator} and not checkpoint.whole(path)
    np.testing.assert_array_equal(trained.sample(5, seed=3)[0], before)


# Data


def test_real_digits(book_run):
    pictures, labels = Trained(book_run).real()
    expected = datasets.load("digits")
    np.testing.assert_array_equal(pictures[..., 0], scale(expected.images))
    np.testing.assert_array_equal(labels, expected.labels)


def test_some_real_pictures_are_always_the_same_and_of_all_kinds(digits_run):
    run = Trained(digits_run)
    everything, every_label = run.real()
    some, labels = run.real("train", 50)
    more, _ = run.real("train", 100)
    np.testing.assert_array_equal(more[:50], some)
    assert len(np.unique(labels)) == 10
    for picture, label in zip(some[:5], labels[:5], strict=True):
        [found] = np.flatnonzero((everything == picture).all((1, 2, 3)))
        assert every_label[found] == label
    assert len(run.real("train", 5000)[0]) == 1797


def test_real_pictures_of_a_folder(folder_run):
    pictures, labels = Trained(folder_run).real()
    files = sorted((folder_run.parent / "data").glob("*/*.png"), key=lambda path: (path.parent.name, path.name))
    expected = np.stack([np.array(Image.open(path)) for path in files])
    np.testing.assert_array_equal(pictures[..., 0], scale(expected))
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 2, 2])


def test_real_faces_stand_upright(faces_run):
    pictures, labels = Trained(faces_run).real()
    assert (pictures.shape, labels) == ((200, 64, 64, 3), None)
    first = np.array(Image.open(faces_run.parent / "imgs" / "000000.png"))
    np.testing.assert_array_equal(pictures[0], scale(first))


def test_a_test_part(tmp_path, book_run):
    digits = datasets.load("digits")
    for prefix, part in (("train", slice(1000)), ("t10k", slice(1000, None))):
        for kind, array in (("images-idx3", digits.images[part]), ("labels-idx1", digits.labels[part])):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (tmp_path / f"{prefix}-{kind}-ubyte").write_bytes(header + array.tobytes())
    known = datasets.load("mnist", tmp_path).checksum
    run = with_config(shutil.copytree(book_run, tmp_path / "run"), options__dataset="auto", dataset__checksum=known,
                      dataset__source=str(tmp_path))
    np.testing.assert_array_equal(Trained(run).real("test")[0][..., 0], scale(digits.images[1000:]))
    np.testing.assert_array_equal(Trained(run).real("train")[1], digits.labels[:1000])
    moved = with_config(run, dataset__source=str(tmp_path / "gone"), options__no_download=True)
    with pytest.raises(UserError, match="MNIST is not in .*--data_dir"):
        Trained(moved).real()
    named = with_config(shutil.copytree(run, tmp_path / "named"), options__data_dir="x", options__no_download=False)
    with pytest.raises(UserError, match="not in .*gone any more; --data_dir names the place"):
        Trained(named).real()  # a download would go into a folder that the user has moved
    assert not (tmp_path / "gone").exists()
    assert len(Trained(moved, data_dir=tmp_path).real("test")[0]) == 797
    with pytest.raises(UserError, match="not those that the run was trained on; .*--data_dir"):
        Trained(with_config(run, dataset__checksum="0"), data_dir=tmp_path).real()


@pytest.mark.parametrize("kind", ["book_run", "folder_run", "faces_run"])
def test_no_test_part(kind, request):
    with pytest.raises(UserError, match="no test part"):
        Trained(request.getfixturevalue(kind)).real("test")


def test_the_only_part_of_emnist_is_no_test_part(tmp_path, book_run):
    images = np.random.RandomState(0).randint(0, 256, [94, 28, 28]).astype("uint8")
    for kind, array in (("images-idx3", images), ("labels-idx1", (np.arange(94) % 47).astype("uint8"))):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        (tmp_path / f"emnist-bymerge-test-{kind}-ubyte").write_bytes(header + array.tobytes())
    run = with_config(shutil.copytree(book_run, tmp_path / "run"), options__dataset="emnist", dataset__fallback=False,
                      dataset__checksum=datasets.load("emnist", tmp_path).checksum, dataset__source=str(tmp_path))
    assert len(Trained(run).real("train")[0]) == 94
    with pytest.raises(UserError, match="no test part"):
        Trained(run).real("test")


def test_faces_that_have_changed(faces_run, tmp_path):
    shutil.copytree(faces_run.parent / "imgs", tmp_path / "imgs")
    assert len(Trained(faces_run, data_dir=tmp_path / "imgs").real()[0]) == 200
    with pytest.raises(UserError, match="not in /nowhere any more; --data_dir names the place"):
        Trained(with_config(shutil.copytree(faces_run, tmp_path / "run"), dataset__source="/nowhere")).real()
    (tmp_path / "imgs" / "000000.png").unlink()
    with pytest.raises(UserError, match="not those that the run"):
        Trained(faces_run, data_dir=tmp_path / "imgs").real()


# Features


def test_features_that_suit_the_data(book_run, digits_run, folder_run, faces_run, copy):
    assert Trained(book_run).features.name.startswith("mnist-cnn-")
    assert Trained(digits_run).features.name.startswith("mnist-cnn-")
    assert Trained(faces_run).features.name == Trained(folder_run).features.name == "hog-colour-176"
    for dataset, name in (("auto", "mnist"), ("mnist", "mnist"), ("fashion", "fashion"), ("emnist", "emnist")):
        run = Trained(with_config(copy, options__dataset=dataset, dataset__fallback=False))
        assert run.features.name.startswith(f"{name}-cnn-")
    fallen_back = Trained(with_config(copy, options__dataset="auto", dataset__fallback=True))
    assert fallen_back.data == "digits"


# What is no run


def test_no_run(tmp_path):
    with pytest.raises(UserError, match="there is no run in"):
        Trained(tmp_path)


def test_a_run_without_checkpoint(copy):
    for path in checkpoint.listing(copy / "checkpoints"):
        path.unlink()
    with pytest.raises(UserError, match="no checkpoint yet"):
        Trained(copy)


def test_half_a_checkpoint(copy):
    run = Trained(copy)
    run.checkpoints[0].write_bytes(run.checkpoints[0].read_bytes()[:5000])
    run.sample(2)
    with pytest.raises(UserError, match="0001_0000.safetensors is no whole checkpoint") as caught:
        run.sample(2, checkpoint=run.checkpoints[0])
    assert "\n" not in str(caught.value)


def test_a_foreign_recipe(copy, digits_run):
    foreign = Trained(digits_run).checkpoints[0]
    with pytest.raises(UserError, match="a checkpoint of the recipe cgan, the run in .* one of book"):
        Trained(copy).sample(2, checkpoint=foreign)
    with pytest.raises(UserError, match="no recipe 'stylegan', only book, note6, cgan, faces"):
        Trained(with_config(copy, recipe="stylegan"))


def test_where_the_test_part_is_too_small_halves_of_the_data_are_compared():
    random = np.random.RandomState(0)
    real, few = random.normal(size=[200, 20]), random.normal(size=[20, 20])
    run = SimpleNamespace(real=lambda split, count: (few, None))
    evaluation = SimpleNamespace(run=run, count=200, features=SimpleNamespace(name="hog"), real="/digits real",
                                 compare=lambda real, generated, found, labels: {"fid": float(len(generated))})
    assert scores.Evaluation.measure_real(evaluation, real) == {"fid hog half/digits real halves": 100.0}
    assert scores.Evaluation.measure_real(evaluation, real[:30]) == {}
