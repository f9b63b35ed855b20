"""Folders of one's own pictures: classes, colours, sizes, and everything that can be wrong with them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data import folders
from common.errors import UserError
from common.files import write_json


def save(path, colour, size=(6, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def own(tmp_path):
    """Two classes of grey pictures, six pixels wide and four high."""
    save(tmp_path / "own" / "cat" / "b.png", 20)
    save(tmp_path / "own" / "cat" / "a.png", 10)
    save(tmp_path / "own" / "Dog" / "1.PNG", 30)
    (tmp_path / "own" / ".hidden").mkdir()
    (tmp_path / "own" / "cat" / ".a.png").write_text("no picture")
    (tmp_path / "own" / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "own" / "list.txt").write_text("no picture")
    return tmp_path / "own"


def test_sub_folders_are_classes(own):
    pictures = folders.load(own)
    assert pictures.name == "own"
    assert pictures.classes == ("Dog", "cat")
    assert pictures.labels.tolist() == [0, 1, 1]
    assert pictures.images.shape == (3, 4, 6)
    assert pictures.images.dtype == np.uint8
    assert pictures.images[:, 0, 0].tolist() == [30, 10, 20]


def test_pictures_alone_have_no_labels(own):
    pictures = folders.load(own / "cat")
    assert (pictures.labels, pictures.classes) == (None, ())
    assert len(pictures.images) == 2


def test_one_picture_with_colours_gives_all_three_channels(own):
    save(own / "cat" / "c.png", (1, 2, 3), mode="RGB")
    pictures = folders.load(own)
    assert pictures.images.shape == (4, 4, 6, 3)
    assert pictures.images[0, 0, 0].tolist() == [30, 30, 30]
    assert pictures.images[3, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("mode", "colour", "shape"), [
    ("1", 1, ()), ("LA", (9, 9), ()), ("P", 3, ()), ("I;16", 9, ()), ("RGB", (3, 3, 3), ()),
    ("RGBA", (1, 2, 3, 255), (3,)),
])
def test_kinds_of_pixels(tmp_path, mode, colour, shape):
    save(tmp_path / "x" / "a.png", colour, mode=mode)
    assert folders.load(tmp_path / "x").images.shape[3:] == shape


def test_pictures_are_upright_and_transparent_is_white(tmp_path):
    turned = Image.new("L", (4, 6), 50)
    exif = turned.getexif()
    exif[0x112] = 6
    (tmp_path / "x").mkdir()
    turned.save(tmp_path / "x" / "a.jpg", exif=exif)
    save(tmp_path / "x" / "b.png", (10, 0), mode="LA")
    images = folders.load(tmp_path / "x").images
    assert images.shape == (2, 4, 6)
    assert (images[1] == 255).all()


def test_the_checksum_knows_pixels_and_labels(own):
    first = folders.load(own).checksum
    assert folders.load(own).checksum == first
    (own / "cat" / "b.png").rename(own / "Dog" / "b.png")
    moved = folders.load(own).checksum
    save(own / "Dog" / "b.png", 21)
    assert len({first, moved, folders.load(own).checksum}) == 3


def test_resize_takes_the_nearest_pixel(tmp_path):
    pixels = np.arange(16, dtype="uint8").reshape(4, 4) * 10
    (tmp_path / "x").mkdir()
    Image.fromarray(pixels).save(tmp_path / "x" / "a.png")
    Image.new("L", (9, 5), 7).save(tmp_path / "x" / "b.png")
    images = folders.load(tmp_path / "x", (8, 2)).images
    assert images.shape == (2, 8, 2)
    np.testing.assert_array_equal(images[0], pixels.repeat(2, axis=0)[:, 1::2])
    assert (images[1] == 7).all()


@pytest.mark.parametrize(("change", "words"), [
    (lambda own: save(own / "cat" / "c.png", 0, (4, 6)), ["several sizes", "6×4", "4×6", "c.png", "--resize"]),
    (lambda own: (own / "bird").mkdir(), ["bird", "holds no pictures"]),
    (lambda own: save(own / "top.png", 1), ["top.png", "beside the folders of the classes"]),
    (lambda own: os.rename(own / "cat", os.fsencode(own) + b"/caf\xe9"), ["caf", "UTF-8", "rename"]),  # noqa: PTH104
    (lambda own: (own / "cat" / "c.png").write_bytes(b""), ["c.png", "empty file"]),
    (lambda own: (own / "cat" / "c.jpg").write_text("<html>"), ["c.jpg", "not a picture"]),
    (lambda own: (own / "cat" / "a.png").write_bytes((own / "cat" / "a.png").read_bytes()[:50]), ["a.png", "cannot"]),
    (lambda own: Image.new("RGB", (6, 4)).save(own / "cat" / "c.png", "EPS"), ["c.png", "not a picture"]),
    (lambda own: (own / "cat" / "c.png").mkdir(), ["c.png", "cannot read"]),
    (lambda own: os.mkfifo(own / "cat" / "c.png"), ["c.png", "cannot read", "not a file"]),  # and is not waited for
    (lambda own: os.truncate(own / "cat" / "a.png", 300 << 20), ["a.png", "cannot read", "too many"]),
    (lambda own: save(own / "Dog" / "0.png", 0, (4000, 3000)), ["0.png has 4000×3000", "at most 512", "--resize"]),
    (lambda own: Image.new("I;16", (520, 4)).save(own / "Dog" / "0.png"), ["0.png has 520×4", "at most 512"]),
    (lambda own: (own / "bird").mkdir() or (own / "bird" / "all.zip").touch(), ["bird", "archive all.zip", "unpack"]),
])
def test_what_is_wrong_is_named(own, change, words):
    change(own)
    with pytest.raises(UserError) as caught:
        folders.load(own)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_every_picture_that_can_be_read_is_used(own):
    """.jfif is what Chrome and Windows save, .pgm what collections of faces have."""
    for name, kind in (("c.jfif", "JPEG"), ("d.pgm", "PPM"), ("e", "PNG"), ("f.dat", "GIF")):
        Image.new("L", (6, 4), 40).save(own / "cat" / name, kind)
    assert len(folders.load(own).images) == 7


def test_what_is_left_out_is_said(own, capsys):
    save(own / "cat" / "kittens" / "1.png", 1)
    folders.load(own)
    assert capsys.readouterr().err.startswith("passed over, for they are no pictures of a class: "
                                              "list.txt, cat/notes.txt, cat/kittens\n")


def test_leftovers_of_systems_are_no_classes(own, capsys):
    for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints", "#recycle", "System Volume Information"):
        save(own / name / "cat" / "1.png", 1)
        save(own / name / "1.png", 1)
    for name in ("Thumbs.db", "desktop.ini", "._a.png"):
        (own / "cat" / name).write_bytes(b"x")
    assert folders.load(own).classes == ("Dog", "cat") and "__MACOSX" not in capsys.readouterr().err


def test_what_our_commands_have_written_is_no_class(own, capsys):
    save(own / "output_cgan" / "0000_0001.png", 1)
    save(own / "runs" / "a" / "0000_0001.png", 1)
    save(own / "drawn" / "generated_1.png", 1)
    for run in ("output_cgan", "runs/a"):
        write_json(own / run / "config.json", {"recipe": "cgan"})
    (own / "drawn" / "generated.npy").write_bytes(b"")
    assert folders.load(own).classes == ("Dog", "cat")
    assert "output_cgan" in capsys.readouterr().err
    write_json(own / "cat" / "config.json", {"mine": 1})  # not one of ours
    assert folders.load(own).classes == ("Dog", "cat")


def test_cropped_pictures_are_classes_where_there_is_nothing_else(own):
    """As `tools/crop_celeba.py --output own/cat` writes them."""
    for name in ("cat", "Dog"):
        write_json(own / f"{name}.crop.json", {})
    assert folders.load(own).classes == ("Dog", "cat")
    np.savez(own / "table.npz", x_train=np.ones([5, 4, 6], "uint8"))
    assert len(folders.load(own).images) == 5
    save(own / "bird" / "1.png", 1)
    assert folders.load(own).classes == ("bird",)
    (own / "bird").rename(own.with_name("bird"))
    save(own / "1.png", 1)
    assert len(folders.load(own).images) == 1


def test_a_link_to_the_folder_itself_is_no_class(own):
    (own / "all").symlink_to(own)
    assert folders.load(own).classes == ("Dog", "cat")


def test_train_and_test_above_the_classes_are_hinted_at(tmp_path):
    for part in ("train", "test"):
        save(tmp_path / "split" / part / "cat" / "1.png", 1)
    with pytest.raises(UserError, match=r"split holds no pictures.*name .*split/train for its classes"):
        folders.load(tmp_path / "split")


def test_a_set_of_deep_pictures_has_one_range_and_it_is_said(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    for number, value in enumerate((300, 4000)):
        Image.fromarray(np.full((4, 6), value, np.uint16)).save(tmp_path / "x" / f"{number}.png")
    assert folders.load(tmp_path / "x").images[:, 0, 0].tolist() == [300 >> 4, 4000 >> 4]
    assert "4095 white" in capsys.readouterr().err


def test_nearly_black_pictures_are_remarked_on(tmp_path, capsys):
    """Masks of 0 and 1, for one."""
    save(tmp_path / "x" / "a.png", 1)
    folders.load(tmp_path / "x")
    assert "no pixel is brighter than 1 of 255" in capsys.readouterr().err
    save(tmp_path / "x" / "a.png", 40)
    folders.load(tmp_path / "x")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["gif", "tiff", "png", "webp"])
def test_files_of_several_pictures_are_remarked_on(tmp_path, kind, capsys):
    (tmp_path / "x").mkdir()
    first, *others = (Image.new("RGB", (6, 4), (level, 0, 0)) for level in (200, 100, 50))
    first.save(tmp_path / "x" / f"a.{kind}", save_all=True, append_images=others)
    first.save(tmp_path / "x" / "b.png")
    assert (abs(folders.load(tmp_path / "x").images[..., 0].astype(int) - 200) < 9).all()
    [line] = capsys.readouterr().err.splitlines()
    assert "files with several pictures or pages: 1, " in line and f"a.{kind}" in line


def test_fit_makes_pictures_of_any_size_grey_squares(tmp_path, capsys):
    picture = np.zeros((56, 100, 3), np.uint8)
    picture[:, 22:78] = (255, 0, 0)  # the middle square
    (tmp_path / "x").mkdir()
    Image.fromarray(picture).save(tmp_path / "x" / "a.png")
    Image.fromarray(np.full((28, 28), 7, np.uint8)).save(tmp_path / "x" / "b.png")
    images = folders.load(tmp_path / "x", fit=28).images
    assert images.shape == (2, 28, 28) and (images[1] == 7).all()
    assert (images[0] == 76).all()  # red's share of brightness
    assert capsys.readouterr().err == "pictures of 100×56: their middle squares are scaled to 28×28\n"


def test_a_folder_that_may_not_be_read(own, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"cannot read .*own: Permission denied"):
        folders.load(own)


def test_a_huge_picture_is_refused(own, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(UserError, match="cannot read"):
        folders.load(own)


@pytest.mark.parametrize(("name", "words"), [
    ("nothing", "no data set and no folder"), ("list.txt", "is a file, not an npz, CSV or mat file"),
    (".hidden", "no pictures"), ("cat/a.png", "is one picture; name the folder"), ("table.npz", "has 600×2 pixels"),
])
def test_no_folder(own, name, words):
    np.savez(own / "table.npz", x_train=np.zeros([3, 2, 600], "uint8"))
    with pytest.raises(UserError, match=words):
        folders.load(own / name)
