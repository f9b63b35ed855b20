"""Read one picture file of a user: a face, a picture of a class folder, a figure, a reference.

OpenCV decodes a JPEG file in two thirds of Pillow's time; it is used if it gives the same pixels. Pictures of more than
8 bits a channel, such as X-rays and depth maps, are scaled by the range of their values.
"""

import functools
import io
import math
import stat
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.files import kind_of

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS, for one, would start Ghostscript
SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif",
                      ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".pfm"))  # of `FORMATS`
# Suffixes of pictures in formats that are not read. A message names such a file; a text file is passed over.
OTHER_SUFFIXES = frozenset((".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".psd", ".svg", ".tga", ".exr", ".hdr",
                            ".dcm", ".dng", ".cr2", ".nef", ".arw", ".raw", ".ico", ".eps"))
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM")
LARGEST = 256 << 20  # bytes of a file that can be a picture
UNREAD = "it could not be read: "
ORIENTATION = 0x112  # the EXIF tag


class BadPicture(Exception):
    """A picture that cannot be used. The message is the reason; other pictures are still used."""


class Unread(BadPicture):
    """A picture that the system could not read, and perhaps can read later; the message begins with `UNREAD`."""

    def __init__(self, error):
        super().__init__(UNREAD + (error.strerror or str(error)))


def is_picture(name, head):
    """Whether a file is meant to be a picture.

    Args:
        name: of the file. A picture's suffix decides at once.
        head: function that returns the file's first 32 bytes, which decide if the suffix does not.
    """
    if Path(name).suffix.lower() in SUFFIXES | OTHER_SUFFIXES:
        return True
    start = head()
    if start[:2] == b"BM":
        return start[6:10] == bytes(4) and len(start) >= 26
    return start.startswith(BEGINNINGS) or (start[:4], start[8:12]) == (b"RIFF", b"WEBP")


def read_file(path):
    """Read the bytes of a file that can be a picture.

    Raises:
        BadPicture: the file is too large; or it is a pipe or device, and reading it could wait for ever.
        OSError: the file cannot be read.
    """
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise BadPicture("not a file")
    if info.st_size > LARGEST:
        raise BadPicture(f"{info.st_size:,} bytes are too many for a picture")
    return path.read_bytes()


def read_image(data, span=None):
    """Decode a picture into an upright RGB Pillow image. Transparent pixels become white.

    Args:
        data: the bytes of the file.
        span: (black, white), see `common_span`, for pictures of more than 8 bits a channel; None: the picture's own
            range.

    Raises:
        BadPicture: the file is empty, truncated, damaged, no picture, or too large to be decoded safely.
    """
    return rgb(decode(data), span)


def decode(data):
    """Decode a picture, turned upright, but neither converted to RGB nor scaled to 8 bits.

    Returns:
        A Pillow image of the file's first frame, with the number of frames in ``info["frames"]``; for more than 8 bits
        a channel an array of the values, [H, W] or [H, W, 3].

    Raises:
        BadPicture: as `read_image`.
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
        deep_colour = image.mode not in "IF" and any(";16" in str(part) for part in image.tile)
        deep = deep_colour or image.mode.startswith(("I", "F"))
        if deep and image.width * image.height > Image.MAX_IMAGE_PIXELS // 2:  # `rgb` takes 8 bytes for each value
            raise BadPicture(f"{image.width}×{image.height} pixels of more than 8 bits: a decompression bomb?")
        frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
        image.load()
        image.info["frames"] = frames
        turned = 1
        if image.format != "JPEG" or "exif" in image.info:
            turned = image.getexif().get(ORIENTATION, 1)
        if deep_colour and (values := _deep_colour(data)) is not None:
            return _upright(values, turned)
        if image.mode.startswith(("I", "F")):
            return _upright(np.asarray(image), turned)
        return image if turned == 1 else ImageOps.exif_transpose(image)
    except (BadPicture, MemoryError):
        raise
    except UnidentifiedImageError:
        kind = kind_of(data)
        raise BadPicture((kind if "picture" in kind else f"not a picture: {kind}") if kind else
                         "not a picture, or of an unknown format") from None
    except Exception as error:  # for a damaged file Pillow raises nearly any exception: OSError, SyntaxError, ...
        raise BadPicture(str(error).partition("\n")[0] or type(error).__name__) from error


def rgb(decoded, span=None):
    """Convert the result of `decode` into an RGB Pillow image; ``span`` as in `read_image`."""
    if isinstance(decoded, np.ndarray):
        own = extremes(decoded)  # which refuses values that are no numbers
        black, white = common_span([own]) if span is None else span
        step = 1 if decoded.dtype.kind in "iu" else 0
        values = (decoded.astype(np.float64) - black) * (256 / (white - black + step))
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if decoded.has_transparency_data:  # also of RGB, where one colour may be declared transparent
        image = decoded.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return decoded if decoded.mode == "RGB" else decoded.convert("RGB")


def size_of(decoded):
    """(width, height) of a result of `decode`."""
    return decoded.shape[1::-1] if isinstance(decoded, np.ndarray) else decoded.size


def extremes(decoded):
    """The least and the greatest value of a picture of more than 8 bits a channel; None for any other picture.

    Raises:
        BadPicture: some values are no numbers.
    """
    if not isinstance(decoded, np.ndarray):
        return None
    low, high = decoded.min().item(), decoded.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BadPicture("some of its values are no numbers")
    return low, high


def common_span(found):
    """The two values that become black and white in all pictures of a set.

    Black is 0. White is 1 if the values are fractions up to 1. Otherwise white is the greatest number with as many bits
    as the greatest value, at least 8: 4095 for X-rays of 12 bits in files of 16. A set with values below 0, such as
    computed tomography, goes from its least to its greatest value.

    Args:
        found: for each picture its `extremes`, None for a picture of 8 bits.

    Returns:
        (black, white); None when all pictures have 8 bits.
    """
    found = [each for each in found if each is not None]
    if not found:
        return None
    low, high = min(low for low, _ in found), max(high for _, high in found)
    if low < 0:
        return low, max(high, low + 1)
    if isinstance(high, float) and high <= 1:
        return 0, 1
    return 0, 2 ** max(8, math.ceil(high).bit_length()) - 1


def span_note(span):
    """One line on how pictures of more than 8 bits a channel are scaled."""
    black, white = span
    return f"pictures of more than 8 bits a channel: {black:g} becomes black, {white:g} white"


def _upright(values, orientation):
    """Turn an array [H, W] or [H, W, 3] upright, as EXIF's orientation says."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    rows, columns = (slice(None, None, -1 if orientation in turned else None)
                     for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return values[rows, columns]


def _deep_colour(data):
    """Read a picture of 16 bits a channel with OpenCV: uint16 [H, W, 3], RGB; None if OpenCV cannot read it.

    Pillow keeps only the upper 8 of the 16 bits, so that a picture of 12 bits would be nearly black.
    """
    try:
        import cv2
    except ImportError:
        return None
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return None
    colours = np.ascontiguousarray(values[..., 2::-1])
    if values.shape[2] == 4:
        colours[values[..., 3] == 0] = colours.max()  # transparent becomes white
    return colours


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
        if marker in (0xE1, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:  # EXIF; a fill byte, or a marker without a length
            return None
        at += 2 + int.from_bytes(data[at + 2:at + 4], "big")
    return None
