"""One way to load, draw and show for all tutorials; Paddle's mode is the user's own."""

import functools
import subprocess
import sys

import numpy as np
import paddle
import pytest
from PIL import Image

from common import load, show
from common.errors import ROOT, UserError
from common.generator import make, read_run
from dygraph_celeba import generate as faces_generate
from static_mnist import generate as static_generate

KINDS = {"book_run": (static_generate, (28, 28, 1)), "folder_run": (static_generate, (4, 8, 1)),
         "faces_run": (faces_generate, (64, 64, 3))}


@pytest.fixture(params=[True, False], ids=["dynamic", "static"])
def dynamic(request):
    """Paddle is in this mode before and after the test."""
    (paddle.disable_static if request.param else paddle.enable_static)()
    yield request.param
    assert paddle.in_dynamic_mode() == request.param
    if request.param:
        assert paddle.ones([3]).numpy().sum() == 3
    paddle.enable_static()  # and it can still be changed
    assert not paddle.in_dynamic_mode()
    paddle.disable_static()
    assert paddle.in_dynamic_mode()


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_those_of_the_command(request, kind, tmp_path):
    run = request.getfixturevalue(kind)
    command, shape = KINDS[kind]
    gan = load(run)
    for way, draw in (([], gan.generate), (["--interpolate"], gan.interpolate)):
        count = ["--rows" if gan.classes else "--count", "2", *(["--cols", "10"] if gan.classes and not way else [])]
        command.main(["--run", str(run), *count, "--seed", "3", *way, "--output", str(tmp_path / f"{way}")])
        expected = np.load(tmp_path / f"{way}" / "generated.npy")
        found = gan.generate_new("all", 2, 10, seed=3) if gan.classes and not way else draw(count=2, seed=3)
        assert (found.dtype, found.shape) == (np.float32, (len(expected), *shape))
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)
        first = draw(5)
        assert first.shape[1:] == shape and np.abs(first).max() <= 1
        np.testing.assert_array_equal(first, draw(5, seed=1))
        assert not np.array_equal(first, draw(5, seed=2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_picture_waits_for_no_compiler(request, kind, tmp_path, monkeypatch):
    from common.backend import fast

    run = request.getfixturevalue(kind)
    expected = load(run).generate(2)
    if available := fast.working():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # as after the installation
        monkeypatch.setattr(fast, "available", functools.cache(lambda: pytest.fail("a compiler is called")))
    found = load(run).generate(2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert fast._off is False and not list(tmp_path.iterdir())
    if available:
        with pytest.raises(pytest.fail.Exception, match="a compiler is called"):
            make(*read_run(run)).generate(2)  # of thousands of pictures, as evaluate.py draws them


def test_all_kinds_in_one_process_by_turns(request, dynamic):
    runs = {kind: request.getfixturevalue(kind) for kind in KINDS}
    (paddle.disable_static if dynamic else paddle.enable_static)()  # the runs have been trained only now
    gans = {kind: load(run) for kind, run in runs.items()}
    first = {kind: (gan.generate(3), gan.interpolate(1)) for kind, gan in gans.items()}
    for kind, gan in reversed(gans.items()):
        np.testing.assert_array_equal(gan.generate(3), first[kind][0])
        np.testing.assert_array_equal(gan.interpolate(1), first[kind][1])
        assert paddle.in_dynamic_mode() == dynamic


def test_the_users_random_numbers_go_on(book_run):
    paddle.disable_static()
    paddle.seed(5)
    expected = paddle.rand([4]).numpy()
    paddle.seed(5)
    load(book_run)
    np.testing.assert_array_equal(paddle.rand([4]).numpy(), expected)


def test_a_new_thread_finds_the_users_mode(book_run, dynamic):
    from concurrent.futures import ThreadPoolExecutor

    (paddle.disable_static if dynamic else paddle.enable_static)()
    with ThreadPoolExecutor(1) as thread:
        gan = thread.submit(load, book_run).result()  # loads in a thread whose own mode is not the main thread's
        np.testing.assert_array_equal(thread.submit(gan.generate, 2).result(), gan.generate(2))
        assert thread.submit(paddle.in_dynamic_mode).result() == dynamic


def test_classes(folder_run):
    gan = load(folder_run)
    assert gan.classes == ("8", "bag", "sneaker")
    bags = gan.generate(4, classes="bag")
    np.testing.assert_array_equal(bags, gan.generate(4, classes=1))
    np.testing.assert_array_equal(bags[:2], gan.generate(2, classes="bag"))  # statistics are of a whole batch
    mixed = gan.generate(5, classes=["sneaker", "8"])
    labels = np.resize([2, 0], 256)
    np.testing.assert_array_equal(mixed, gan.new_pictures(256, np.random.RandomState(1), labels)[0][:5])
    np.testing.assert_array_equal(gan.generate(7), gan.generate(7, classes="all"))
    assert not np.array_equal(gan.interpolate(2), gan.interpolate(2, classes=["8", "8"]))
    with pytest.raises(UserError, match="there is no class 'boot'"):
        gan.generate(classes="boot")


def test_refusals(book_run, tmp_path):
    with pytest.raises(UserError, match="there is no run in"):
        load(tmp_path)
    with pytest.raises(UserError, match="conditional GANs"):
        load(book_run).generate(classes="8")
    with pytest.raises(UserError, match="an empty name"):
        load("")
    with pytest.raises(UserError, match="--fix dropout: "):
        load(book_run, fix="dropout")


@pytest.mark.parametrize(("wrong", "message"), [
    ({"count": 0}, "count 0 is not a whole number from 1"), ({"count": 2.5}, "count 2.5 is"),
    ({"count": 10 ** 13}, "not enough memory"), ({"seed": -1}, "seed -1 is not a whole number from 0 to 4294967295"),
    ({"seed": 2 ** 32}, "seed 4294967296 is"), ({"seed": 1.5}, "seed 1.5 is"), ({"seed": None}, "seed None is")])
def test_numbers_that_cannot_be_drawn_with(book_run, folder_run, wrong, message):
    for run in book_run, folder_run:
        gan = load(run)
        for draw in gan.generate, gan.interpolate:
            with pytest.raises(UserError, match=message):
                draw(**wrong)
    if "seed" in wrong:
        with pytest.raises(UserError, match=message):
            gan.generate_new("bag", **wrong)
    with pytest.raises(UserError, match="no class is named"):
        gan.generate(2, classes=[])
    np.testing.assert_array_equal(gan.generate(np.int64(2), np.uint32(3)), gan.generate(2, 3))


def test_show(tmp_path):
    pictures = np.random.RandomState(0).uniform(-1, 1, [6, 4, 5, 1]).astype("float32")
    image = show(pictures, tmp_path / "grid.png", columns=2)
    assert image.width % (2 * 6) == image.height % (3 * 5) == 0 and image.mode == "L"
    with Image.open(tmp_path / "grid.png") as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(image))
    assert show(pictures, columns=2, labels=np.arange(2)).height > image.height
    assert show(pictures[..., 0]).size == show(np.repeat(pictures, 3, axis=3)).size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png"]


PICTURES = np.zeros([4, 5, 6, 3], "float32")


def test_show_takes_one_picture():
    for picture in PICTURES[0], PICTURES[0, ..., :1], PICTURES[0, ..., 0]:
        assert show(picture).size == show(PICTURES[:1]).size


@pytest.mark.parametrize(("images", "more", "message"), [
    (PICTURES[:0], {}, "holds no pictures"), (np.zeros([2, 3, 8, 8], "float32"), {}, "holds no pictures"),
    (PICTURES.astype("uint8"), {}, "type uint8"), (PICTURES * np.nan, {}, "from nan to nan"),
    (PICTURES + 255, {}, "from 255 to 255"), ([PICTURES[0], PICTURES[0, 1:]], {}, "several sizes"),
    (PICTURES, {"columns": 0}, "columns 0 is not"), (PICTURES, {"columns": 2, "labels": ["a"]}, "1 labels do not fit"),
    (PICTURES, {"file": "x"}, "ends in .png"), (PICTURES, {"file": "x.npy"}, "ends in .png"),
    (PICTURES, {"file": "."}, "is a folder"), (PICTURES, {"file": "a.txt"}, "has no suffix of a picture"),
    (PICTURES, {"file": "a.xbm"}, "has no suffix of a picture")])
def test_show_refuses(images, more, message):
    with pytest.raises(UserError, match=message):
        show(images, **more)


def test_the_package_alone_imports_nothing_slow_and_never_pyplot(tmp_path):
    """In a notebook pyplot shows figures by its own backend: nothing here may choose another."""
    code = ("import sys, common; slow = {'paddle', 'matplotlib', 'numpy'}; assert not slow & set(sys.modules)\n"
            "import matplotlib; matplotlib.use('svg')\n"
            "from common import plotting, show; show([[[0.5]]])\n"
            "plotting.save_losses(sys.argv[1], {'D': [1, 2]}, 'title')\n"
            "assert 'matplotlib.pyplot' not in sys.modules and matplotlib.get_backend() == 'svg'")
    subprocess.run([sys.executable, "-c", code, tmp_path / "losses.png"], cwd=ROOT, check=True)
    assert (tmp_path / "losses.png").exists()


def test_programs_for_earlier_versions_find_what_they_import(book_run):
    from common import folders
    from common.data import folders as moved
    from static_mnist.generate import load as earlier

    assert folders is moved
    images = [load_(book_run).generate(4, seed=3) for load_ in (earlier, load)]
    np.testing.assert_array_equal(*images)
