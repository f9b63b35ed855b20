"""tools/export.py: the exported generators draw the project's own pictures, in batches of any size."""

import ctypes
import importlib.util
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from common import export, load
from common.backend import compat, runtime
from common.errors import ROOT, UserError
from common.gan import GAN
from static_mnist.note6 import Note6GAN
from tests.helpers import caller
from tools import export as command

FORMATS = ["paddle", pytest.param("onnx", marks=pytest.mark.skipif(
    not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")),
    reason="the packages onnx and onnxruntime are not installed"))]


@pytest.fixture
def call(capfd):
    return caller(command.main, capfd)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("run", "shape"), [("book_run", (28, 28, 1)), ("folder_run", (4, 8, 1)),
                                            ("faces_run", (64, 64, 3))])
def test_the_printed_example_draws_our_pictures(request, tmp_path, call, run, shape, kind):
    run = request.getfixturevalue(run)
    paddle.disable_static()
    code, out, err = call("--run", run, "--format", kind, "--output", tmp_path / "out")
    assert (code, err) == (0, "") and paddle.in_dynamic_mode()
    told, program = out.split("\nTo draw from it:\n\n")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(files) == (1 if kind == "onnx" else 2) and all(name in told for name in files)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len([line for line in program.splitlines() if line and not line.startswith("#")]) <= 10
    gan = load(run, fix=None)
    for count in (64, 5):
        names = {}
        exec(program.replace(", 64\n", f", {count}\n"), names)
        assert names["images"].shape == (count, *shape) and names["images"].dtype == np.float32
        expected = gan.sample(names["noise"])
        np.testing.assert_allclose(names["images"].reshape(expected.shape), expected, atol=export.MOST)
    assert np.ptp(names["images"]) > 0


@pytest.mark.parametrize("page", ["commands.md", "commands.zh-CN.md"])
def test_the_pages_have_the_examples(page, book_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("exported").mkdir()
    Path("exported/generator.json").touch()  # as Paddle 3 calls it
    text, gan = (ROOT / "docs" / page).read_text(encoding="utf-8"), load(book_run)
    for kind, folder in (("paddle", "exported"), ("onnx", "exported_onnx")):
        assert f"```python\n{export.example(gan, kind, Path(folder), (28, 28, 1))}\n```" in text


@pytest.mark.parametrize("kind", FORMATS)
def test_note_6(tmp_path, kind):
    with compat.static_mode():
        gan = Note6GAN(paddle.CPUPlace(), fix=["bn_activation"], follow="repository")
    assert export.export(gan, kind, tmp_path / "out")[1] <= export.MOST
    program = export.example(gan, kind, tmp_path / "out", (28, 28, 1))
    names = {}
    exec(program, names)
    np.testing.assert_array_equal(names["noise"], gan.noise(64, np.random.RandomState(1)))


def test_noise_is_drawn_as_in_training(book_run, faces_run, folder_run):
    for run in (book_run, faces_run, folder_run):
        gan = load(run)
        drawn = eval(gan.noise_code(), {"np": np, "n": 6, "random": np.random.RandomState(2)}).astype("float32")
        random = np.random.RandomState(2)
        np.testing.assert_array_equal(drawn, gan.joined(np.eye(3)[[0, 1, 2] * 2], random) if gan.classes
                                      else gan.noise(6, random))


@pytest.mark.parametrize("kind", FORMATS)
def test_other_pictures_leave_nothing(tmp_path, folder_run, kind, monkeypatch):
    monkeypatch.setattr(export, "MOST", 0.0)
    with pytest.raises(UserError, match="differ by .* nothing is kept"):
        export.export(load(folder_run), kind, tmp_path / "out")  # with the dropout that is not exported
    assert not list(tmp_path.iterdir())


def test_nan_in_one_batch_is_a_difference():
    class Zeros(GAN):
        def noise(self, count, random):
            return np.zeros([count, 4], "float32")

        def sample(self, noise):
            return np.zeros([len(noise), 2, 2], "float32")

    for bad in export.COUNTS:
        assert np.isnan(export.compare(Zeros(), lambda noise, bad=bad: np.full(
            [len(noise), 2, 2, 1], np.nan if len(noise) == bad else 0.0)))


def test_refusals(tmp_path, call, folder_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for args, words in ((["--run", folder_run, "--format", "onnx"], "pip install onnx onnxruntime"),
                        ([], "name either --run DIR or --pretrained"),
                        (["--run", folder_run, "--pretrained", "x"], "name either --run DIR or --pretrained"),
                        (["--pretrained", "x"], "no pretrained generator 'x'"),
                        (["--run", tmp_path], "there is no run in"),
                        (["--run", folder_run, "--output", folder_run], "is not empty")):
        code, _, err = call("--output", tmp_path / "out", *args)
        assert (code, err.count("\n")) == (2, 1) and words in err, err
    assert not list(tmp_path.iterdir())


def test_the_check_leaves_the_number_of_threads(book_run, tmp_path, call, monkeypatch):
    """Paddle Inference's predictor sets the process to one thread; then all that follows would round differently."""
    libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libiomp5" in line}
    [library] = map(ctypes.CDLL, libraries)
    before = runtime.threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    try:
        paddle.base.core.set_num_threads(3)
        assert call("--run", book_run, "--output", tmp_path / "out")[0] == 0
        assert library.omp_get_max_threads() == 3
    finally:
        paddle.base.core.set_num_threads(before)
