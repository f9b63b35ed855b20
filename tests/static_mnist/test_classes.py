"""The classes of a conditional GAN: those with pictures, those that are chosen, and their names and numbers."""

from dataclasses import replace

import numpy as np
import pytest

from common import load
from common.data import datasets
from common.data.datasets import Pictures
from common.errors import UserError
from common.evaluation.scores import Evaluation
from common.evaluation.trained import Trained
from static_mnist import train
from static_mnist.classes import above, chosen, number, present


def published(labels, size=(8, 8)):
    labels = None if labels is None else np.array(labels, "uint8")
    return Pictures("own", np.zeros([4, *size], "uint8"), labels, ("a", "b", "c"), "here", "")


def test_classes_are_those_that_have_pictures():
    labels, classes = present(published([2, 0, 2, 2]))
    assert (labels.tolist(), classes) == ([1, 0, 1, 1], ["a", "c"])
    with pytest.raises(UserError, match="has no labels"):
        present(published(None))


def test_chosen_classes_are_numbered_anew_in_the_sets_order():
    whole = replace(published([2, 0, 1, 2]), images=np.arange(4, dtype="uint8").repeat(64).reshape(4, 8, 8))
    some = chosen(whole, ["c", "0", "A"])
    assert (some.classes, some.labels.tolist(), some.images[:, 0, 0].tolist()) == (("a", "c"), [1, 0, 1], [0, 1, 3])
    assert len({whole.checksum, some.checksum, chosen(whole, ["a", "b"]).checksum}) == 3
    assert chosen(whole, []) is chosen(whole, ["all"]) is whole


def test_a_letter_with_its_accent_is_the_same_as_one_character_or_as_two():
    one, two = "caf\u00e9", "cafe\u0301"  # as a keyboard types it, and as macOS may name a folder
    assert {number(["bag", known], typed) for known in (one, two) for typed in (one, two, one.upper())} == {1}
    own = replace(published([2, 0, 1, 2]), classes=("bag", two, "tea"))
    assert chosen(own, ["tea", one]).classes == (two, "tea")  # the stored name stays
    with pytest.raises(UserError, match="no class 'cafe'"):
        number(["bag", two], "cafe")


@pytest.mark.parametrize(("wanted", "words"), [
    (["a"], "names one class, a; a conditional GAN wants two"), (["b", "1"], "names one class, b"),
    (["a", "d"], "no class 'd'; own has 0 a, 1 b, 2 c$"), (["a", "3"], "no class '3'"), (["-1"], "no class '-1'"),
    (["a", "b"], "own in here has no pictures of the class b; leave it out"),
])
def test_classes_that_cannot_be_trained_on(wanted, words):
    with pytest.raises(UserError, match=words):
        chosen(published([0, 2, 0, 2]), wanted)


@pytest.mark.parametrize(("labels", "size", "words"), [
    ([1] * 4, (8, 8), "one class, b"), ([0, 1] * 2, (8, 10), "10×8"), ([0, 1] * 2, (30, 28, 3), "28×30"),
])
def test_pictures_that_the_networks_cannot_take(labels, size, words):
    with pytest.raises(UserError, match=words):
        present(published(labels, size=size))


def test_a_run_on_some_classes_knows_them_by_name_and_by_number(tmp_path, monkeypatch):
    """Its own numbers follow the set's order; where all names are numbers, a number is a name."""
    output = tmp_path / "run"
    typed = ["--recipe", "cgan", "--dataset", "digits", "--classes", "8", "3", "--batch_size", "8", "--max_steps", "1",
             "--output", str(output)]
    train.main(typed)
    digits = datasets.load("digits")
    numbers = np.isin(digits.labels, [3, 8])
    run = Trained(output)
    assert run.classes == ["3", "8"] and run.config["dataset"]["pictures"] == numbers.sum()
    assert run.config["dataset"]["note"] == "data: digits, not the tutorial's; only the classes 3, 8"
    real, labels = run.real()
    np.testing.assert_array_equal([int(run.classes[label]) for label in labels], digits.labels[numbers])
    _, found, _ = Evaluation(run, run.features, 100).described(real, labels)
    assert (found == labels).mean() > 0.9  # the classifier's names are those of the run's numbers
    gan = load(output)
    assert gan.labels("8", 1, 1).tolist() == [[0, 1]] and above(gan.classes, gan.labels("all", 1, 2), 2) == ["3", "8"]
    with pytest.raises(UserError, match="no class '0'; this run has 3, 8, and all"):
        gan.labels("0", 1, 1)
    with pytest.raises(UserError, match="classes .*'8', '3'.*not .*'8', '1'.*leave --classes out"):
        train.main([*typed[:-6], "--resume", "--output", str(output), "--classes", "8", "1"])
