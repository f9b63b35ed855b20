"""Folders and archives of pictures."""

import io
import os
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.files import write_json
from common.pictures import sources
from common.pictures.picture import BadPicture
from common.pictures.picture_files import PictureFiles
from tests.helpers import archive, encoded, face, jpeg


def test_no_archive_and_damaged_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="not a zip or tar archive"):
        PictureFiles(tmp_path / "a.zip")
    whole = archive(tmp_path / "b.zip", [("1.jpg", encoded(face()))]).read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[:-30])
    with pytest.raises(UserError, match="damaged"):
        PictureFiles(tmp_path / "b.zip")


def place(folder, *names):
    """A JPEG file of each name."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(number))
    return folder


# ---- folders


def test_sub_folders_are_searched_and_names_kept_apart(tmp_path):
    """LFW has a folder a person; Kaggle's CelebA is a folder in a folder, with lists beside it."""
    place(tmp_path / "lfw", "ann/0.jpg", "bob/0.jpg", "bob/1.jpg", "2.jpg")
    pictures = PictureFiles(tmp_path / "lfw")
    assert pictures.names == ["1.jpg", "2.jpg", "ann_0.jpg", "bob_0.jpg"]
    assert pictures.files == ["bob/1.jpg", "2.jpg", "ann/0.jpg", "bob/0.jpg"]
    assert pictures.read("bob_0.jpg") == jpeg(1)


def test_lists_beside_the_pictures_are_passed_over_under_their_own_names(tmp_path, capsys):
    place(tmp_path, "img_align_celeba/img_align_celeba/000001.jpg")
    (tmp_path / "list_attr_celeba.csv").write_text("6")
    pictures = PictureFiles(tmp_path)
    assert (pictures.names, pictures.rejected) == (["000001.jpg"], [])
    pictures.announce()
    assert capsys.readouterr().err == "passed over, for they are no pictures: list_attr_celeba.csv\n"


def test_leftovers_of_systems_are_passed_over_in_silence(tmp_path, capsys):
    place(tmp_path, "1.jpg", "__MACOSX/._1.jpg", "@eaDir/1.jpg", ".cache/1.jpg", "._1.jpg", "#recycle/1.jpg")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "ehthumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    pictures = PictureFiles(tmp_path)
    pictures.announce()
    assert pictures.files == ["1.jpg"] and capsys.readouterr().err == ""


def test_what_our_commands_have_written_is_no_input(tmp_path):
    place(tmp_path, "1.jpg", "Output/0000_0001.png", "generated/generated_1.png", "imgs/1.jpg", "runs/a/x.png")
    for run in ("Output", "runs/a"):
        write_json(tmp_path / run / "config.json", {"recipe": "faces"})
    (tmp_path / "generated/generated.npy").write_bytes(b"")
    (tmp_path / "imgs.crop.json").write_text("{}")
    assert PictureFiles(tmp_path).files == ["1.jpg"]


def test_links_are_followed_once(tmp_path):
    place(tmp_path / "data", "a/1.jpg")
    (tmp_path / "data/a/up").symlink_to(tmp_path / "data")
    place(tmp_path / "elsewhere", "2.jpg")
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    assert PictureFiles(tmp_path / "data").files == ["a/1.jpg", "b/2.jpg"]


def test_a_name_that_is_no_utf8(tmp_path):
    place(tmp_path, "1.jpg")
    os.rename(tmp_path / "1.jpg", os.fsencode(tmp_path) + b"/Pok\xe9mon.jpg")  # noqa: PTH104
    pictures = PictureFiles(tmp_path)
    assert pictures.read(pictures.names[0]) == jpeg(0) and pictures.checksum()


