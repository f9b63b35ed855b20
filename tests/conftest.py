"""Paddle is prepared once for all tests, as the commands prepare it: with its threads and quietly."""

import os
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.backend import runtime
from tests import helpers

if "PYTEST_XDIST_WORKER" in os.environ:  # threads that wait give their core to the tests of the other process
    os.environ.setdefault("KMP_BLOCKTIME", "0")
runtime.prepare()
LONGEST = {"test_notebooks", "test_parallel", "test_benchmark", "test_traces"}
# With each operator of a program Paddle keeps the whole Python stack: under pytest half of the time of building one
stack = traceback.extract_stack


def no_stack(f=None, limit=None):
    """`traceback.extract_stack`, but empty unless a limit is set, as by matplotlib's parser of formulas."""
    return stack(f or sys._getframe(1), limit) if limit else traceback.StackSummary()


traceback.extract_stack = no_stack


@pytest.fixture(scope="session", autouse=True)
def users_home(tmp_path_factory):
    """No test sees the user's data or leaves any in the home folder; compiled operators are the user's, once made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser()))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


def pytest_collection_modifyitems(items):
    """The files that take longest go first: one that is left for the end would keep one process alone."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """A test asks whether a file is whole, not whether it outlasts a power failure; a sync takes 20 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture(autouse=True)
def dynamic_mode_after_all():
    """A test that builds programs leaves Paddle in its default mode."""
    yield
    import paddle

    paddle.disable_static()


@pytest.fixture(scope="module")
def narrow():
    """The book's networks have few channels from here to the end of the module."""
    with helpers.narrowed():
        yield


@pytest.fixture(scope="module")
def narrow_faces():
    """The faces' networks have few channels from here to the end of the module."""
    with helpers.narrowed_faces():
        yield


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory):
    """A data set of one's own: a folder with sub-folders of 4×8 pictures of three classes."""
    data = tmp_path_factory.mktemp("classes") / "data"
    random = np.random.RandomState(0)
    for number, name in enumerate(["bag", "sneaker", "8"] * 2):
        path = data / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.randint(0, 256, [4, 8]).astype("uint8")).save(path)
    return data


# Tiny trained runs, one of each kind, for what looks at runs; to be read only


@pytest.fixture(scope="session")
def trained_book(tmp_path_factory):
    """See `book_run`."""
    from static_mnist import train

    run = tmp_path_factory.mktemp("book") / "run"
    with helpers.narrowed():
        train.main(["--dataset", "digits", "--batch_size", "900", "--epoch", "2", "--output", str(run)])
    return run


@pytest.fixture(scope="module")
def book_run(trained_book, narrow):
    """The book's recipe with narrow networks on the embedded digits: two epochs of one step, two checkpoints."""
    return trained_book


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A conditional GAN of the embedded digits, one step old."""
    return helpers.one_step("cgan", tmp_path_factory.mktemp("cgan") / "run")


@pytest.fixture(scope="session")
def folder_run(class_folders):
    """A conditional GAN of 4×8 pictures of three classes, two steps old."""
    from static_mnist import train

    run = class_folders.with_name("run")
    train.main(["--recipe", "cgan", "--dataset", str(class_folders), "--batch_size", "3", "--max_steps", "2",
                "--output", str(run)])
    return run


@pytest.fixture(scope="session")
def trained_faces(tmp_path_factory):
    """See `faces_run`."""
    from dygraph_celeba import train

    folder = tmp_path_factory.mktemp("faces")
    with helpers.narrowed_faces():
        train.main(["--data_dir", str(helpers.faces(folder / "imgs", 200)), "--batch_size", "4", "--max_steps", "1",
                    "--output", str(folder / "run")])
    return folder / "run"


@pytest.fixture(scope="module")
def faces_run(trained_faces, narrow_faces):
    """The faces' recipe with narrow networks on 200 pictures of noise, one step old."""
    return trained_faces
