"""The packed array: the same pixels as cropping, rebuilt when the source changes, never half there."""

import json
import os
import pickle
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from common.crop import Box, crop
from common.errors import UserError
from common.pictures import packed, sources
from common.pictures.packed import PackedPictures, default_cache, open_packed
from common.pictures.picture import read_image
from tests.helpers import jpeg

ROOT = Path(__file__).resolve().parents[3]


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


@pytest.mark.parametrize("header", ["{'descr': '|u1', 'fortran_order': False, 'shape': (3,", "{[]: 1}",
                                    "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 9)}"])
def test_a_damaged_header_is_one_line(folder, header):
    path = open_packed(folder, progress=False).path
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(UserError, match="cannot read the packed pictures"):
        PackedPictures(path)


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


def test_errors_of_the_user(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for source, cache, match in ((tmp_path / "nowhere", None, "no such folder"), (folder, tmp_path / "c.bin", ".npy"),
                                 (folder, tmp_path / "file" / "c.npy", "cannot write"),
                                 (tmp_path / "no.npy", None, "there is no")):
        with pytest.raises(UserError, match=match):
            open_packed(source, cache, progress=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="MB are free"):
        open_packed(folder, progress=False)


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