@pytest.mark.parametrize(("make", "words"), [
    (lambda f: (f / "x").mkdir(), "no such folder or archive"), (lambda f: (f / "in").mkdir(), "holds no pictures"),
    (lambda f: place(f / "x", "a.jpg").rename(f / "in") / "a.jpg" and shutil.make_archive(f / "in/a", "zip", f / "in")
     and (f / "in/a.jpg").unlink(), "did you mean .*in/a.zip"),
    (lambda f: place(f / "in", "a/1.jpg") and (f / "in/a.crop.json").write_text("{}"), "did you mean .*in/a?"),
    (lambda f: os.mkfifo(f / "in"), "neither a folder nor a file"),
    (lambda f: (f / "in").write_bytes(b""), "an empty file"),
    (lambda f: (f / "in").write_bytes(b"version https://git-lfs.github.com/spec/v1"), "git lfs pull"),
    (lambda f: (f / "in").write_bytes(b"<!doctype html>"), "a web page"),
    (lambda f: (f / "in").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(600)), "7z archive, which is not read; unpack"),
    (lambda f: (f / "in").write_bytes(b"Rar!\x1a\x07" + bytes(600)), "rar archive, which is not read; unpack"),
    (lambda f: (f / "in").write_bytes(b"PK\3\4" + bytes(600)), "cut short, or one part of several"),
    (lambda f: (f / "in").write_bytes(b"\x1f\x8b" + bytes(600)), "damaged or cut short"),
])
def test_what_holds_no_pictures_is_called_what_it_is(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        PictureFiles(tmp_path / "in")
    assert "\n" not in str(error.value) and ";" in str(error.value) + ";" * ("did you mean" in words)


# ---- archives


@pytest.mark.parametrize("name", ["test_2016-01-27 15:07:00.jpg", "Screenshot at 3.07\u202fPM.jpg",
                                  "\U0001f468\u200d.jpg", "faces\\1.jpg", "c:d.jpg"])
def test_names_that_only_look_unsafe_are_read(tmp_path, name):
    path = archive(tmp_path / "a.zip", [(name, jpeg(3))])
    path.write_bytes(path.read_bytes().replace(name.replace("\\", "/").encode(), name.encode()))
    pictures = PictureFiles(path)
    assert pictures.rejected == [] and pictures.names == [name.rpartition("\\")[2]]
    assert pictures.read(pictures.names[0]) == jpeg(3)


def patched(path, place, value):
    """Change a 16-bit field of all headers of a zip archive: 6 flags, 8 the way of packing."""
    data = bytearray(path.read_bytes())
    for sign, more in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        at = data.find(sign)
        while at >= 0:
            struct.pack_into("<H", data, at + place + more, value)
            at = data.find(sign, at + 4)
    path.write_bytes(data)


@pytest.mark.parametrize(("place", "value", "words"), [
    (8, 9, "Deflate64, which is not read; unpack"), (8, 98, "PPMd"), (6, 1, "has a password; unpack")])
def test_each_cause_has_its_own_words(tmp_path, place, value, words):
    path = archive(tmp_path / "a.zip", [("1.jpg", jpeg()), ("2.jpg", jpeg(1))])
    patched(path, place, value)
    with pytest.raises(UserError, match=words):
        PictureFiles(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_that_python_unpacks_are_read(tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as stream:
        stream.writestr("1.jpg", jpeg())
    assert PictureFiles(tmp_path / "a.zip").read("1.jpg") == jpeg()


@pytest.mark.parametrize(("packing", "step"), [
    (zipfile.ZIP_DEFLATED, 1 << 20), (zipfile.ZIP_BZIP2, 4096), (zipfile.ZIP_LZMA, 4096)])
def test_a_zip_that_claims_to_be_small_is_not_unpacked_whole(tmp_path, monkeypatch, packing, step):
    """zipfile unpacks as much as is asked for at once, before it cuts that to the size that the archive claims."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as made:
        made.writestr("1.jpg", jpeg())
    asked, read = [], zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n=-1: asked.append(n) or read(self, n))
    zipped = sources._Zip(tmp_path / "a.zip")
    [info] = zipped.archive.infolist()
    assert zipped.read(info) == jpeg() and 0 < min(asked) <= max(asked) <= step
    info.file_size = 1000
    with pytest.raises(BadPicture, match="damaged in the archive"):
        zipped.read(info)


@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
def test_tar_archives_are_read_without_unpacking_them_into_a_folder(tmp_path, packing):
    path = tmp_path / f"a.tar.{packing}".rstrip(".")
    with tarfile.open(path, f"w:{packing}") as stream:
        for name, data in (("./faces/1.jpg", jpeg(1)), ("faces/2.jpg", jpeg(2)), ("faces/._1.jpg", b"x"),
                           ("list.txt", b"text"), ("../3.jpg", jpeg(3))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            stream.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("4.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        stream.addfile(link)
    pictures = PictureFiles(path)
    assert [pictures.read(name) for name in pictures.names] == [jpeg(1), jpeg(2)]
    assert pictures.others == ["list.txt"]
    assert dict(pictures.rejected) == {"../3.jpg": "unsafe name", "4.jpg": "a link or device in the archive"}
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="damaged|cut short"):
        pictures = PictureFiles(path)
        pictures.read(pictures.names[0])


def test_a_tar_archive_whose_header_leads_back_to_itself_is_damaged(tmp_path):
    header = bytearray(tarfile.TarInfo("1.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-512 & (1 << 96) - 1).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(10240))
    with pytest.raises(UserError, match="is damaged .a header of -512 bytes"):
        PictureFiles(tmp_path / "a.tar")


@pytest.mark.parametrize("size", [sources.LONGEST_HEADER // 2, sources.LONGEST_HEADER + 1])
def test_a_tar_archives_header_is_not_read_without_limit(tmp_path, size):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.GNU_FORMAT) as stream:
        info = tarfile.TarInfo("x" * size + ".jpg")  # a header of its own has the name
        info.size = len(jpeg())
        stream.addfile(info, io.BytesIO(jpeg()))
    if size <= sources.LONGEST_HEADER:
        assert len(PictureFiles(tmp_path / "a.tar.gz").names) == 1
    else:
        with pytest.raises(UserError, match="is damaged .a header of 1,048,"):
            PictureFiles(tmp_path / "a.tar.gz")


# ---- many bits


def test_a_set_of_deep_pictures_has_one_range(tmp_path):
    for number, value in enumerate((100, 4000)):
        Image.fromarray(np.full((70, 70), value, np.uint16)).save(tmp_path / f"{number}.png")
    assert PictureFiles(tmp_path).span() == (0, 4095)
    (tmp_path / "0.png").write_bytes(encoded(face(), "PNG"))
    assert PictureFiles(tmp_path).span() is None


def test_a_damaged_member_is_no_member_that_could_not_be_read(tmp_path):
    """bz2 raises an OSError for it, as the system does for a disk that fails."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as stream:
        stream.writestr("1.jpg", jpeg())
        place = stream.infolist()[0]
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = place.header_offset + 30 + len("1.jpg")
    data[at:at + 100] = bytes(100)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(BadPicture, match="damaged in the archive: "):
        PictureFiles(tmp_path / "a.zip").read("1.jpg")
