"""Data sets: each good form is read, each bad one is refused in one line."""

import gzip
import hashlib
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from common.data import datasets
from common.data.array_files import read_idx
from common.data.datasets import load
from common.errors import UserError
from tests.helpers import IMAGES, LABELS, emnist, idx, labels, pictures, put

# -- reading -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_own_files_packed_and_plain(tmp_path, suffix, capsys):
    put(tmp_path, suffix=suffix)
    found = load("auto", tmp_path)
    assert (found.images == pictures()).all() and (found.labels == labels()).all()
    assert found.images.dtype == found.labels.dtype == np.uint8
    assert (found.name, found.source, found.fallback) == ("MNIST", str(tmp_path), False)
    assert found.classes == tuple("0123456789")
    assert found.checksum == hashlib.md5(pictures().tobytes() + labels().tobytes()).hexdigest()
    assert capsys.readouterr().err == ""


def test_names_with_a_dot_and_packing_that_the_name_does_not_tell(tmp_path):
    put(tmp_path, suffix="", names=("train-images.idx3-ubyte", "train-labels.idx1-ubyte"))
    path = tmp_path / "train-images.idx3-ubyte"
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert len(load("mnist", tmp_path).images) == 12


def test_default_folder_is_paddles_cache(tmp_path):
    put(tmp_path / "home/.cache/paddle/dataset/mnist")
    put(tmp_path / "home/.cache/paddle/dataset/fashion-mnist", pictures(3), labels(3))
    assert len(load().images) == 12
    fashion = load("fashion")
    assert len(fashion.images) == 3 and fashion.classes[9] == "ankle boot" and fashion.name == "Fashion-MNIST"


def test_one_entry_of_the_catalogue_is_a_data_set(tmp_path, monkeypatch):
    assert list(datasets.CHOICES) == ["auto", *datasets.PUBLISHED, "digits"]
    entry = replace(datasets.PUBLISHED["mnist"], name="Kuzushiji", classes=tuple("おきすつなはまやれを"), contents={},
                    folder="paddle/dataset/kmnist", tables=r"kmnist-{}\.csv")
    monkeypatch.setitem(datasets.PUBLISHED, "kmnist", entry)
    monkeypatch.setattr(datasets, "CHOICES", (*datasets.CHOICES, "kmnist"))
    put(tmp_path / "home/.cache/paddle/dataset/kmnist")
    found = load("kmnist")
    assert (found.name, found.classes) == ("Kuzushiji", entry.classes)
    np.testing.assert_array_equal(found.images, pictures())


