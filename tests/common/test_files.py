"""A file is whole or as it was before."""

import contextlib
import errno
import json
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import (
    cache_folder,
    checksum,
    compiled_folder,
    expanded,
    numbered,
    refuse_other,
    replacing,
    write_json,
)


def test_a_pipe_is_not_written_over(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is a pipe or device, not a file"), replacing(tmp_path / "pipe"):
        raise AssertionError("it was begun")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_a_link_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for path in tmp_path / "a", tmp_path / "a" / "file":
        with pytest.raises(UserError, match="leads back to itself"):
            expanded(path)


def test_only_an_earlier_file_of_the_kind_is_written_over(tmp_path):
    file = tmp_path / "file"
    refuse_other(file, b"mark", "report")
    for text in ("", "other", "x" * 70000 + "mark"):
        file.write_text(text)
        with pytest.raises(UserError, match="file is there and is no report; choose another --output"):
            refuse_other(file, b"mark", "report")
    file.write_text("a mark")
    refuse_other(file, b"mark", "report")
    for path, words in ((tmp_path, "is a folder"), (file / "x", "file is no folder")):
        with pytest.raises(UserError, match=words):
            refuse_other(path, b"mark", "report")


def test_the_file_appears_whole_at_the_end(tmp_path):
    path = tmp_path / "new" / "picture.png"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"  # writers choose the format by it
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with replacing(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file"):
            pass
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_threads_that_write_at_the_same_time_keep_the_umask(tmp_path, monkeypatch):
    """Reading the umask sets it for a moment: while one thread does, another must not find that value."""
    real, together, before = os.umask, threading.Barrier(2, timeout=0.2), os.umask(0o027)

    def slow(mask):
        found = real(mask)
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()  # for the other thread, which the lock keeps away
        return found

    def write(name):
        with replacing(tmp_path / name):
            pass

    monkeypatch.setattr(os, "umask", slow)
    try:
        threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert real(0o027) == 0o027
    finally:
        real(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_what_is_compiled_lies_where_no_other_user_could_have_put_it(tmp_path, monkeypatch):
    """It is run. A relative name would depend on the folder that one stands in."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert compiled_folder() == tmp_path / "home/.cache/paddle_gan_tutorials"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    own = tmp_path / "shared/paddle_gan_tutorials"
    assert compiled_folder() == own
    own.mkdir(parents=True)
    assert compiled_folder() == own
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own.chmod(0o777)
    private = tmp_path / f"paddle-gan-{os.getuid()}"
    assert compiled_folder() == private / "paddle_gan_tutorials" and stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_path_under_a_file_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*choose another place"), replacing(tmp_path / "file" / "x"):
        pass


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left on device; free some space"), replacing(tmp_path / "x") as aside:
        aside.write_text("much")
    assert list(tmp_path.iterdir()) == []


def test_files_of_batches_come_in_order_of_training(tmp_path):
    for name in ("0000_10099.png", "0000_1099.png", "0012_0000.png", "0002_0000.png", "2024_05_b.png", "0000_0000.jpg"):
        (tmp_path / name).touch()
    assert numbered(tmp_path, ".png") == [(tmp_path / f"{epoch:04d}_{batch:04d}.png", epoch, batch)
                                          for epoch, batch in ((0, 1099), (0, 10099), (2, 0), (12, 0))]


def test_checksum(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert checksum(tmp_path / "x") == "900150983cd24fb0d6963f7d28e17f72"
    assert checksum(tmp_path / "x", "sha1") == "a9993e364706816aba3e25717850c26c9cd0d89d"


# ---- what users have


def test_an_empty_name_is_refused():
    with pytest.raises(UserError, match="empty name"):
        expanded("")


@pytest.mark.parametrize("home", ["no home", "not writable", "a file"])
def test_without_a_home_folder_data_go_where_this_user_alone_can_write(tmp_path, monkeypatch, home):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    if home == "no home":
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    elif home == "a file":
        (tmp_path / "home").write_text("")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    else:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write everywhere
    folder = cache_folder("paddle/dataset/mnist")
    assert folder.parts[-3:] == ("paddle", "dataset", "mnist")
    base = tmp_path / "tmp" / f"paddle-gan-{os.getuid()}"
    assert folder.is_relative_to(base) and base.stat().st_mode & 0o777 == 0o700


def test_a_temporary_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"paddle-gan-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    folder = cache_folder("x")
    assert folder.is_relative_to(tmp_path) and not folder.is_relative_to(tmp_path / f"paddle-gan-{os.getuid()}")
    assert cache_folder("x") == folder  # it is used again


def test_with_a_home_folder_they_go_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("paddle/dataset/mnist") == tmp_path / ".cache/paddle/dataset/mnist"


def test_names_that_are_no_utf8_are_written_and_read_back(tmp_path):
    for value in ({"a": "Pok\udce9mon", "b": "é"}, {"b": "é"}):
        write_json(tmp_path / "a.json", value)
        assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value
    assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")
