"""Pictures from trained runs: classes, layouts and seeds, in processes of their own and from Python."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from static_mnist import generate, train
from tests.helpers import caller

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "static_mnist" / "generate.py"


@pytest.fixture(scope="module")
def run(class_folders):
    """A cgan, two iterations old, of 4×8 pictures of three classes."""
    run = class_folders.with_name("run")
    train.main(["--recipe", "cgan", "--dataset", str(class_folders), "--batch_size", "3", "--max_steps", "2",
                "--output", str(run)])
    return run


@pytest.fixture
def plain(tmp_path, narrow):
    """A run of the book's recipe, one iteration old, with narrow networks."""
    train.main(["--dataset", "digits", "--batch_size", "4", "--max_steps", "1", "--output", str(tmp_path / "plain")])
    return tmp_path / "plain"


@pytest.fixture
def call(capsys):
    """The command in this process: exit code, stdout, stderr."""
    return caller(generate.main, capsys)


def raw(path):
    return np.load(path / "generated.npy")


def grid_of(path, rows, cols):
    """Whether the grid has so many rows and columns of 4×8 pictures, a pixel apart, enlarged; and perhaps labels."""
    with Image.open(path / "grid.png") as image:
        factor = image.width // (cols * 9)
        return image.width == cols * 9 * factor and 0 <= image.height - rows * 5 * factor < 25


def test_a_new_process_draws_a_class_by_number_and_by_name(run, tmp_path):
    """As typed: from another folder, without data, each process the same pictures to the bit."""
    for name, output in (("1", "a"), ("sneaker", "b")):  # sorted: 8, bag, sneaker
        command = [sys.executable, GENERATE, "--run", run, "--class", name, "--rows", "3", "--cols", "4",
                   "--output", output]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("12 pictures: ")
        images = raw(tmp_path / output)
        assert (images.shape, images.dtype) == ((12, 4, 8, 1), np.float32)
        assert np.abs(images).max() <= 1
        assert grid_of(tmp_path / output, 3, 4)
        expected = generate.load(run).generate_new(name, rows=3, cols=4)  # the same from Python
        np.testing.assert_array_equal(images, expected)
    assert not np.array_equal(raw(tmp_path / "a"), raw(tmp_path / "b"))


def test_seeds(run, tmp_path, call):
    for output, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert call("--run", run, "--class", "8", "--seed", seed, "--output", tmp_path / output)[0] == 0
    assert raw(tmp_path / "a").shape == (25, 4, 8, 1)
    assert (tmp_path / "a" / "grid.png").read_bytes() == (tmp_path / "b" / "grid.png").read_bytes()
    np.testing.assert_array_equal(raw(tmp_path / "a"), raw(tmp_path / "b"))
    assert not np.array_equal(raw(tmp_path / "a"), raw(tmp_path / "c"))


@pytest.mark.parametrize(("args", "target", "rows", "cols"), [
    ([], "all", 5, 3), (["--class", "all", "--rows", "2"], "all", 2, 3),
    (["--class", "all", "--rows", "1", "--cols", "4"], "all", 1, 4),
    (["--class", "bag", "8"], ["bag", "8"], 5, 2), (["--class", "8", "--rows", "2"], "8", 2, 5),
    (["--class", "-1", "--rows", "3", "--cols", "3"], -1, 3, 3),
])
def test_layouts(run, tmp_path, call, args, target, rows, cols):
    code, _, err = call("--run", run, "--output", tmp_path / "out", *args)
    assert code == 0, err
    np.testing.assert_array_equal(raw(tmp_path / "out"), generate.load(run).generate_new(target, rows, cols))
    assert grid_of(tmp_path / "out", rows, cols)


def test_fixes_may_come_when_drawing(run, tmp_path, call):
    assert call("--run", run, "--fix", "all", "--output", tmp_path / "mended")[0] == 0
    mended = generate.load(run, fix=["sampling_dropout", "generation_statistics"])
    np.testing.assert_array_equal(raw(tmp_path / "mended"), mended.generate_new("all", 5, 3))
    assert not np.allclose(raw(tmp_path / "mended"), generate.load(run).generate_new("all", 5, 3))