def test_the_test_split_has_its_own_files(tmp_path):
    put(tmp_path)
    put(tmp_path, pictures(5), labels(5), names=("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))
    assert len(load("mnist", tmp_path, "test").images) == 5


def test_pictures_without_labels(tmp_path):
    put(tmp_path)[1].unlink()
    assert load("mnist", tmp_path).labels is None


def test_any_idx_of_bytes(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    assert (read_idx(tmp_path / "a")[0] == array).all()


def break_(change):
    """A bad file: `change` gets the bytes of a good packed one."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def repack(change):
    return break_(lambda data: gzip.compress(change(gzip.decompress(data))))


def directory(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(("spoil", "says"), [
    (break_(lambda data: data[:-200]), "damaged"),
    (break_(lambda data: data[:200] + bytes(100) + data[300:]), "damaged"),
    (break_(lambda data: data[:-8] + bytes(8)), "damaged"),  # the content is right, its CRC is not
    (break_(lambda data: data + b"more"), "damaged"),
    (break_(lambda data: b""), "no idx file"),
    (break_(lambda data: b"<!DOCTYPE html><html>"), "no idx file"),
    (repack(lambda data: b"\0\0\x0d\x03" + data[4:]), "no idx file"),
    (repack(lambda data: data[:10]), "cut short"),
    (repack(lambda data: data[:-1]), "cut short"),
    (repack(lambda data: data + b"\0"), "bytes behind its end"),
    (repack(lambda data: data[:4] + b"\xff" * 12), "claims to hold"),
    (repack(lambda data: idx(labels())), "holds labels where images are expected"),
    (repack(lambda data: idx(pictures()[:0])), "holds no pictures"),
    (repack(lambda data: idx(pictures(11))), "has 11 pictures, but"),
    (directory, "cannot read"),
])
@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_bad_images_are_an_error_in_one_line_and_no_fall_back(tmp_path, spoil, says, dataset, capsys):
    path = put(tmp_path)[0]
    spoil(path)
    with pytest.raises(UserError, match=says) as error:
        load(dataset, tmp_path)
    assert str(path) in str(error.value) and ";" in str(error.value) and "\n" not in str(error.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("tags", "says"), [
    (pictures(), "holds images where labels are expected"),
    (labels(13), "but .* 13 labels"),
    (labels() + 1, "label 10"),
])
def test_bad_labels(tmp_path, tags, says):
    put(tmp_path, tags=tags)
    with pytest.raises(UserError, match=says):
        load("auto", tmp_path)


def test_no_permission(tmp_path, monkeypatch):
    path = put(tmp_path)[0]

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(path), "open", forbidden)  # root may read everything, so chmod shows nothing
    with pytest.raises(UserError, match="cannot read .*Permission denied"):
        load("auto", tmp_path)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_idx(tmp_path / "nothing")


@pytest.mark.parametrize("make", [True, False])
def test_mnist_names_the_files_it_wants_and_where(tmp_path, make):
    folder = tmp_path / "data"
    if make:
        folder.mkdir()
    with pytest.raises(UserError) as error:
        load("mnist", folder, download=False)
    for part in (IMAGES + ".gz", LABELS + ".gz", str(folder), "--data_dir"):
        assert part in str(error.value)
    assert folder.exists() == make


def test_a_file_for_a_folder_and_unknown_names(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        load("auto", tmp_path / "file")
    with pytest.raises(UserError, match="cifar"):
        load("cifar")


def test_the_published_count_needs_the_published_content(tmp_path, monkeypatch):
    images, tags = np.zeros((60000, 2, 2), np.uint8), np.zeros(60000, np.uint8)
    put(tmp_path, images, tags, suffix="")
    with pytest.raises(UserError, match="other contents.*another set of its form.*or a damaged copy"):
        load("auto", tmp_path)
    right = {IMAGES: hashlib.md5(idx(images)).hexdigest(), LABELS: hashlib.md5(idx(tags)).hexdigest()}
    published = datasets.PUBLISHED
    monkeypatch.setitem(published, "fashion", replace(published["fashion"], contents=right))
    with pytest.raises(UserError, match="file of Fashion-MNIST.*name fashion as the data set"):
        load("auto", tmp_path)
    monkeypatch.setitem(published, "mnist", replace(published["mnist"], contents=right))
    assert len(load("auto", tmp_path).images) == 60000


# -- EMNIST --------------------------------------------------------------------------------------------


def test_emnist_is_upright_with_named_classes(tmp_path):
    emnist(tmp_path, "balanced-train")
    emnist(tmp_path, "another", 3)
    found = load("emnist", tmp_path)
    assert found.name == "EMNIST balanced-train"
    assert (found.images == pictures(47).transpose(0, 2, 1)).all() and found.images.flags.c_contiguous
    assert "".join(found.classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"


def test_an_emnist_letter_stands_upright(tmp_path):
    """EMNIST's files hold a picture column by column: an L, its stem from top to bottom first."""
    stored = np.zeros([28, 28], np.uint8)
    for column in range(8, 20):
        for row in range(4, 24):
            stored.flat[28 * column + row] = 255 * (column < 11 or row > 20)
    put(tmp_path, stored[None], np.array([21], np.uint8),
        names=("emnist-balanced-train-images-idx3-ubyte", "emnist-balanced-train-labels-idx1-ubyte"))
    found = load("emnist", tmp_path)
    [letter] = found.images
    assert found.classes[found.labels[0]] == "L"
    left, right, top, bottom = letter[:, :14], letter[:, 14:], letter[:14], letter[14:]
    assert left.sum() > 2 * right.sum() and bottom.sum() > 1.5 * top.sum()
    assert letter[22, 19] == 255 and letter[4, 8] == 255 and letter[4, 19] == 0  # foot, stem, nothing


def test_emnist_takes_the_part_whose_file_is_named(tmp_path):
    emnist(tmp_path, "balanced-train")
    path = emnist(tmp_path, "derived", 40)[0]
    found = load("emnist", path)
    assert (found.name, len(found.images), found.source) == ("EMNIST derived", 40, str(path))
    with pytest.raises(datasets.NotThere, match="no test part"):
        load("emnist", path, "test")
    with pytest.raises(UserError, match="is a file"):
        load("mnist", path)
    with pytest.raises(UserError, match="is a file"):
        load("emnist", emnist(tmp_path, "derived", 40)[1])
    with pytest.raises(datasets.NotThere, match="there is no file .*derived2-images"):
        load("emnist", path.with_name(path.name.replace("derived", "derived2")))
    assert not list(tmp_path.glob("*derived2*"))


def test_emnist_takes_another_part_of_the_split_before_any(tmp_path):
    emnist(tmp_path, "a-test", 3)
    assert load("emnist", tmp_path).name == "EMNIST a-test"
    emnist(tmp_path, "b-train", 4)
    assert load("emnist", tmp_path).name == "EMNIST b-train"


def test_emnist_mapping_file_and_letters_that_count_from_one(tmp_path):
    tags = np.array([1, 26, 2], np.uint8)
    emnist(tmp_path, "letters-train", 3, tags=tags)
    found = load("emnist", tmp_path)
    assert [found.classes[label] for label in found.labels] == ["A", "Z", "B"] and len(found.classes) == 26
    mapping = tmp_path / "emnist-letters-mapping.txt"
    mapping.write_text("1 97 65\n2 98 66\n26 122 90\n\n")
    found = load("emnist", tmp_path)
    assert found.classes == ("a", "b", "z") and found.labels.tolist() == [0, 2, 1]
    mapping.write_text("1 97\n2 98\n")
    with pytest.raises(UserError, match="26, which has no name"):
        load("emnist", tmp_path)
    mapping.write_text("what is this")
    with pytest.raises(UserError, match="emnist-letters-mapping.txt"):
        load("emnist", tmp_path)


def test_emnist_out_of_its_archive(tmp_path):
    made = emnist(tmp_path / "made", "balanced-train") + emnist(tmp_path / "made", "letters-train", 3)
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for path in made:
            archive.write(path, f"gzip/{path.name}")
    assert load("emnist", tmp_path, download=False).name == "EMNIST balanced-train"
    assert not list(tmp_path.glob("*letters*"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/gzip.zip").write_bytes((tmp_path / "gzip.zip").read_bytes()[:5000])
    with pytest.raises(UserError, match="gzip.zip is damaged"):
        load("emnist", tmp_path / "bad", download=False)


def test_emnists_archive_may_lie_where_nobody_can_write(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for path in emnist(tmp_path / "made", "balanced-train"):
            archive.write(path, f"gzip/{path.name}")
            path.unlink()
    (tmp_path / "home").mkdir()
    access = os.access  # root may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
    assert load("emnist", tmp_path, download=False).name == "EMNIST balanced-train"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gzip.zip", "home", "made"]


@pytest.mark.parametrize(("name", "head", "words"), [
    ("a.zip", b"PK\3\4", "a zip archive.*unpack it and name the folder"),
    ("train-labels-idx1-ubyte", b"\0\0\x08\1", "an idx file.*name the folder"),
    ("a.bin", b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer")])
def test_files_that_are_no_pictures_are_called_what_they_are(tmp_path, name, head, words):
    (tmp_path / name).write_bytes(head + bytes(600))
    with pytest.raises(UserError, match=words):
        load("mnist", tmp_path / name)


# -- embedded digits -----------------------------------------------------------------------------------


def test_digits_look_like_mnist(capsys):
    digits = load("digits")
    images = digits.images
    assert images.shape == (1797, 28, 28) and images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    assert images[:, 4:-4, 4:-4].sum() == images.sum() > 0  # 20×20 in a black frame
    assert 0.15 < (images > 0).mean() < 0.25 and 28 < images.mean() < 42  # MNIST: 0.19 and 33
    assert np.bincount(digits.labels).min() > 170 and len(digits.classes) == 10
    assert digits.source == "embedded in scikit-learn" and not digits.fallback
    assert capsys.readouterr().err == ""


def test_digits_are_the_same_everywhere():
    assert load("digits").checksum == "2b66f6f9491f8e704e7943141ad01a99"


def test_digits_have_no_test_part(tmp_path, capsys):
    with pytest.raises(UserError, match="no test part"):
        load("auto", tmp_path, "test", download=False)
    assert capsys.readouterr().err == ""


def test_auto_falls_back_loudly(tmp_path, capsys):
    found = load("auto", tmp_path / "data", download=False)
    assert found.fallback and found.name == "digits" and len(found.images) == 1797
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 5 and len({len(line) for line in lines}) == 1  # a box
    text = "\n".join(lines)
    for part in ("NOT MNIST", str(tmp_path / "data"), IMAGES, "--data_dir", "network", "--no_download"):
        assert part in text
