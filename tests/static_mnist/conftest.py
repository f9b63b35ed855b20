"""The book's networks; a run of it with narrow ones, and its command in this process."""

import contextlib
import io
import shutil

import paddle
import pytest

from common.training import progress
from static_mnist import book, train
from tests.helpers import caller, narrowed
from tests.static_mnist.narrow_runs import Folder


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="session")
def reference(place):
    """A run that was never stopped, to be read only; what it printed, on stdout and on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with narrowed(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), \
            pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "EVERY", 20)  # batches between two lines of progress; there are only 26
        train.main(list(map(str, place.training(place.path / "reference"))))
    return place.path / "reference", out.getvalue(), err.getvalue()


@pytest.fixture
def run(reference, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(reference[0], tmp_path / "run")


@pytest.fixture
def call(narrow, capfd):
    """The narrow command in this process: exit code, stdout, stderr."""
    return caller(train.main, capfd)


@pytest.fixture
def refused(call):
    """Calls the command and wants it to refuse in one line that has all of ``words``."""

    def refused(*args, words):
        code, out, err = call(*args)
        # A machine without a compiler has a line about that, too.
        lines = [line for line in err.splitlines() if "fast CPU operators" not in line]
        assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
        assert lines[0].startswith("error: ")
        assert all(word in lines[0] for word in words), lines[0]

    return refused


@pytest.fixture(scope="module")
def built():
    """The book's full networks with independent initial values, and their first state."""
    gan = book.BookGAN(paddle.CPUPlace(), seed=3)
    return gan, gan.state()


@pytest.fixture
def small(monkeypatch):
    """The book's networks with few channels, to be built in a moment."""
    for name, value in {"gf_dim": 4, "df_dim": 4, "gfc_dim": 16, "dfc_dim": 16}.items():
        monkeypatch.setattr(book, name, value)
    return lambda *args, **kwargs: book.BookGAN(paddle.CPUPlace(), *args, **kwargs)
