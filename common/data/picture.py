"""Reading one picture that a user brings: a face, a picture of a class folder, a figure, a reference.

OpenCV decodes a JPEG file where its pixels are the same as Pillow's, in two thirds of the time.
"""

import functools
import io
import stat
import struct

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS, for one, would start Ghostscript
LARGEST = 256 << 20  # bytes of a file that can be a picture
ORIENTATION = 0x112  # the EXIF tag


class BadPicture(Exception):
    """A picture that cannot be used. The message is the reason; it costs no other picture."""


def read_file(path):
    """The bytes of a file that can be a picture.

    Raises:
        BadPicture: it is no file, as a pipe is not, which would be waited for; or it is too large.
        OSError: it cannot be read.
    """
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise BadPicture("not a file")
    if info.st_size > LARGEST:
        raise BadPicture(f"{info.st_size:,} bytes are too many for a picture")
    return path.read_bytes()


def read_image(data):
    """A picture's bytes as an upright RGB Pillow image. Transparent pixels become white.

    Raises:
        BadPicture: empty, truncated, damaged, no picture, or too large to be decoded safely.
    """
    if not data:
        raise BadPicture("empty file")
    picture = decode_plain_jpeg(data) if opencv_agrees() else None
    if picture is not None:
        height, width, _ = picture.shape
        return Image.frombuffer("RGB", (width, height), picture, "raw", "BGR", 0, 1)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise BadPicture(f"{image.width}×{image.height} pixels: a decompression bomb?")
        image.load()
        if (image.format != "JPEG" or "exif" in image.info) and image.getexif().get(ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        return image if image.mode == "RGB" else _rgb(image)
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture("not a picture, or of an unknown format") from None
    except Exception as error:  # for damaged files Pillow raises nearly everything: OSError, SyntaxError, ...
        raise BadPicture(str(error).partition("\n")[0] or type(error).__name__) from error


def _rgb(image):
    """Any mode as RGB."""
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow itself would cut off at 255 instead of scaling
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadPicture("grey values of more than 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadPicture("floating-point grey values of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@functools.cache
def opencv_agrees():
    """Whether OpenCV is there and decodes a JPEG file to Pillow's pixels, as libjpeg-turbo does in both."""
    noise = np.random.RandomState(0).randint(0, 256, (12, 10, 3), np.uint8)
    image = Image.fromarray(noise).resize((178, 218), Image.BICUBIC)
    for options in {"quality": 75}, {"quality": 95, "subsampling": 0}, {"quality": 30, "progressive": True}:
        stream = io.BytesIO()
        image.save(stream, "JPEG", **options)
        try:
            picture = decode_plain_jpeg(stream.getvalue())
        except ImportError:
            return False
        if picture is None or not np.array_equal(picture[:, :, ::-1], Image.open(stream)):
            return False
    return True


def decode_plain_jpeg(data, flag="IMREAD_COLOR"):
    """uint8 [height, width, 3], BGR, of a plain JPEG file decoded by OpenCV; None for any other file."""
    import cv2

    if plain_jpeg_size(data) is None:
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), getattr(cv2, flag))


def plain_jpeg_size(data):
    """(width, height) of a whole RGB JPEG file without EXIF; None for anything else."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2):  # the frame's header: precision, height, width, components
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            usable = components == 3 and 0 < width * height <= Image.MAX_IMAGE_PIXELS
            return (width, height) if usable else None
        if marker == 0xE1:
            return None
        at += 2 + int.from_bytes(data[at + 2:at + 4], "big")
    return None
