"""Files of packed generators: rounding, the record, and what is no such file."""

import numpy as np
import pytest

from common import load, pretrained
from common.errors import UserError
from common.files import replacing
from common.training import checkpoint

RECORD = {"config": {"recipe": "book"}, "shapes": {}}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("large", "levels"), [(10 ** 9, 127), (5000, 31)])
@pytest.mark.parametrize("shape", [(30, 200), (30, 200, 1, 1), (101, 61)])
def test_weights_are_rounded_by_channel(monkeypatch, large, levels, shape):
    monkeypatch.setattr(pretrained, "LARGE", large)
    random = np.random.RandomState(0)
    channels = np.exp(random.normal(size=[1, shape[1], *shape[2:]]))
    arrays = {"w": (random.normal(size=shape) * channels).astype("float32"), "b": np.arange(9000, dtype="float32"),
              "small": random.normal(size=[4, 3]).astype("float32"), "scale": np.ones(3, "float32"),
              "zero": np.zeros([100, 100], "float32")}
    packed, shapes = pretrained.rounded(arrays)
    assert packed["w"].nbytes == (arrays["w"].size if levels == 127 else -(-arrays["w"].size * 6 // 8))
    found = pretrained.restored(packed, shapes)
    assert set(found) == set(arrays)
    for name in ("b", "small", "scale", "zero"):
        np.testing.assert_array_equal(found[name], arrays[name])
    most = np.abs(arrays["w"]).max((0, *range(2, len(shape))), keepdims=True)
    assert found["w"].dtype == np.float32
    assert (np.abs(found["w"] - arrays["w"]) <= most / levels * 0.5001).all()
    assert np.abs(found["w"] - arrays["w"]).max() > 0


def test_six_bits_hold_every_number():
    whole = np.arange(-32, 32, dtype="int8").reshape(4, 16)
    assert len(pretrained.six_bits(whole)) == 48
    np.testing.assert_array_equal(pretrained.from_six_bits(pretrained.six_bits(whole), [4, 16]), whole)
    odd = whole.ravel()[:5]
    np.testing.assert_array_equal(pretrained.from_six_bits(pretrained.six_bits(odd), [5]), odd)


def test_names_come_from_the_files(weights):
    assert pretrained.names() == []
    with pytest.raises(UserError, match="no pretrained generator 'book', none comes with"):
        load("pretrained:book")
    checkpoint.write(weights / "one.safetensors", {}, RECORD)
    checkpoint.write(weights / "two.safetensors", {}, {**RECORD, "config": {"recipe": "faces"}})
    (weights / "three.safetensors").write_bytes(b"no generator")
    assert pretrained.names() == ["one", "three", "two"]
    assert (pretrained.names("static_mnist"), pretrained.names("dygraph_celeba")) == (["one"], ["two"])
    for name in ("../one", "four", ""):
        with pytest.raises(UserError, match="only one, three, two"):
            load(f"pretrained:{name}")
    with pytest.raises(UserError, match="has no checkpoints"):
        load("pretrained:one", checkpoint="best")


def test_a_file_that_is_being_packed_is_no_generator_yet(weights):
    with replacing(weights / "one.safetensors") as temporary:
        checkpoint.write(temporary, {}, RECORD)
        assert pretrained.names() == pretrained.names("static_mnist") == []
    assert pretrained.names() == ["one"]


def test_a_damaged_file_is_one_line(weights):
    path = weights / "one.safetensors"
    checkpoint.write(path, {"w": np.arange(6, dtype="float32")}, RECORD)
    whole = path.read_bytes()
    assert pretrained.read(path)[2] == RECORD
    for damaged in (whole[:-1], whole[:-1] + b"!", whole.replace(b"book", b"cgan"), b"", b"version https://git-lfs"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"one\.safetensors is damaged.*git checkout") as caught:
            load("pretrained:one")
        assert "\n" not in str(caught.value)
