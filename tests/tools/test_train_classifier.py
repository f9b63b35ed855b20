"""tools/train_classifier.py: how data are parted, what is learnt and kept."""

from pathlib import Path

import numpy as np
import pytest

from common.data import datasets
from common.data.batches import scale
from common.errors import UserError, run_command
from common.evaluation import classifier_training
from common.evaluation.classifier import Classifier
from tests.helpers import idx
from tools import train_classifier

ROOT = Path(__file__).resolve().parents[2]


def write_idx(path, array):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(idx(array))


@pytest.fixture
def digits(tmp_path):
    """Scikit-learn's digits under MNIST's names: 1200 to train, 597 to test."""
    pictures = datasets.load("digits")
    for prefix, part in (("train", slice(1200)), ("t10k", slice(1200, None))):
        write_idx(tmp_path / "data" / f"{prefix}-images-idx3-ubyte", pictures.images[part])
        write_idx(tmp_path / "data" / f"{prefix}-labels-idx1-ubyte", pictures.labels[part])
    return tmp_path / "data"


@pytest.fixture
def emnist(tmp_path):
    """47 classes, 20 pictures of each, a test part only, as some have it."""
    images = np.random.RandomState(0).randint(0, 256, [940, 28, 28]).astype("uint8")
    write_idx(tmp_path / "data" / "emnist-bymerge-test-images-idx3-ubyte", images)
    write_idx(tmp_path / "data" / "emnist-bymerge-test-labels-idx1-ubyte", np.arange(940).astype("uint8") % 47)
    return tmp_path / "data"


def test_too_few_pictures_are_one_line(digits, tmp_path):
    for kind, array in (("images-idx3", np.zeros([100, 28, 28], "uint8")), ("labels-idx1", np.arange(100) % 10)):
        write_idx(digits / f"train-{kind}-ubyte", array.astype("uint8"))
    with pytest.raises(UserError, match="100 pictures are too few to learn from; 128 are the least"):
        train_classifier.main(["--dataset", "mnist", "--data_dir", str(digits), "--output", str(tmp_path / "x")])


def test_it_learns_and_keeps_what_it_learnt(digits, tmp_path, capsys):
    output = tmp_path / "weights" / "mnist.safetensors"
    arguments = ["--dataset", "mnist", "--data_dir", str(digits), "--epochs", "3", "--output", str(output)]
    train_classifier.main(arguments)
    printed = capsys.readouterr().out
    classifier = Classifier.load("mnist", output.parent)
    test = datasets.load("mnist", digits, "test")
    accuracy = (classifier.probabilities(scale(test.images)).argmax(1) == test.labels).mean()
    assert accuracy > 0.75
    assert classifier.record["accuracy"] == pytest.approx(accuracy, abs=1e-6)  # of the very weights that are kept
    assert f"accuracy {accuracy:.2%}" in printed
    assert classifier.name.removeprefix("mnist-cnn-") in printed  # the sum
    assert classifier.record["pictures"] == {"train": 1200, "test": 597}
    assert classifier.record["command"] == "python tools/train_classifier.py --dataset mnist --epochs 3 --seed 0"

    first = output.read_bytes()
    train_classifier.main(arguments)
    assert output.read_bytes() == first


@pytest.mark.parametrize("named", ["", "emnist-bymerge-test-images-idx3-ubyte"])  # the folder, or the part's file
def test_parts_of_emnist_without_a_test_part(emnist, named):
    train, test, classes, protocol = classifier_training.split("emnist", emnist / named)
    assert len(classes) == 47
    whole = datasets.load("emnist", emnist)
    np.testing.assert_array_equal(test[0], whole.images[9::10])
    np.testing.assert_array_equal(test[1], whole.labels[9::10])
    assert len(train[0]) + len(test[0]) == len(whole.images) == len(train[1]) + len(test[1])
    np.testing.assert_array_equal(train[0][:9], whole.images[:9])
    np.testing.assert_array_equal(train[0][9], whole.images[10])
    assert "every tenth" in protocol
    assert "EMNIST bymerge-test" in protocol


def test_frequent_classes_are_not_guessed_more_often():
    """The same logits for all classes, then a picture is of the rarest as likely as it is of the others."""
    shares = np.array([0.9, 0.09, 0.01])
    arrays = {"logits.bias": np.log(shares).astype("float16")}  # what training on them leaves where nothing is seen
    classifier_training.even(arrays, shares)
    np.testing.assert_allclose(arrays["logits.bias"], 0, atol=2e-3)
    assert arrays["logits.bias"].dtype == np.float16


def test_shifts_move_pictures_and_lose_nothing_else():
    images = np.full([200, 28, 28], -1, "float32")
    images[:, 10, 20] = 1
    moved = classifier_training.shifted(images, np.random.RandomState(0))
    number, row, column = np.nonzero(moved == 1)
    np.testing.assert_array_equal(number, np.arange(200))
    assert set(row) == set(range(8, 13))
    assert set(column) == set(range(18, 23))
    assert (moved == -1).sum() == 200 * 783


def test_another_file_is_not_written_over(digits, tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    command = ["--dataset", "mnist", "--data_dir", str(digits), "--output", str(tmp_path / "mine")]
    assert run_command(lambda: train_classifier.main(command)) == 2
    assert "is no file of a classifier" in capsys.readouterr().err and (tmp_path / "mine").read_text() == "mine"


def test_bad_data(emnist, capsys):
    labels = next(emnist.glob("*labels*"))
    labels.write_bytes(labels.read_bytes()[:-5])
    code = run_command(lambda: train_classifier.main(["--dataset", "emnist", "--data_dir", str(emnist)]))
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
