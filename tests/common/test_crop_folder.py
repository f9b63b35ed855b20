"""Cropping a folder: running again, boxes, names, and whole pictures whatever stops it."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from common import crop
from common.crop import Box
from common.errors import ROOT, UserError
from tests.common.test_crop import pixels, run
from tests.helpers import encoded, face


def test_a_second_run_skips_and_overwrite_does_not(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    (out / "000003.jpg").unlink()
    (out / "000004.jpg").write_bytes(b"")  # renamed, but lost in a power failure
    (out / "000005.jpg").write_bytes(b"left as it is")
    summary = run(folder, out)
    assert (summary.done, summary.skipped) == (2, 10)
    assert (out / "000004.jpg").stat().st_size and (out / "000005.jpg").read_bytes() == b"left as it is"
    assert run(folder, out, overwrite=True).done == 12
    assert pixels(out / "000005.jpg").shape == (64, 64, 3)


def test_two_processes_do_not_crop_into_one_folder(folder, tmp_path):
    out = tmp_path / "out"
    with FileLock(tmp_path / ".out.crop.lock"):
        for overwrite in False, True:
            with pytest.raises(UserError, match="another process is cropping into .*; wait for it, or choose another"):
                run(folder, out, overwrite=overwrite)
        assert list(out.iterdir()) == []
    assert run(folder, out).done == 12
    with FileLock(tmp_path / ".out.crop.lock", timeout=0):  # let go of
        pass


def test_a_picture_that_is_not_written_whole_is_not_kept(folder, tmp_path):
    """Else the next run would take it for done."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        summary = run(folder, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {reason for _, reason in summary.failed} == {"cannot be written: File too large"}
    assert list((tmp_path / "out").iterdir()) == []


def test_a_link_under_the_name_of_an_unfinished_picture_is_not_followed(folder, tmp_path):
    """In a shared folder another user could have put it there."""
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out" / ".000001.jpg.part").symlink_to(tmp_path / "mine")
    assert [name for name, _ in run(folder, tmp_path / "out").failed] == ["000001.jpg"]
    assert (tmp_path / "mine").read_text() == "mine"


def test_two_boxes_are_not_mixed(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    for options in {"box": Box(y=20)}, {"fast": True}:
        with pytest.raises(UserError, match="--overwrite"):
            run(folder, out, **options)
    run(folder, out, Box(y=20), overwrite=True)
    assert run(folder, out, Box(y=20)).skipped == 12
    assert json.loads((tmp_path / "out.crop.json").read_text())["y"] == 20


def test_overwrite_leaves_no_old_crop_of_a_picture_that_fails(folder, tmp_path):
    """Else a record of the new box would vouch for it."""
    out = tmp_path / "out"
    run(folder, out)
    for name in ("000001.jpg", "000002.jpg"):
        (folder / name).write_bytes(b"damaged")
    (out / "000002.jpg").unlink()
    (out / "000002.jpg").mkdir()
    (out / "000002.jpg" / "mine").touch()
    assert len(run(folder, out, Box(y=20), overwrite=True).failed) == 2
    assert sorted(path.name for path in out.iterdir()) == [f"{number:06}.jpg" for number in range(2, 13)]
    assert (out / "000002.jpg" / "mine").exists()
    assert len(run(folder, out, Box(y=20)).failed) == 2
    (folder / "000003.jpg").write_bytes(b"damaged")
    assert len(run(folder, out, Box(y=20), overwrite=True).failed) == 3
    assert (out / "000003.jpg").exists()  # of the same box, and perhaps the last copy


def test_pictures_that_stay_are_not_mixed_with_those_of_another_box(folder, tmp_path):
    out, more = tmp_path / "out", tmp_path / "more"
    run(folder, out)
    more.mkdir()
    shutil.copy(folder / "000001.jpg", more / "another.jpg")
    for overwrite in False, True:
        with pytest.raises(UserError, match="cropped otherwise"):
            run(more, out, Box(y=20), overwrite=overwrite)
    assert run(more, out).done == 1


def test_files_that_are_no_pictures_do_not_matter(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    for name in ("list.txt", ".DS_Store", "Thumbs.db", ".000001.jpg.part"):
        (out / name).write_text("x")
    assert run(folder, out, Box(y=20), overwrite=True).done == 12


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_uncropped_pictures_themselves_stay(folder, tmp_path, overwrite):
    """As where an archive has been unpacked beside itself."""
    archive = shutil.make_archive(tmp_path / "img", "zip", folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="holds pictures of 178×218 pixels that this command has not made"):
        run(Path(archive), folder, overwrite=overwrite)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not folder.with_name(f"{folder.name}.crop.json").exists()


def test_a_thin_picture_is_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("L", (1, 3_000_000)).save(tmp_path / "in" / "thin.png")
    summary = run(tmp_path / "in", tmp_path / "out")
    assert summary.failed == [("thin.png", "1×3000000 pixels: so thin that it has 64×192000000 after scaling")]


def test_an_overwriting_run_that_was_not_finished_must_be_overwritten(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(folder, out)

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(crop, "in_threads", interrupted)
        assert run(folder, out, Box(y=20), overwrite=True).left == 12
    with pytest.raises(UserError, match="not finished"):
        run(folder, out, Box(y=20))


def test_other_formats_become_png_and_keep_apart(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.bmp").write_bytes(encoded(face(), "BMP"))
    (source / "b.JPG").write_bytes(encoded(face()))
    (source / "c.png").write_bytes(encoded(face(), "PNG"))
    (source / "c.gif").write_bytes(encoded(face(), "GIF"))
    summary = run(source, tmp_path / "out")
    kinds = {each.name: Image.open(each).format for each in (tmp_path / "out").iterdir()}
    assert kinds == {"a.png": "PNG", "b.JPG": "JPEG", "c.png": "PNG", "c.gif.png": "PNG"}
    assert summary.failed == []


def test_a_full_disk_stops_the_run_at_once(folder, tmp_path, monkeypatch):
    import errno

    def full(self, target):
        if self.suffix == ".part":
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.rename(target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        run(folder, tmp_path / "out", threads=1)
    assert list((tmp_path / "out").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from common.crop import Box, crop_folder
from common.pictures.picture_files import PictureFiles
replace, done = Path.replace, iter(range(99))

def until_the_hundredth(self, target):
    if self.suffix == ".part" and next(done, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = until_the_hundredth
crop_folder(PictureFiles(sys.argv[1]), sys.argv[2], Box())
"""


def test_a_killed_run_leaves_whole_pictures_only_and_is_continued(tmp_path):
    """It dies when a picture is written and has not its name yet."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    data = encoded(face())
    for number in range(200):
        (source / f"{number:06}.jpg").write_bytes(data)
    killed = subprocess.run([sys.executable, "-c", KILLED, source, out], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    there = list(out.glob("*.jpg"))
    assert 0 < len(there) <= 99 and len(list(out.iterdir())) > len(there)
    expected = there[0].read_bytes()
    assert all(each.read_bytes() == expected for each in there)
    summary = run(source, out)
    assert summary.skipped == len(there) and summary.done == 200 - len(there)
    assert len(list(out.iterdir())) == 200  # and no leftovers
