"""The library of the fast operators is compiled once, for all clones and processes; without it Paddle does the work."""

import functools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.backend import runtime

runtime.prepare()

import numpy as np  # noqa: E402
import paddle  # noqa: E402
import pytest  # noqa: E402

from common.backend import compat, fast  # noqa: E402
from tests.common.backend.test_fast import called, needs_operators, plain  # noqa: E402

# Stands in for the compiler, notes that it was called, and leaves what LIBRARY names
COMPILER = """#!/bin/sh
echo once >> "$0.calls"
sleep 0.3
while [ "$1" != "-o" ]; do shift; done
cp "$LIBRARY" "$2"
"""


@pytest.fixture
def good():
    """The library that these tests use."""
    return fast._build()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """No library in the cache, and operators that are not loaded yet; a function that puts a compiler into the path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fast, "available", functools.cache(fast.available.__wrapped__))

    def compiler(script):
        path = tmp_path / "bin" / "g++"
        path.parent.mkdir()
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        return lambda: len(Path(f"{path}.calls").read_text().splitlines())

    return compiler


@pytest.mark.parametrize(("script", "reason"), [
    (None, "no C++ compiler"),
    ("#!/bin/sh\necho 'error: this compiler is broken' >&2\nexit 1\n", "this compiler is broken"),
    pytest.param(COMPILER, "file too short", marks=needs_operators, id="a library that does not load")])
def test_without_operators_paddle_does_the_work_and_one_line_says_why(empty_cache, tmp_path, monkeypatch, capfd, script,
                                                                      reason):
    (tmp_path / "rubbish").write_text("rubbish")
    monkeypatch.setenv("LIBRARY", str(tmp_path / "rubbish"))
    if script:
        empty_cache(script)
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    names, layer, x = called(monkeypatch), fast.Conv2D(8, 16, 5), paddle.rand([6, 8, 12, 12])
    np.testing.assert_array_equal(layer(x).numpy(), plain(layer, x).numpy())
    fast.max_pool(x)
    assert names == []
    [line] = [line for line in capfd.readouterr().err.splitlines() if "are off" in line]
    assert reason in line


def test_a_cache_that_cannot_be_used_is_no_error(empty_cache, monkeypatch, capfd):
    """`compiled` is asked by commands that draw: they go on without the operators, as a training does."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/" + "x" * 300)
    assert not fast.compiled() and not fast.available()
    assert capfd.readouterr().err.count("are off") == 1


@needs_operators
def test_a_damaged_library_in_the_cache_is_built_anew(good, empty_cache, monkeypatch, capfd):
    calls, load = empty_cache(COMPILER), compat.load_operators
    library, _ = fast._library()
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.setenv("LIBRARY", str(good))
    # this process has the good library already, and Paddle 2.6 loads none twice
    monkeypatch.setattr(compat, "load_operators", lambda path: None if Path(path).stat().st_size else load(path))
    assert fast.available() and calls() == 1 and library.read_bytes() == good.read_bytes()
    assert capfd.readouterr().err.count("building") == 1


@needs_operators
def test_another_clone_of_the_same_source_builds_nothing(tmp_path, monkeypatch):
    library, command = fast._library()
    shutil.copytree(fast.SOURCES, tmp_path / "clone")
    monkeypatch.setattr(fast, "SOURCES", tmp_path / "clone")
    assert fast._library()[0] == library and fast._library()[1] != command
    (tmp_path / "clone" / "all.cc").write_text("// other source")
    assert fast._library()[0] != library


@needs_operators
def test_two_that_want_the_library_at_once_build_it_once(good, empty_cache, monkeypatch, capfd):
    """Threads here; the lock between them is the one between processes."""
    calls = empty_cache(COMPILER)
    monkeypatch.setenv("LIBRARY", str(good))
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: fast._build(), range(2))
    assert one == other and one.read_bytes() == good.read_bytes() and calls() == 1
    assert capfd.readouterr().err.count("building") == 1
