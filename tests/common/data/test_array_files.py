"""Tables of pictures: npz, CSV and mat give the same pictures as idx files, and each defect is one line."""

import gzip
import io
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from common.data import array_files, datasets, folders
from common.data.array_files import idx_md5, read_idx
from common.data.datasets import NotThere, load
from common.errors import UserError
from tests.helpers import idx, labels, pictures, put


def npz(path, **arrays):
    """Keras's mnist.npz: 12 pictures to train, 5 to test."""
    path.parent.mkdir(exist_ok=True, parents=True)
    parts = {"x_train": pictures(), "y_train": labels(), "x_test": pictures(5), "y_test": labels(5)}
    np.savez(path, **{**parts, **arrays})
    return path


def csv(path, heading="", sign=",", images=None, start="", last=False):
    """Kaggle's form: a picture a row, its label first, or ``last``."""
    path.parent.mkdir(exist_ok=True, parents=True)
    images = pictures() if images is None else images
    parts = [labels(len(images))[:, None], images.reshape(len(images), -1)]
    rows = np.hstack(parts[::-1] if last else parts)
    text = start + heading + "\n" * bool(heading) + "\n".join(sign.join(map(str, row)) for row in rows.tolist()) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def mat(path, **more):
    """EMNIST's structure: pictures column by column, a mapping of the labels."""
    path.parent.mkdir(exist_ok=True, parents=True)

    def part(count):
        return {"images": pictures(count).swapaxes(1, 2).reshape(count, -1), "labels": labels(count)[:, None]}

    mapping = np.array([[number, ord(letter), ord(letter)] for number, letter in enumerate("ABCDEFGHIJ")])
    savemat(path, {"dataset": {"train": part(12), "test": part(5), "mapping": mapping, **more}})
    return path


HEADING = "label," + ",".join(f"pixel{number}" for number in range(784))


@pytest.mark.parametrize("make", [
    lambda folder: npz(folder / "mnist.npz"),
    lambda folder: csv(folder / "mnist_train.csv"),
    lambda folder: csv(folder / "train.csv", HEADING),
    lambda folder: csv(folder / "train.csv", HEADING.replace(",", ";"), sign=";", start="\ufeff"),
    lambda folder: csv(folder / "train.csv.gz"),
    lambda folder: csv(folder / "train.csv", ",".join(map(str, range(785)))),
    lambda folder: csv(folder / "train.csv", HEADING.removeprefix("label,") + ",class", last=True),
])
@pytest.mark.parametrize("named", ["folder", "file", "sub-folder"])
def test_mnist_in_other_forms_is_the_same(tmp_path, make, named):
    path = make(tmp_path / "a" / "b")
    put(tmp_path / "idx")
    expected = load("mnist", tmp_path / "idx")
    found = load("mnist", {"folder": path.parent, "file": path, "sub-folder": tmp_path / "a"}[named])
    assert (found.images == expected.images).all() and (found.labels == expected.labels).all()
    assert (found.name, found.classes, found.checksum) == (expected.name, expected.classes, expected.checksum)


def test_idx_files_go_before_tables(tmp_path):
    npz(tmp_path / "mnist.npz", x_train=pictures(3), y_train=labels(3))
    put(tmp_path)
    assert len(load("mnist", tmp_path).images) == 12


def test_the_test_part_of_a_table(tmp_path):
    assert len(load("mnist", npz(tmp_path / "mnist.npz"), "test").images) == 5
    csv(tmp_path / "csv" / "mnist_train.csv")
    csv(tmp_path / "csv" / "mnist_test.csv", images=pictures(5))
    assert len(load("mnist", tmp_path / "csv", "test").images) == 5
    with pytest.raises(NotThere, match="no test part"):
        load("mnist", tmp_path / "csv" / "mnist_train.csv", "test")


@pytest.mark.parametrize("make", [
    lambda folder: mat(folder / "emnist-balanced.mat"),
    lambda folder: csv(folder / "emnist-balanced-train.csv", images=pictures().swapaxes(1, 2)),
])
def test_emnist_as_mat_and_csv_is_upright(tmp_path, make):
    make(tmp_path)
    found = load("emnist", tmp_path)
    assert found.name == "EMNIST balanced-train" and (found.images == pictures()).all()
    assert [found.classes[label] for label in found.labels[:3]] == (
        ["A", "B", "C"] if (tmp_path / "emnist-balanced.mat").exists() else ["0", "1", "2"])


def test_values_from_0_to_1_become_0_to_255_and_it_is_said(tmp_path, capsys):
    found = load("mnist", npz(tmp_path / "mnist.npz", x_train=pictures() / 255))
    assert (found.images == pictures()).all() and "0 to 1" in capsys.readouterr().err


