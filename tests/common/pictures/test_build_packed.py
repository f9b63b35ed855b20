"""Building the packed array: bad pictures are left out and named, and nothing half is left behind."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from common.crop import Box, crop
from common.errors import ROOT, UserError
from common.pictures import build_packed, picture, sources
from common.pictures.packed import open_packed
from common.pictures.picture import Unread, read_image
from tests.common.pictures.test_packed import expected
from tests.helpers import jpeg


def test_bad_pictures_are_left_out_and_reported(folder, tmp_path, capsys):
    (folder / "000000.jpg").write_bytes(jpeg(0)[:300])
    (folder / "000004.jpg").write_bytes(b"text")
    (folder / "000008.jpg").mkdir()
    pictures = open_packed(folder, tmp_path / "c.npy", progress=False)
    assert np.array_equal(pictures.array, expected())
    assert pictures.names == ["000001.jpg", "000003.jpg", "000005.jpg", "000007.jpg"]
    assert [name for name, _ in pictures.failed] == ["000000.jpg", "000004.jpg", "000008.jpg"]
    assert "left out: 000004.jpg: not a picture" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.json", "c.npy", "faces", "home"]


def test_a_picture_that_could_not_be_read_is_told_of_as_soon_as_it_can_be(folder, monkeypatch, capsys):
    read = sources._Folder.read

    def failing(self, path, size=-1):
        if path.endswith("3.jpg") and size < 0:
            raise Unread(OSError(errno.EIO, "Input/output error"))
        return read(self, path, size)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(sources._Folder, "read", failing)
            packed_now = open_packed(folder, progress=False)
        assert packed_now.failed == [["000003.jpg", "it could not be read: Input/output error"]]
    told = capsys.readouterr().err
    assert told.count("left out") == 1 and "note: " not in told
    packed_now = open_packed(folder, progress=False)
    assert len(packed_now) == 3  # those that a run may have been trained on
    assert f"note: {packed_now.path} lacks pictures that could not be read" in capsys.readouterr().err
    packed_now.path.unlink()
    assert np.array_equal(open_packed(folder, progress=False).array, expected())


def test_too_little_memory_makes_no_picture_bad(folder, monkeypatch):
    def no_memory(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)
    monkeypatch.setattr(picture, "opencv_agrees", lambda: False)
    with pytest.raises(MemoryError):
        read_image((folder / "000003.jpg").read_bytes())


def test_pictures_that_the_box_does_not_fit_into_give_their_middle_square(tmp_path, capsys):
    """Anime faces and others are square; CelebA's shape keeps the tutorial's box."""
    (tmp_path / "in").mkdir()
    sizes = {"1.jpg": (178, 218), "2.jpg": (96, 96), "3.jpg": (150, 100), "4.jpg": (64, 64)}
    for name, size in sizes.items():
        (tmp_path / "in" / name).write_bytes(jpeg(1, *size))
    for fast in (False, True):
        pictures = open_packed(tmp_path / "in", fast=fast, progress=False)
        assert pictures.failed == [] and len(pictures) == 4
        assert "middle square is taken: 2 of 4 pictures" in capsys.readouterr().err
    exact = open_packed(tmp_path / "in", progress=False)
    assert np.array_equal(exact[0], crop(read_image(jpeg(1)), Box()))
    assert np.array_equal(exact[1], read_image(jpeg(1, 96, 96)).resize((64, 64), Image.BILINEAR))
    scaled = read_image(jpeg(1, 150, 100)).resize((96, 64), Image.BILINEAR)
    assert np.array_equal(exact[2], scaled.crop((16, 0, 80, 64)))


def test_control_characters_in_names_do_not_reach_the_terminal(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as stream:
        stream.writestr("1.jpg", jpeg(1))
        stream.writestr("\x1b]0;title\x07.jpg", jpeg(2))
    open_packed(tmp_path / "a.zip", progress=False)
    assert r"left out: \x1b]0;title\x07.jpg: unsafe name" in capsys.readouterr().err


def test_deep_faces_have_one_range(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for number, value in enumerate((300, 4000)):
        Image.fromarray(np.full((64, 64), value, np.uint16)).save(tmp_path / "in" / f"{number}.png")
    assert open_packed(tmp_path / "in", progress=False)[:, 0, 0, 0].tolist() == [300 >> 4, 4000 >> 4]
    assert "4095 white" in capsys.readouterr().err


def test_no_good_picture_at_all(folder, tmp_path):
    for each in folder.iterdir():
        each.write_bytes(b"text")
    with pytest.raises(UserError, match="no picture in .* can be used.*not a picture"):
        open_packed(folder, tmp_path / "c.npy", progress=False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["faces", "home"]


def test_room_for_the_array_without_bad_pictures(folder, tmp_path, monkeypatch):
    (folder / "000000.jpg").write_bytes(b"no picture")
    needed = build_packed.array_bytes(len(list(folder.iterdir())))
    free = iter([needed, needed // 2])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": next(free)}))
    with pytest.raises(UserError, match="the array without the pictures that cannot be used needs .* MB are free"):
        open_packed(folder, tmp_path / "c.npy", progress=False)
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == []


KILLED = """
import os, signal, sys
from common.pictures import build_packed, packed
crop, done = build_packed.crop, iter(range(99))

def until_the_hundredth(*args):
    if next(done, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return crop(*args)

build_packed.crop = until_the_hundredth
packed.open_packed(sys.argv[1], sys.argv[2])
"""


def test_a_killed_build_leaves_nothing_half_and_its_remains_are_removed(tmp_path):
    folder, cache = tmp_path / "in", tmp_path / "c.npy"
    folder.mkdir()
    data = jpeg(1)
    for number in range(200):
        (folder / f"{number:06}.jpg").write_bytes(data)
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, cache], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    remains = list(tmp_path.glob(".c.*.npy"))
    assert remains and not cache.exists() and not cache.with_suffix(".json").exists()
    os.utime(remains[0], (1, 1))
    for each in list(folder.iterdir())[5:]:
        each.unlink()
    assert len(open_packed(folder, cache, progress=False)) == 5
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.json", "c.npy", "home", "in"]


def test_the_json_says_what_it_is(folder):
    about = json.loads(open_packed(folder, progress=False).path.with_suffix(".json").read_text())
    assert about["version"] == 1 and about["box"] == [0, 10, 64, 74] and about["fast"] is False
