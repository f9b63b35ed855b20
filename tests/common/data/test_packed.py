"""The packed array: the same pixels as cropping, rebuilt when the source changes, never half there."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from common.crop import Box, crop
from common.data import packed, picture, sources
from common.data.packed import PackedPictures, default_cache, open_packed
from common.data.picture import Unread, read_image
from common.errors import UserError
from tests.helpers import jpeg

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "faces"
    path.mkdir()
    for number in (3, 1, 7, 5):
        (path / f"{number:06}.jpg").write_bytes(jpeg(number))
    return path


def archive(path, folder):
    with zipfile.ZipFile(path, "w") as stream:
        for each in sorted(folder.iterdir(), reverse=True):
            stream.write(each, f"img_align_celeba/{each.name}")
    return path


def expected(y=10):
    return np.array([crop(read_image(jpeg(number)), Box(y=y)) for number in (1, 3, 5, 7)])


@pytest.mark.parametrize("y", [10, 0, 20])
def test_packed_is_cropped_from_memory_in_the_order_of_the_names(folder, y):
    pictures = open_packed(folder, box=Box(y=y), progress=False)
    assert pictures.names == ["000001.jpg", "000003.jpg", "000005.jpg", "000007.jpg"]
    assert np.array_equal(pictures.array, expected(y))
    assert isinstance(pictures.array, np.memmap) and pictures.array.dtype == np.uint8
    assert (len(pictures), pictures.source, pictures.failed) == (4, folder.resolve(), [])


def test_an_archive_gives_the_same_array(folder, tmp_path):
    path = archive(tmp_path / "a.zip", folder)
    assert np.array_equal(open_packed(path, progress=False).array, expected())


def test_cropped_pictures_go_in_as_they_are(tmp_path, capsys):
    folder = tmp_path / "imgs"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(jpeg(1, 64, 64))
    pictures = open_packed(folder)
    assert np.array_equal(pictures.array[0], Image.open(folder / "1.jpg"))
    assert "cropping" not in capsys.readouterr().err


def test_cropping_on_the_way_is_announced(folder, capsys):
    open_packed(folder)
    assert "cropping to (0, 10)-(64, 74)" in capsys.readouterr().err


def test_indices_give_arrays_in_memory(folder):
    pictures = open_packed(folder, progress=False)
    for indices, shape in (([2, 0], (2, 64, 64, 3)), (np.array([1]), (1, 64, 64, 3)), (slice(1, 3), (2, 64, 64, 3)),
                           (3, (64, 64, 3))):
        batch = pictures[indices]
        assert type(batch) is np.ndarray and batch.flags.owndata
        assert batch.shape == shape and np.array_equal(batch, expected()[indices])


def test_pickling_takes_the_path_along_not_the_array(folder):
    pictures = open_packed(folder, progress=False)
    data = pickle.dumps(pictures)
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data).array, pictures.array)


def test_the_npy_itself_can_be_opened_without_its_source(folder, tmp_path):
    checksum = open_packed(folder, tmp_path / "f.npy", progress=False).checksum
    for each in folder.iterdir():
        each.unlink()
    pictures = open_packed(tmp_path / "f.npy")
    assert pictures.checksum == checksum and np.array_equal(pictures.array, expected())


# ---- when it is built


def built(monkeypatch):
    """A list that grows with each build."""
    builds, build = [], packed.build
    monkeypatch.setattr(packed, "build", lambda *args: (builds.append(1), build(*args)))
    return builds


def test_it_is_built_once(folder, monkeypatch):
    builds = built(monkeypatch)
    first, second = (open_packed(folder, progress=False) for _ in range(2))
    assert len(builds) == 1 and first.checksum == second.checksum


def test_two_processes_do_not_pack_the_same_pictures(folder, tmp_path, monkeypatch, capsys):
    """The second waits for the first and takes its array."""
    builds, build, found, waiting = built(monkeypatch), packed.build, [], threading.Event()

    class Lock(FileLock):
        def acquire(self, timeout=None, **more):
            if timeout == -1:
                waiting.set()
            return super().acquire(timeout, **more)

    def second():
        found.append(open_packed(folder, progress=False))

    def while_another_waits(*args):
        other.start()
        assert waiting.wait(60)
        build(*args)

    other = threading.Thread(target=second)
    monkeypatch.setattr(packed, "FileLock", Lock)
    monkeypatch.setattr(packed, "build", while_another_waits)
    first = open_packed(folder, progress=False)
    other.join()
    assert len(builds) == 1 and np.array_equal(found[0].array, first.array)
    assert "another process is packing" in capsys.readouterr().err


def test_where_no_lock_can_be_written_a_named_array_is_packed_all_the_same(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(packed, "cache_folder", lambda name: tmp_path / "file" / name)
    assert len(open_packed(folder, tmp_path / "c.npy", progress=False)) == 4


@pytest.mark.parametrize("change", ["another", "fewer", "time", "size", "name"])
def test_a_changed_listing_is_said_and_rebuilt(folder, monkeypatch, capsys, change):
    before = open_packed(folder, progress=False).checksum
    builds, path = built(monkeypatch), folder / "000005.jpg"
    if change == "another":
        (folder / "000009.jpg").write_bytes(jpeg(9))
    elif change == "fewer":
        path.unlink()
    elif change == "time":
        path.write_bytes(jpeg(5))
        os.utime(path, (1, 1))
    elif change == "size":
        path.write_bytes(jpeg(6) + b"\0")
    else:
        path.rename(folder / "000006.jpg")
    pictures = open_packed(folder, progress=False)
    assert len(builds) == 1 and pictures.checksum != before
    assert "has changed" in capsys.readouterr().err
    assert pictures.names == sorted(each.name for each in folder.iterdir())
    assert len(pictures.array) == len(pictures.names)


def test_a_changed_archive_is_rebuilt_though_names_sizes_and_times_are_the_same(folder, tmp_path, monkeypatch):
    open_packed(archive(tmp_path / "a.zip", folder), progress=False)
    path = folder / "000005.jpg"
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    builds = built(monkeypatch)
    open_packed(archive(tmp_path / "a.zip", folder), progress=False)
    assert builds


def test_another_box_or_way_is_another_array(folder):
    paths = {open_packed(folder, box=Box(y=y), fast=fast, progress=False).path
             for y in (10, 20) for fast in (False, True)}
    assert len(paths) == 4
    cache = folder.parent / "c.npy"
    checksums = {open_packed(folder, cache, Box(y=y), fast=fast, progress=False).checksum
                 for y in (10, 20) for fast in (False, True)}
    assert len(checksums) == 4
    assert np.array_equal(open_packed(folder, cache, progress=False).array, expected())


@pytest.mark.parametrize("damage", ["truncated array", "no json", "bad json", "wrong shape", "pickle"])
def test_a_damaged_cache_is_built_anew(folder, damage):
    path = open_packed(folder, progress=False).path
    if damage == "truncated array":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "no json":
        path.with_suffix(".json").unlink()
    elif damage == "bad json":
        path.with_suffix(".json").write_text("[1")
    elif damage == "wrong shape":
        np.save(path, np.zeros((3, 64, 64, 3), np.uint8))
    else:
        np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(UserError, match="there is no .*json; .*two files" if damage == "no json" else "built anew"):
        PackedPictures(path)
    with pytest.raises(UserError, match="there is no .*other.npy; "):
        PackedPictures(path.with_name("other.npy"))
    assert np.array_equal(open_packed(folder, progress=False).array, expected())


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


@pytest.mark.parametrize("header", ["{'descr': '|u1', 'fortran_order': False, 'shape': (3,", "{[]: 1}",
                                    "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 9)}"])
def test_a_damaged_header_is_one_line(folder, header):
    path = open_packed(folder, progress=False).path
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(UserError, match="cannot read the packed pictures"):
        PackedPictures(path)


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


def test_an_array_that_lacks_them_from_before_is_built_anew(folder, tmp_path):
    path = open_packed(folder, tmp_path / "c.npy", progress=False).path
    about = json.loads(path.with_suffix(".json").read_text())
    about["failed"] = [["9.jpg", "64×64 after scaling: the box from (0,10) to (64,74) does not fit"]]
    path.with_suffix(".json").write_text(json.dumps(about))
    assert open_packed(folder, tmp_path / "c.npy", progress=False).failed == []


def test_a_compressed_tar_archive_is_unpacked_once(folder, tmp_path, monkeypatch, capsys):
    path = shutil.make_archive(tmp_path / "a", "gztar", folder)
    assert np.array_equal(open_packed(path, progress=False).array, expected())
    assert "unpacking a.tar.gz" in capsys.readouterr().err
    builds = built(monkeypatch)
    assert np.array_equal(open_packed(path, progress=False).array, expected())
    assert builds == [] and capsys.readouterr().err == ""
    (folder / "000009.jpg").write_bytes(jpeg(9))
    shutil.make_archive(tmp_path / "a", "gztar", folder)
    assert len(open_packed(path, progress=False)) == 5


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


def test_errors_of_the_user(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for source, cache, match in ((tmp_path / "nowhere", None, "no such folder"), (folder, tmp_path / "c.bin", ".npy"),
                                 (folder, tmp_path / "file" / "c.npy", "cannot write"),
                                 (tmp_path / "no.npy", None, "there is no")):
        with pytest.raises(UserError, match=match):
            open_packed(source, cache, progress=False)
    monkeypatch.setattr(packed.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="MB are free"):
        open_packed(folder, progress=False)


def test_room_for_the_array_without_bad_pictures(folder, tmp_path, monkeypatch):
    (folder / "000000.jpg").write_bytes(b"no picture")
    needed = packed.array_bytes(len(list(folder.iterdir())))
    free = iter([needed, needed // 2])
    monkeypatch.setattr(packed.shutil, "disk_usage", lambda path: type("Usage", (), {"free": next(free)}))
    with pytest.raises(UserError, match="the array without the pictures that cannot be used needs .* MB are free"):
        open_packed(folder, tmp_path / "c.npy", progress=False)
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == []


def test_an_archive_that_cannot_be_unpacked_there(folder, tmp_path, monkeypatch):
    path = shutil.make_archive(tmp_path / "a", "gztar", folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sources, "cache_folder", lambda name: tmp_path / "file" / name)
    with pytest.raises(UserError, match="cannot unpack .*a.tar.gz into .*Not a directory; unpack it elsewhere"):
        open_packed(path, tmp_path / "c.npy", progress=False)


def test_it_goes_into_the_users_cache_and_never_beside_the_data(folder, tmp_path):
    before = sorted(tmp_path.iterdir())
    other = tmp_path / "more" / "faces"
    other.parent.mkdir()
    shutil.copytree(folder, other)
    paths = [open_packed(each, progress=False).path for each in (folder, other)]
    assert paths[0] != paths[1] and {path.parent for path in paths} == {tmp_path / "home/.cache/paddle/dataset/celeba"}
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "home", other.parent])


def test_an_array_beside_the_data_is_read_but_not_written_anew(folder, monkeypatch):
    """Earlier versions put it there."""
    old = packed.beside(folder)
    open_packed(folder, old, progress=False)
    assert open_packed(folder, progress=False).path == old
    before = old.read_bytes()
    (folder / "000009.jpg").write_bytes(jpeg(9))
    assert open_packed(folder, progress=False).path == default_cache(folder)
    assert old.read_bytes() == before


KILLED = """
import os, signal, sys
from common.data import packed
crop, done = packed.crop, iter(range(99))

def until_the_hundredth(*args):
    if next(done, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return crop(*args)

packed.crop = until_the_hundredth
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
