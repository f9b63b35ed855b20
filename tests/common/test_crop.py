"""Cropping: the tutorial's pixels, every mode and defect, nothing lost, nothing half-written."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from common.crop import Box, crop_fast, crop_folder, crop_like_the_tutorial, cropped_file
from common.pictures import picture
from common.pictures.picture import ORIENTATION, BadPicture
from common.pictures.picture_files import PictureFiles
from tests.helpers import archive, encoded, face


def cropped_array(data, box, fast=False):
    """A cropped picture without the losses of JPEG, uint8 [size, size, 3]."""
    return pixels(io.BytesIO(cropped_file(data, ".png", box, fast)))


def run(source, output, box=Box(), **options):  # noqa: B008
    return crop_folder(PictureFiles(source), output, box, progress=False, **options)


def pixels(path):
    return np.asarray(Image.open(path))


# ---- geometry and pixels


def test_the_scaled_size_is_the_tutorials_floating_point_arithmetic():
    for width in range(1, 300):
        for height in (1, 63, 64, 100, 178, 218, 299, 1024, 4001):
            rate = min(width, height) / 64
            assert Box(y=0).scaled(width, height) == (int(width // rate), int(height // rate))


def test_default_crop_is_rows_10_to_73_of_64_by_78():
    image = face()
    expected = np.asarray(image.resize((64, 78), Image.BILINEAR))[10:74]
    assert np.array_equal(cropped_array(encoded(image, "PNG"), Box()), expected)


@pytest.mark.parametrize("y", [10, 20])
def test_same_bytes_as_the_tutorials_script(folder, tmp_path, y):
    crop_like_the_tutorial(folder, tmp_path / "theirs", y)
    run(folder, tmp_path / "ours", Box(y=y))
    ours = {each.name: each.read_bytes() for each in (tmp_path / "ours").iterdir()}
    assert ours == {each.name: each.read_bytes() for each in (tmp_path / "theirs").iterdir()}
    assert len(ours) == 12


def test_the_listings_y_leaves_six_black_rows_and_the_default_none(folder):
    data = (folder / "000001.jpg").read_bytes()
    black = [(cropped_array(data, Box(y=y)) == 0).all((1, 2)).sum() for y in (10, 20)]
    assert black == [0, 6]


def test_pillow_decodes_when_opencv_is_missing_or_differs(folder, monkeypatch):
    data = (folder / "000001.jpg").read_bytes()
    expected = cropped_array(data, Box())
    monkeypatch.setattr(picture, "opencv_agrees", lambda: False)
    monkeypatch.setattr(picture, "decode_plain_jpeg", None)
    assert np.array_equal(cropped_array(data, Box()), expected)


def test_fast_is_near_the_exact_crop_and_framed_alike():
    for width, height in ((178, 218), (356, 436), (1424, 1744)):
        data = encoded(face(5, width, height))
        fast = cropped_array(data, Box(), fast=True).astype(int)
        exact = cropped_array(data, Box()).astype(int)
        assert crop_fast(data, Box()) is not None
        assert np.abs(fast - exact).mean() < 6  # of blocks of noise; of faces 1
        shifted = np.abs(fast[1:] - exact[:-1]).mean(), np.abs(fast[:, 1:] - exact[:, :-1]).mean()
        assert np.abs(fast - exact).mean() < min(shifted) / 2


@pytest.mark.parametrize("make", [
    lambda: encoded(face(), "PNG"), lambda: encoded(face(0, 177, 218)), lambda: encoded(face(0, 100, 120)),
    lambda: encoded(face(mode="L")), lambda: encoded(face(mode="CMYK"))], ids=["png", "odd", "small", "grey", "cmyk"])
def test_fast_leaves_to_the_exact_way_what_it_cannot_do(make):
    data = make()
    assert crop_fast(data, Box()) is None
    assert np.array_equal(cropped_array(data, Box(), fast=True), cropped_array(data, Box()))


def test_fast_with_rows_outside_is_exact(folder):
    data = (folder / "000001.jpg").read_bytes()
    assert np.array_equal(cropped_array(data, Box(y=20), fast=True), cropped_array(data, Box(y=20)))


# ---- modes


@pytest.mark.parametrize("mode, kind", [("L", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("1", "PNG"), ("RGBA", "PNG"),
                                        ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "GIF"), ("RGB", "WEBP")])
def test_each_mode_comes_out_as_the_same_rgb_picture(mode, kind):
    image = face(1).convert(mode)
    array = cropped_array(encoded(image, kind), Box())
    expected = np.asarray(image.convert("RGB").resize((64, 78), Image.BILINEAR))[10:74]
    assert array.shape == (64, 64, 3)
    assert np.abs(array.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_rotated_pictures_come_out_upright(kind):
    upright = face(4)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be shown turned by 90° to the right
    data = encoded(upright.transpose(Image.ROTATE_90), kind, exif=exif)
    for fast in False, True:
        array = cropped_array(data, Box(), fast)
        assert np.abs(array.astype(int) - cropped_array(encoded(upright, "PNG"), Box())).mean() < 4


@pytest.mark.parametrize("size", [(64, 64), (178, 178), (218, 178), (640, 480)])
def test_pictures_that_the_box_does_not_fit_into_are_refused_not_padded(size):
    with pytest.raises(BadPicture, match="does not fit"):
        cropped_array(encoded(face(0, *size)), Box())
    assert cropped_array(encoded(face(0, *size)), Box(y=0)).min() > 0


@pytest.mark.parametrize("size", [(30, 40), (500, 900), (64, 80)])
def test_other_sizes_come_out_without_black(size):
    assert cropped_array(encoded(face(0, *size), "PNG"), Box()).min() > 0


# ---- defects


def bomb():
    """A PNG whose header promises 30000 × 30000 pixels."""
    data = bytearray(encoded(face(0, 64, 80), "PNG"))
    data[16:24] = (30000).to_bytes(4, "big") * 2
    import zlib
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def damaged():
    """Defects by name: (bytes, words of the reason)."""
    whole = encoded(face())
    return {"empty.jpg": (b"", "empty"), "text.jpg": (b"no picture at all", "not a picture"),
            "cut.jpg": (whole[:len(whole) // 2], "truncated"), "bomb.png": (bomb(), "decompression bomb"),
            "small.jpg": (encoded(face(0, 64, 64)), "does not fit"), "start.jpg": (whole[:20], ".")}


@pytest.mark.parametrize("name", damaged())
@pytest.mark.parametrize("fast", [False, True])
def test_each_defect_is_a_bad_picture_with_a_reason(name, fast):
    data, reason = damaged()[name]
    with pytest.raises(BadPicture, match=reason):
        cropped_array(data, Box(), fast)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_bomb_is_refused_by_opencv_and_by_pillow(monkeypatch):
    assert picture.opencv_agrees()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 178 * 218 - 1)
    for fast in False, True:
        with pytest.raises(BadPicture, match="bomb"):
            cropped_array(encoded(face()), Box(), fast)


@pytest.mark.parametrize("threads", [1, 3])
def test_one_bad_file_never_costs_another(folder, tmp_path, threads):
    for name, (data, _) in damaged().items():
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.jpg")
    summary = run(folder, tmp_path / "out", threads=threads)
    assert (summary.done, summary.skipped, summary.left) == (12, 0, 0)
    reasons = dict(summary.failed)
    assert reasons.keys() == {*damaged(), "folder.jpg", "dangling.jpg", "pipe.jpg"}
    assert all(reasons.values())
    assert len(list((tmp_path / "out").iterdir())) == 12


def test_what_systems_leave_behind_is_ignored(folder, tmp_path):
    for name in ".DS_Store", "Thumbs.db", "._000001.jpg", "desktop.ini":
        (folder / name).write_bytes(b"x")
    (folder / "notes").mkdir()
    assert run(folder, tmp_path / "out").failed == []


# ---- archives


def test_an_archive_gives_the_same_files_as_its_folder(folder, tmp_path):
    path = archive(tmp_path / "a.zip", [("img_align_celeba/", b"")] + [
        (f"img_align_celeba/{each.name}", each.read_bytes()) for each in sorted(folder.iterdir())]
        + [("__MACOSX/img_align_celeba/._000001.jpg", b"x"), ("img_align_celeba/.DS_Store", b"x")])
    first, second = run(folder, tmp_path / "one"), run(path, tmp_path / "two")
    assert first.done == second.done == 12 and second.failed == []
    for each in (tmp_path / "one").iterdir():
        assert each.read_bytes() == (tmp_path / "two" / each.name).read_bytes()


def test_unsafe_names_and_duplicates_are_reported_and_nothing_is_written_outside(tmp_path):
    unsafe = ["/etc/a.jpg", "../b.jpg", "x/../../c.jpg", "../f.jpg", "C:/g.jpg", "i\n.jpg"]
    data = encoded(face())
    base = tmp_path / "base"
    base.mkdir()
    names = [*unsafe, "good.jpg", "dir.jpg/", "two/a.jpg", "two_a.jpg", "x/two_a.jpg"]
    path = archive(base / "a.zip", [(name, data) for name in names])
    path.write_bytes(path.read_bytes().replace(b"../f.jpg", b"..\\f.jpg"))
    summary = run(path, base / "deep" / "out")
    reasons = dict(summary.failed)
    assert reasons.keys() == {*unsafe, "dir.jpg/"}
    assert {reasons[name] for name in unsafe} == {"unsafe name"}
    files = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert files == {"base/a.zip", "base/deep/out.crop.json", "base/deep/.out.crop.lock",
                     *(f"base/deep/out/{name}.jpg" for name in ("good", "a", "two_a", "x_two_a"))}


def test_a_damaged_member_costs_only_itself(tmp_path):
    path = archive(tmp_path / "a.zip", [(f"{n}.jpg", encoded(face(n))) for n in range(3)])
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as stream:
        data[stream.getinfo("1.jpg").header_offset + 500] ^= 0xFF
    path.write_bytes(data)
    summary = run(path, tmp_path / "out")
    assert summary.done == 2 and [name for name, _ in summary.failed] == ["1.jpg"]
    assert "damaged in the archive" in summary.failed[0][1]
