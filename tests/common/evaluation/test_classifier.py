"""The committed classifiers: what they say of themselves, and what they make of pictures."""

import hashlib
import json

import numpy as np
import paddle
import pytest
from safetensors import safe_open

from common.data import datasets
from common.data.batches import scale
from common.errors import UserError
from common.evaluation.classifier import WEIGHTS, Classifier

LEAST = {"mnist": 0.99, "fashion": 0.91, "emnist": 0.85}
CLASSES = {"mnist": 10, "fashion": 10, "emnist": 47}


@pytest.fixture(scope="module")
def mnist():
    return Classifier.load("mnist")


@pytest.fixture(scope="module")
def digits():
    """Scikit-learn's digits as the project enlarges them: (pictures, labels)."""
    pictures = datasets.load("digits")
    return scale(pictures.images), pictures.labels


@pytest.mark.parametrize("dataset", LEAST)
def test_a_file_of_weights_tells_all_about_itself(dataset):
    path = WEIGHTS / f"{dataset}.safetensors"
    assert path.stat().st_size < 700_000
    with safe_open(path, "numpy") as file:
        record = json.loads(file.metadata()["record"])
    classifier = Classifier.load(dataset)
    assert classifier.record == record
    assert classifier.name == f"{dataset}-cnn-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    assert record["accuracy"] >= LEAST[dataset]
    assert len(classifier.labels) == len(record["recall"]) == CLASSES[dataset]
    assert record["command"].startswith(f"python tools/train_classifier.py --dataset {dataset} ")
    assert {"protocol", "epochs", "seed", "pictures", "versions"} <= set(record)


def test_the_labels_are_those_of_the_data():
    for dataset in ("mnist", "fashion", "emnist"):
        assert Classifier.load(dataset).labels == datasets.PUBLISHED[dataset].classes


def test_it_knows_digits_that_are_not_mnist(mnist, digits):
    images, labels = digits
    assert (mnist.probabilities(images).argmax(1) == labels).mean() > 0.9
    assert (mnist.probabilities(images[:, ::-1]).argmax(1) == labels).mean() < 0.6  # nor upside down


def test_outputs(mnist, digits):
    images = digits[0][:20]
    features, probabilities = mnist.outputs(images)
    assert (features.shape, probabilities.shape) == ((20, 128), (20, 10))
    assert features.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(mnist.features(images[..., None]), features)
    np.testing.assert_array_equal(mnist.probabilities(images), probabilities)


def test_a_batch_does_not_matter(mnist, digits, monkeypatch):
    """Neither the pictures beside it nor their number changes what is made of a picture, but for rounding."""
    images = digits[0][:70]
    whole = mnist.outputs(images)
    monkeypatch.setattr("common.evaluation.classifier.AT_ONCE", 8)
    for one, other in zip(whole, mnist.outputs(images), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    alone = mnist.outputs(images[3:4])
    for one, other in zip(whole, alone, strict=True):
        np.testing.assert_allclose(one[3:4], other, atol=1e-4)


def test_it_leaves_static_mode_as_it_was(mnist, digits):
    expected = mnist.features(digits[0][:4])
    paddle.enable_static()
    np.testing.assert_array_equal(Classifier.load("mnist").features(digits[0][:4]), expected)
    assert not paddle.in_dynamic_mode()


@pytest.mark.parametrize("shape", [[2, 32, 32], [2, 28, 28, 3], [28, 28], [2, 784]])
def test_pictures_of_another_shape(mnist, shape):
    with pytest.raises(UserError, match="grey pictures of 28×28"):
        mnist.outputs(np.zeros(shape))


def test_missing_and_damaged_files(tmp_path):
    whole = (WEIGHTS / "mnist.safetensors").read_bytes()
    for content in (None, b"", b"x" * 100, whole[:-1000]):
        if content is not None:
            (tmp_path / "mnist.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="no file of a classifier .*train_classifier.py --dataset mnist") as caught:
            Classifier.load("mnist", tmp_path)
        assert "\n" not in str(caught.value)
