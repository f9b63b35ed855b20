"""Reading one picture: the same pixels by OpenCV and by Pillow, each kind of pixel as red, green and blue."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from common.pictures import picture
from common.pictures.picture import ORIENTATION, BadPicture, common_span, decode, extremes, is_picture, read_image, rgb
from tests.helpers import encoded, face, jpeg


def test_opencv_and_pillow_decode_alike():
    """With OpenCV and without it the pixels are the same, so that both give the tutorial's."""
    assert picture.opencv_agrees()
    for options in {"quality": 40}, {"quality": 95, "subsampling": 0}, {"progressive": True}, {"optimize": True}:
        data = encoded(face(3), **options)
        assert np.array_equal(read_image(data), Image.open(io.BytesIO(data)))


def test_sixteen_bits_are_scaled_not_cut_off():
    grey = np.asarray(face(2, mode="L"))
    image = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(read_image(encoded(image, "PNG")))[:, :, 1], grey)


def test_transparent_pixels_become_white():
    image = face(mode="RGBA")
    image.putalpha(0)
    assert (np.asarray(read_image(encoded(image, "PNG"))) == 255).all()


def test_a_colour_that_is_declared_transparent_becomes_white():
    image = Image.new("RGB", (2, 1), (255, 0, 255))
    image.putpixel((1, 0), (1, 2, 3))
    file = io.BytesIO()
    image.save(file, "PNG", transparency=(255, 0, 255))
    assert np.asarray(read_image(file.getvalue())).tolist() == [[[255, 255, 255], [1, 2, 3]]]


def test_the_suffixes_are_those_of_the_formats_that_are_read():
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in picture.FORMATS}
    assert known == picture.SUFFIXES


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["grey png", "grey tiff", "colour png", "colour tiff"])
def test_sixteen_bits_are_scaled_by_the_range_that_they_use(bits, kind):
    """12 bits of X-rays and depth maps would be black, cut off at the upper 8 of 16."""
    colour = kind.startswith("colour")
    values = np.random.RandomState(bits).randint(0, 1 << bits, (9, 8, 3) if colour else (9, 8)).astype(np.uint16)
    values.flat[0] = (1 << bits) - 1
    data = cv2.imencode("." + kind.split()[1], values)[1].tobytes()
    expected = values[..., ::-1] if colour else values[..., None].repeat(3, 2)
    assert np.array_equal(read_image(data), expected >> (bits - 8))


@pytest.mark.parametrize(("values", "span"), [
    (np.float32([[0, 0.25], [0.5, 1]]), (0, 1)), (np.float32([[0, 64], [100, 255]]), (0, 255)),
    (np.int32([[-1000, 0], [500, 3000]]), (-1000, 3000)), (np.int32([[0, 1], [2, 70000]]), (0, 131071))])
def test_other_deep_values_are_scaled_by_their_range(values, span):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF")
    assert common_span([extremes(decode(stream.getvalue()))]) == span
    grey = np.asarray(read_image(stream.getvalue()))[..., 0].astype(float)
    expected = (values.astype(float) - span[0]) / (span[1] - span[0]) * 255
    assert np.abs(grey - expected).max() <= 1


def test_the_limit_of_pixels_holds_for_deep_pictures_and_odd_headers(monkeypatch):
    """A deep pixel takes more memory; OpenCV has a much higher limit of its own."""
    data = jpeg(1)
    # A comment after a fill byte. Read without it, the comment ends at the header of an 8×8 frame within it.
    comment = b"\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x03\x01\x11\x00".rjust(65276 + 13, b" ").ljust(65533, b" ")
    odd = data[:2] + b"\xff\xff\xfe\xff\xff" + comment + data[2:]
    assert picture.plain_jpeg_size(data) and picture.plain_jpeg_size(odd) is None
    deep = encoded(Image.fromarray(np.zeros([30, 30], np.uint16)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadPicture, match="30×30 pixels of more than 8 bits: a decompression bomb?"):
        picture.decode(deep)
    assert picture.decode(encoded(Image.new("L", (30, 30)), "PNG")).size == (30, 30)


def test_values_that_are_no_numbers_are_refused():
    stream = io.BytesIO()
    Image.fromarray(np.float32([[0, np.nan]])).save(stream, "TIFF")
    for span in None, (0, 1):  # by itself, or in a set
        with pytest.raises(BadPicture, match="no numbers"):
            read_image(stream.getvalue(), span)


def test_a_set_has_one_range():
    dark, bright = (Image.fromarray(np.full((2, 2), value, np.uint16)) for value in (300, 4000))
    found = [decode(encoded(image, "PNG")) for image in (dark, bright)]
    span = common_span([*map(extremes, found), None])
    assert span == (0, 4095)
    assert [np.asarray(rgb(each, span))[0, 0, 0] for each in found] == [300 >> 4, 4000 >> 4]
    assert common_span([None, None]) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_as_others_are(orientation):
    values = np.random.RandomState(0).randint(0, 1 << 16, (4, 6)).astype(np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    shallow = encoded(Image.fromarray((values >> 8).astype(np.uint8)), "PNG", exif=exif)
    assert np.array_equal(read_image(encoded(Image.fromarray(values), "PNG", exif=exif)), read_image(shallow))


@pytest.mark.parametrize(("data", "words"), [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
    (b"\xef\xbb\xbf  <!DOCTYPE html><html>", "a web page"), (b"<html><body>", "a web page"),
    (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC picture, which is not read; convert"),
    (b"\0\0\0\x18ftypavif" + bytes(40), "an AVIF picture"), (b"%PDF-1.4", "a PDF"), (b"PK\3\4" + bytes(30), "zip"),
    (b"<svg xmlns=", "SVG"), (b"", "empty file"), (b"hello", "not a picture, or of an unknown format")])
def test_what_is_no_picture_is_called_what_it_is(data, words):
    with pytest.raises(BadPicture, match=words):
        read_image(data)


@pytest.mark.parametrize(("name", "head", "expected"), [
    ("a.JFIF", b"", True), ("a.pgm", b"", True), ("a.heic", b"", True), ("a", b"\xff\xd8\xff\xe0", True),
    ("a.dat", b"\x89PNG\r\n\x1a\n", True), ("a.bin", b"RIFF....WEBPVP8 ", True), ("a.txt", b"BM is a name", False),
    ("a.csv", b"1,2,3", False), ("a", b"BM" + bytes(30), True)])
def test_files_are_pictures_by_suffix_or_first_bytes(name, head, expected):
    assert is_picture(name, lambda: head) == expected