def test_a_table_needs_the_published_content_as_an_idx_file_does(tmp_path, monkeypatch):
    images, tags = np.zeros((60000, 2, 2), np.uint8), np.zeros(60000, np.uint8)
    path = npz(tmp_path / "mnist.npz", x_train=images, y_train=tags)
    with pytest.raises(UserError, match="other contents"):
        load("mnist", path)
    right = {"train-images-idx3-ubyte": idx_md5(images), "train-labels-idx1-ubyte": idx_md5(tags)}
    monkeypatch.setitem(datasets.PUBLISHED, "mnist", replace(datasets.PUBLISHED["mnist"], contents=right))
    assert len(load("mnist", path).images) == 60000


def test_the_md5_is_that_of_an_idx_file(tmp_path):
    (tmp_path / "a").write_bytes(idx(pictures()))
    assert read_idx(tmp_path / "a")[1] == idx_md5(pictures())


def change(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("make", "words"), [
    (lambda f: npz(f / "mnist.npz", x_train=np.array([{}] * 12, object)), "Python objects, which are not read"),
    (lambda f: npz(f / "mnist.npz", y_train=labels(11)), "12 pictures, but 11 labels"),
    (lambda f: npz(f / "mnist.npz", y_train=labels() + 1), "label 10"),
    (lambda f: npz(f / "mnist.npz", y_train=labels() - 1.5), "no whole numbers"),
    (lambda f: npz(f / "mnist.npz", x_train=pictures().astype(int) + 1), "256, 0 to 255 are expected"),
    (lambda f: npz(f / "mnist.npz", x_train=pictures() / np.float32(np.nan)), "nan"),
    (lambda f: npz(f / "mnist.npz", x_train=pictures()[:0]), "no pictures"),
    (lambda f: npz(f / "mnist.npz", x_train=np.zeros((12, 5, 5, 5, 5), np.uint8)), "shape"),
    (lambda f: npz(f / "mnist.npz", x_train=np.zeros((12, 0, 28, 3), np.uint8)), "shape"),
    (lambda f: change(f / "mnist.npz", npz(f / "a.npz").read_bytes()[:3000]), "mnist.npz"),
    (lambda f: change(f / "mnist.npz", b"<!DOCTYPE html>"), "a web page"),
    (lambda f: change(f / "mnist.npz", b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    (lambda f: np.savez(f / "mnist.npz", a=pictures()) or f / "mnist.npz", "holds a, and no x_train"),
    (lambda f: change(f / "train.csv", b"a,b\n1,2,3\n4,x,6\n"), "no table of numbers"),
    (lambda f: change(f / "train.csv", b"1,2,3\n4,5,6\n"), "shape"),
    (lambda f: change(f / "train.csv", b"label,a,b,c,d\n"), "holds no pictures"),
    (lambda f: change(f / "train.csv", b"0,1,,3,4\n0,1,2,3,4\n"), "could not convert string '' .* column 3.; take"),
    (lambda f: change(f / "train.csv", b"0,1,2,3,4\n0,1\n"), "columns changed from 5 to 2 at row 2; take the right"),
    (lambda f: change(f / "train.csv", b"\xff\xfe\x00"), "no text"),
    (lambda f: change(f / "train.csv", b""), "an empty file"),
    (lambda f: change(f / "train.csv.gz", csv(f / "x.csv.gz").read_bytes()[:900]), "damaged"),
    (lambda f: change(f / "emnist-a.mat", mat(f / "b.mat").read_bytes()[:500]), "not as EMNIST's mat files"),
    (lambda f: savemat(f / "emnist-a.mat", {"x": 1}) or f / "emnist-a.mat", "no 'dataset'"),
    (lambda f: mat(f / "emnist-a.mat", mapping=np.array([[0, 65]])), "has no name"),
])
def test_a_bad_table_is_an_error_in_one_line(tmp_path, make, words):
    path = make(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        load("emnist" if path.suffix == ".mat" else "mnist", path)
    assert path.name.split("-")[0] in str(error.value) and "\n" not in str(error.value) and ";" in str(error.value)


# -- sets of one's own ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "words"), [("a.npz", "claims to hold"), ("a.csv.gz", "characters or more")])
def test_what_becomes_huge_when_unpacked_is_refused(tmp_path, monkeypatch, name, words):
    if name == "a.npz":
        np.savez_compressed(tmp_path / name, x_train=np.zeros([100, 28, 28], "uint8"))
    else:
        (tmp_path / name).write_bytes(gzip.compress((",".join(["0"] * 785) + "\n").encode() * 100))
    monkeypatch.setattr(array_files, "LARGEST_TEXT", 50_000)
    monkeypatch.setattr(array_files, "LARGEST_ARRAYS", 50_000)
    assert (tmp_path / name).stat().st_size < 50_000
    with pytest.raises(UserError, match=f"{words}.*take the right file"):
        array_files.read_table(tmp_path / name)


@pytest.mark.parametrize(("name", "packing", "words"), [
    ("x_train", zipfile.ZIP_DEFLATED, "claims to hold"),
    ("x_train.npy", zipfile.ZIP_BZIP2, "packed as NumPy packs no file")])
def test_an_npz_of_another_program_keeps_to_the_limits(tmp_path, monkeypatch, name, packing, words):
    """NumPy reads members without its suffix too; bzip2 unpacks gigabytes at each step."""
    stream = io.BytesIO()
    np.save(stream, np.zeros([100, 28, 28], "uint8"))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as archive:
        archive.writestr(name, stream.getvalue())
    monkeypatch.setattr(array_files, "LARGEST_ARRAYS", 50_000)
    with pytest.raises(UserError, match=words):
        array_files.read_table(tmp_path / "a.npz")


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("0," * 1000)
    monkeypatch.setattr(array_files, "LONGEST_LINE", 500)
    with pytest.raises(UserError, match="no table of pictures"):
        array_files.read_table(tmp_path / "a.csv")


def test_a_drop_in_set_is_trained_on_under_its_own_name(tmp_path):
    put(tmp_path / "kmnist")
    found = folders.load(tmp_path / "kmnist")
    assert found.name == "kmnist" and (found.images == pictures()).all() and found.classes == tuple("0123456789")


@pytest.mark.parametrize("make", [lambda f: npz(f / "shapes.npz"), lambda f: csv(f / "shapes.csv", HEADING)])
def test_a_table_of_ones_own_may_have_any_name(tmp_path, make):
    path = make(tmp_path / "own")
    for source in path, path.parent:
        found = folders.load(source)
        assert found.name == ("shapes" if source == path else "own") and (found.images == pictures()).all()


def test_labels_of_ones_own_need_not_count_from_0(tmp_path):
    found = folders.load(npz(tmp_path / "a.npz", y_train=np.array([5, 900] * 6)))
    assert found.classes == ("5", "900") and found.labels.tolist() == [0, 1] * 6


@pytest.mark.parametrize("shape", [(12, 28, 28), (12, 28, 28, 1), (12, 784)])
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_an_array_may_lie_in_fortrans_order(tmp_path, shape, kind):
    found = folders.load(npz(tmp_path / "a.npz", x_train=np.asfortranarray(pictures().reshape(shape), kind)))
    assert (found.images == pictures()).all() and found.images.flags.c_contiguous


def test_tables_of_ones_own_are_brought_to_28(tmp_path, capsys):
    found = folders.load(npz(tmp_path / "a.npz", x_train=np.full((12, 56, 70), 9, np.uint8)), fit=28)
    assert found.images.shape == (12, 28, 28) and (found.images == 9).all()
    assert "70×56" in capsys.readouterr().err


# -- where idx files lie -------------------------------------------------------------------------------


def test_folders_with_the_files_names_do_not_hide_the_files(tmp_path):
    """As Kaggle's hojjatk/mnist-dataset unpacks."""
    for path in put(tmp_path, suffix=""):
        dotted = path.with_name(path.name.replace("-idx", ".idx"))
        shutil.copy(path, dotted)
        data = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(data)
    assert len(load("mnist", tmp_path).images) == 12
    for path in tmp_path.glob("*.idx*"):
        path.unlink()
    assert len(load("mnist", tmp_path).images) == 12


def test_torchvisions_folders_are_found_and_it_is_said(tmp_path, capsys):
    put(tmp_path / "MNIST" / "raw")
    put(tmp_path / "FashionMNIST" / "raw", pictures(3), labels(3))
    assert len(load("mnist", tmp_path).images) == 12 and len(load("fashion", tmp_path).images) == 3
    assert capsys.readouterr().err.splitlines() == [f"{tmp_path}: reading {tmp_path / name / 'raw'}"
                                                    for name in ("MNIST", "FashionMNIST")]
    put(tmp_path / "MNIST" / "other")
    with pytest.raises(UserError, match="several sets"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_a_mat_file_is_not_unpacked_without_limit(tmp_path, monkeypatch, packed):
    path, stored = tmp_path / "emnist-a.mat", {"train": {"images": np.zeros([12, 784], "uint8"), "labels": labels()}}
    savemat(path, {"dataset": stored, "other": np.zeros(100_000)}, do_compression=packed)
    monkeypatch.setattr(array_files, "LARGEST_ARRAYS", 900_000)
    assert len(array_files.read_table(path, "train").images) == 12
    monkeypatch.setattr(array_files, "LARGEST_ARRAYS", 700_000)
    with pytest.raises(UserError, match="unpacks to .* bytes or more"):
        array_files.read_table(path, "train")
