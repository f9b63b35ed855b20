"""Pictures from trained runs: classes, layouts and seeds, in processes of their own and from Python."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import generator, load
from common.errors import UserError
from static_mnist import generate
from tests.helpers import caller

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "static_mnist" / "generate.py"


@pytest.fixture
def call(capsys):
    """The command in this process: exit code, stdout, stderr."""
    return caller(generate.main, capsys)


@pytest.fixture(scope="module")
def loaded(folder_run):
    """``--fix`` → the generator of a cgan of 4×8 pictures of three classes."""
    return {fix: load(folder_run, fix=fix) for fix in ((), ("all",))}


@pytest.fixture
def draw(call, loaded, folder_run, monkeypatch):
    """The command on that run, which is loaded once for all tests."""
    monkeypatch.setattr(generator, "load", lambda run, checkpoint, fix, use_gpu, package: loaded[tuple(fix)])
    return lambda *args: call("--run", folder_run, *args)


def raw(path):
    return np.load(path / "generated.npy")


def grid_of(path, rows, cols):
    """Whether the grid has so many rows and columns of 4×8 pictures, a pixel apart, enlarged; and perhaps labels."""
    with Image.open(path / "grid.png") as image:
        factor = image.width // (cols * 9)
        return image.width == cols * 9 * factor and 0 <= image.height - rows * 5 * factor < 25


def test_a_new_process_draws_a_class_by_its_name(folder_run, loaded, tmp_path):
    """As typed, from another folder, without data; from Python by the class's number, the same pictures to the bit."""
    command = [sys.executable, GENERATE, "--run", folder_run, "--class", "sneaker", "--rows", "3", "--cols", "4",
               "--output", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 pictures: ")
    images = raw(tmp_path / "out")
    assert (images.shape, images.dtype) == ((12, 4, 8, 1), np.float32)
    assert np.abs(images).max() <= 1
    assert grid_of(tmp_path / "out", 3, 4)
    np.testing.assert_array_equal(images, loaded[()].generate_new(2, rows=3, cols=4))  # sorted: 8, bag, sneaker


def test_seeds(draw, tmp_path):
    for output, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert draw("--class", "8", "--seed", seed, "--output", tmp_path / output)[0] == 0
    assert raw(tmp_path / "a").shape == (25, 4, 8, 1)
    assert (tmp_path / "a" / "grid.png").read_bytes() == (tmp_path / "b" / "grid.png").read_bytes()
    np.testing.assert_array_equal(raw(tmp_path / "a"), raw(tmp_path / "b"))
    assert not np.array_equal(raw(tmp_path / "a"), raw(tmp_path / "c"))


@pytest.mark.parametrize(("args", "target", "rows", "cols"), [
    ([], "all", 5, 3), (["--class", "all", "--rows", "1", "--cols", "4"], "all", 1, 4),
    (["--class", "bag", "8"], ["bag", "8"], 5, 2), (["--class", "8", "--rows", "2"], "8", 2, 5),
    (["--class", "-1", "--rows", "3", "--cols", "3"], -1, 3, 3),
])
def test_layouts(draw, loaded, tmp_path, args, target, rows, cols):
    code, _, err = draw("--output", tmp_path / "out", *args)
    assert code == 0, err
    np.testing.assert_array_equal(raw(tmp_path / "out"), loaded[()].generate_new(target, rows, cols))
    assert grid_of(tmp_path / "out", rows, cols)


def test_fixes_may_come_when_drawing(loaded, folder_run):
    assert set(loaded[("all",)].fix) == {"sampling_dropout", "generation_statistics", "minus_one_layout"}
    plain, mended = (gan.generate_new("all", 5, 3) for gan in loaded.values())
    assert not np.allclose(plain, mended)


def test_interpolation_keeps_a_class_in_each_row(draw, loaded, tmp_path):
    assert draw("--interpolate", "--class", "bag", "8", "--rows", "3", "--fix", "all",
                "--output", tmp_path / "out")[0] == 0
    images = raw(tmp_path / "out").reshape(3, 10, 4, 8)
    labels = np.eye(3)[[1, 0, 1]]  # sorted: 8, bag, sneaker
    z = np.random.RandomState(1).uniform(-1, 1, [6, 96]).reshape(3, 2, 96)
    for column, end in ((0, 0), (9, 1)):
        noise = np.concatenate([z[:, end], labels], axis=1).astype("float32")
        np.testing.assert_allclose(images[:, column], loaded[("all",)].new_images(noise, None)[..., 0], atol=1e-5)
    assert grid_of(tmp_path / "out", 3, 10)
    every_class_by_its_old_number = loaded[()].labels(["-1"], 3, 1, by_row=True)
    assert every_class_by_its_old_number.argmax(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("args", "words"), [
    (["--class", "boot"], ["'boot'", "0 8, 1 bag, 2 sneaker"]),
    (["--class", "-1", "--rows", "1", "--cols", "3"], ["-1", "ask for the class all"]),
    (["--class", "8", "all"], ["all", "name it alone"]),
    (["--interpolate", "--cols", "3"], ["--cols", "--interpolate"]),
    (["--class"], ["--class"]),
    (["--cols", "x"], ["--cols", "'x'"]),
    (["--count", "5"], ["--count", "--rows"]),
])
def test_refusals(draw, tmp_path, args, words):
    refused(draw("--output", tmp_path / "out", *args), words)
    assert not (tmp_path / "out").exists()


def refused(result, words):
    code, _, err = result
    assert (code, err.count("\n")) == (2, 1), err
    assert all(word in err for word in words), err


def test_a_run_that_cannot_be_loaded(folder_run, tmp_path, call):
    refused(call("--run", folder_run, "--checkpoint", folder_run / "config.json"), ["config.json"])
    refused(call("--run", folder_run, "--fix", "one_shuffle"), ["--fix", "one_shuffle"])
    refused(call("--run", tmp_path / "nothing"), ["nothing", "no run"])


def test_a_run_without_classes(book_run, tmp_path, call):
    assert call("--run", book_run, "--count", "5", "--output", tmp_path / "five")[0] == 0
    assert raw(tmp_path / "five").shape == (5, 28, 28)
    assert call("--run", book_run, "--count", "2", "--interpolate", "--output", tmp_path / "lines")[0] == 0
    assert raw(tmp_path / "lines").shape == (20, 28, 28)
    refused(call("--run", book_run, "--rows", "2"), ["--rows", "no classes"])
    refused(call("--run", book_run, "--fix", "all"), ["--fix", "the recipe book has no oddity"])


def test_a_run_of_another_command(folder_run, monkeypatch):
    monkeypatch.setattr("common.generator.read_run", lambda *_: ({"recipe": "faces"}, {}))
    with pytest.raises(UserError, match=r"the recipe faces, which is for dygraph_celeba/generate\.py"):
        generator.load(folder_run, package="static_mnist")
