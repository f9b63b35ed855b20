"""Reading one picture: the same pixels by OpenCV and by Pillow, each kind of pixel as red, green and blue."""

import io

import numpy as np
from PIL import Image

from common.data import picture
from common.data.picture import read_image
from tests.helpers import encoded, face


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