def test_interpolation_keeps_a_class_in_each_row(run, tmp_path, call):
    assert call("--run", run, "--interpolate", "--class", "bag", "8", "--rows", "3", "--fix", "all",
                "--output", tmp_path / "out")[0] == 0
    images = raw(tmp_path / "out").reshape(3, 10, 4, 8)
    gan = generate.load(run, fix=["all"])
    labels = np.eye(3)[[1, 0, 1]]  # sorted: 8, bag, sneaker
    z = np.random.RandomState(1).uniform(-1, 1, [6, 96]).reshape(3, 2, 96)
    for column, end in ((0, 0), (9, 1)):
        noise = np.concatenate([z[:, end], labels], axis=1).astype("float32")
        np.testing.assert_allclose(images[:, column], gan.new_images(noise, None)[..., 0], atol=1e-5)
    assert grid_of(tmp_path / "out", 3, 10)


def test_interpolation_of_every_class_by_its_old_number(run):
    gan = generate.load(run)
    assert gan.labels(["-1"], 3, 1, by_row=True).argmax(1).tolist() == [0, 1, 2]


def test_another_checkpoint(run, tmp_path, call):
    code, _, err = call("--run", run, "--checkpoint", run / "config.json", "--output", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize(("args", "words"), [
    (["--class", "9"], ["'9'", "0 8, 1 bag, 2 sneaker"]),
    (["--class", "boot"], ["'boot'", "sneaker"]),
    (["--class", "8", "boot"], ["'boot'"]),
    (["--class", "-1", "--rows", "1", "--cols", "3"], ["-1", "ask for the class all"]),
    (["--class", "8", "all"], ["all", "stands alone"]),
    (["--interpolate", "--cols", "3"], ["--cols", "--interpolate"]),
    (["--class"], ["--class"]),
    (["--rows", "0"], ["--rows", "'0'"]),
    (["--cols", "x"], ["--cols", "'x'"]),
    (["--count", "5"], ["--count", "--rows"]),
    (["--fix", "one_shuffle"], ["--fix", "one_shuffle"]),
    (["--run", "nothing"], ["nothing", "no run"]),
])
def test_refusals(run, tmp_path, call, args, words):
    code, _, err = call("--run", run, "--output", tmp_path / "out", *args)
    assert (code, err.count("\n")) == (2, 1), err
    assert all(word in err for word in words), err
    assert not (tmp_path / "out").exists()


def test_a_run_without_classes(plain, tmp_path, call):
    assert call("--run", plain, "--count", "5", "--output", tmp_path / "five")[0] == 0
    assert raw(tmp_path / "five").shape == (5, 28, 28)
    assert call("--run", plain, "--count", "2", "--interpolate", "--output", tmp_path / "lines")[0] == 0
    assert raw(tmp_path / "lines").shape == (20, 28, 28)
    for args, words in ((["--class", "8"], "no classes"), (["--rows", "2"], "no classes"),
                        (["--cols", "2"], "no classes"), (["--fix", "all"], "the recipe book has no oddity")):
        code, _, err = call("--run", plain, *args, "--output", tmp_path / "out")
        assert (code, err.count("\n")) == (2, 1)
        assert args[0] in err and words in err


def test_help_does_not_import_paddle():
    code = "import sys; from static_mnist import generate\ntry: generate.main(['--help'])\nexcept SystemExit: pass\n" \
           "assert not {'paddle', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, env=dict(os.environ))


def test_a_run_of_another_command(run, monkeypatch):
    monkeypatch.setattr("common.generator.read_run", lambda *_: ({"recipe": "faces"}, {}))
    with pytest.raises(UserError, match=r"the recipe faces, which is for dygraph_celeba/generate\.py"):
        generate.load(run)
