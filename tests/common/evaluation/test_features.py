"""Features without a classifier: gradients with colours, and a network of the user's own in an ONNX file."""

import os
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.evaluation.features import HogColour, Inception


def pictures(count=6, height=64, width=64, channels=3):
    return np.random.RandomState(0).uniform(-1, 1, [count, height, width, channels]).astype("float32")


# Gradients and colours


def test_their_number_is_in_the_name():
    features = HogColour().features(pictures())
    assert features.shape == (6, int(HogColour.name.split("-")[-1]))
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_a_batch_does_not_matter():
    whole = HogColour().features(pictures())
    parts = np.concatenate([HogColour().features(pictures()[part]) for part in (slice(1), slice(1, 6))])
    np.testing.assert_array_equal(whole, parts)


def test_colours_are_means_of_cells():
    red = np.full([1, 64, 64, 3], -1, "float32")
    red[0, 16:32, 48:, 0] = 1  # second row, last column of cells
    colours = HogColour().features(red)[0, 128:].reshape(4, 4, 3)
    assert colours[1, 3, 0] == 1
    assert (np.delete(colours.ravel(), (1 * 4 + 3) * 3) == -1).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_tell_directions_apart(axis):
    waves = np.sin(np.arange(64) / 2).astype("float32")
    picture = np.broadcast_to(waves[:, None] if axis == 0 else waves, [64, 64])[None, ..., None]
    edges = HogColour().features(picture)[0, :128].reshape(-1, 8)
    assert (edges.argmax(1) == (4 if axis == 0 else 0)).all()


def test_each_cell_counts_once():
    """A picture with edges in one cell alone changes that cell's directions only."""
    for row in range(4):
        for column in range(4):
            picture = np.zeros([1, 64, 64, 1], "float32")
            picture[0, row * 16 + 6:row * 16 + 10, column * 16 + 6:column * 16 + 10] = 1
            edges = HogColour().features(picture)[0, :128].reshape(16, 8)
            assert np.count_nonzero(edges.any(1)) == 1


def test_other_sizes_and_grey_pictures():
    grey = pictures(2, 28, 28, 1)
    features = HogColour().features(grey)
    assert features.shape == (2, 176)
    colours = features[:, 128:].reshape(2, 16, 3)
    assert (colours == colours[..., :1]).all()
    smooth = np.broadcast_to(np.linspace(-1, 1, 64, dtype="float32")[:, None, None], [64, 64, 3])[None]
    large = np.repeat(np.repeat(smooth, 2, 1), 2, 2)
    np.testing.assert_allclose(HogColour().features(large), HogColour().features(smooth), atol=0.05)


# A network in ONNX


def field(number, value):
    """A field of a protobuf message: whole numbers as varints, anything else with its length before it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def value_info(name, shape):
    sizes = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sizes)))


@pytest.fixture
def network(tmp_path):
    """A file with a network that gives the mean of each channel, [1, 3, 1, 1] for one picture."""
    node = field(1, "x") + field(2, "y") + field(4, "GlobalAveragePool")
    graph = (field(1, node) + field(2, "graph") + field(11, value_info("x", [32, 3, 299, 299]))
             + field(12, value_info("y", [32, 3, 1, 1])))
    path = tmp_path / "means.onnx"
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))
    return path


def test_a_network_of_ones_own(network):
    inception = Inception(network)
    assert inception.name.startswith("means-")
    assert len(inception.name) == len("means-") + 8
    given = pictures(40, 20, 30)  # more than a batch, and a rest
    features = inception.features(given)
    assert features.shape == (40, 3)
    np.testing.assert_allclose(features, given.mean((1, 2)), atol=0.05)
    constant = np.broadcast_to(np.array([-1, 0, 0.5], "float32"), [2, 8, 8, 3])
    np.testing.assert_allclose(inception.features(constant), constant[:, 0, 0], atol=1e-5)
    grey = Inception(network).features(pictures(2, 8, 8, 1))
    np.testing.assert_allclose(grey, grey[:, :1].repeat(3, 1), atol=1e-6)


def test_no_network(tmp_path):
    with pytest.raises(UserError, match="--inception: there is no file .*export the network"):
        Inception(tmp_path / "inception.onnx")


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x08\x3a\x7f"])
def test_a_file_that_is_no_network(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(UserError, match="--inception: .*bad.onnx") as caught:
        Inception(tmp_path / "bad.onnx").features(pictures(2))
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_utf_8_is_refused(tmp_path):
    """OpenCV would end the whole process."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xe9.onnx"))
    path.write_bytes(b"no network")
    with pytest.raises(UserError, match="is no UTF-8; rename the file"):
        Inception(path)
