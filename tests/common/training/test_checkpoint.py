"""Checkpoints come back as they were written, or are refused; the disk keeps the ones that it should."""

import errno
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from common import files
from common.errors import UserError
from common.training import checkpoint

ARRAYS = {"w": np.arange(6, dtype="float32").reshape(2, 3), "random": np.arange(4, dtype="uint32"),
          "power": np.array([0.9], "float32")}
RECORD = {"step": 7, "random": {"pos": 3, "gauss": 0.1}, "config": {"recipe": "fake", "note": "日本"}}


def names(folder):
    return [path.name for path in checkpoint.listing(folder)]


def test_what_is_saved_is_loaded(tmp_path):
    path = checkpoint.save(tmp_path, 3, 12, {**ARRAYS, "transposed": ARRAYS["w"].T}, RECORD)
    assert path == tmp_path / "0003_0012.safetensors"
    arrays, record = checkpoint.load(path)
    assert record == RECORD
    assert set(arrays) == {*ARRAYS, "transposed"}
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    np.testing.assert_array_equal(arrays["transposed"], ARRAYS["w"].T)


def test_any_flipped_bit_and_any_cut_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, 1, 0, ARRAYS, RECORD)
    good = path.read_bytes()
    damaged = [good[:length] for length in range(0, len(good), 7)]
    for position in range(len(good)):  # header, JSON record and arrays
        changed = bytearray(good)
        changed[position] ^= 1 << position % 8
        damaged.append(bytes(changed))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(UserError, match="0001_0000.safetensors") as caught:
            checkpoint.load(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(good)
    assert checkpoint.load(path)[1] == RECORD


def test_a_bad_checkpoint_names_the_one_before(tmp_path):
    checkpoint.save(tmp_path, 1, 0, ARRAYS, RECORD)
    path = checkpoint.save(tmp_path, 2, 0, ARRAYS, RECORD)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="move it away to go on from 0001_0000.safetensors"):
        checkpoint.load(path)
    checkpoint.listing(tmp_path)[0].unlink()
    with pytest.raises(UserError, match="no other is left"):
        checkpoint.load(path)


def test_foreign_and_missing_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file(ARRAYS, tmp_path / "foreign.safetensors")
    (tmp_path / "loop").symlink_to("loop")
    for name, words in (("foreign.safetensors", "no whole checkpoint"), ("missing", "there is no checkpoint"),
                        (".", "there is no checkpoint"), ("loop", "cannot read .*loop: .*; check its permissions")):
        with pytest.raises(UserError, match=words):
            checkpoint.load(tmp_path / name)


def test_the_last_three_and_each_fifth_epoch_are_kept(tmp_path):
    for epoch in range(12):
        checkpoint.save(tmp_path, epoch, 3, ARRAYS, RECORD)
        checkpoint.save(tmp_path, epoch + 1, 0, ARRAYS, RECORD)
    assert names(tmp_path) == ["0005_0000.safetensors", "0010_0000.safetensors", "0011_0000.safetensors",
                               "0011_0003.safetensors", "0012_0000.safetensors"]


def whole(folder):
    return [path.name for path in checkpoint.listing(folder) if checkpoint.whole(path)]


def test_older_checkpoints_keep_the_generator_and_the_best_one_stays(tmp_path):
    for epoch in range(1, 14):  # an old run, whose checkpoints are all whole
        checkpoint.save(tmp_path, epoch, 0, ARRAYS, {**RECORD, "step": epoch}, best="0002_0000.safetensors")
    kept = [f"{epoch:04d}_0000.safetensors" for epoch in (2, 5, 10, 11, 12, 13)]
    assert names(tmp_path) == whole(tmp_path) == kept
    before = kept[0], (tmp_path / kept[0]).stat().st_size
    checkpoint.save(tmp_path, 14, 0, ARRAYS, RECORD, generator=["w"], best="0002_0000.safetensors")
    assert names(tmp_path) == [*kept[:3], *kept[4:], "0014_0000.safetensors"]
    assert whole(tmp_path) == names(tmp_path)[-3:]
    arrays, record = checkpoint.load(tmp_path / kept[0])
    np.testing.assert_array_equal(arrays.pop("w"), ARRAYS["w"])
    assert (arrays, record) == ({}, {**RECORD, "step": 2, "generator_only": True})
    assert (tmp_path / kept[0]).stat().st_size < before[1]
    assert checkpoint.another(tmp_path / "0014_0000.safetensors").endswith("from 0013_0000.safetensors")
    for name in whole(tmp_path):
        (tmp_path / name).unlink()
    assert "no other" in checkpoint.another(tmp_path / "0010_0000.safetensors")


def test_an_older_checkpoint_that_cannot_be_reduced_stays_and_stops_nothing(tmp_path, capsys):
    for epoch in (5, 10, 15, 16, 17):
        checkpoint.save(tmp_path, epoch, 0, ARRAYS, RECORD)
    damaged, foreign = checkpoint.listing(tmp_path)[:2]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    checkpoint.save(tmp_path, 10, 0, {"other": np.zeros(3)}, RECORD)
    before = damaged.read_bytes(), foreign.read_bytes()
    checkpoint.save(tmp_path, 18, 0, ARRAYS, RECORD, generator=["w"])
    assert (damaged.read_bytes(), foreign.read_bytes()) == before
    told = capsys.readouterr().err.splitlines()
    assert f"{damaged} was altered or damaged" in told[0] and f"{foreign} has no 'w'" in told[1]
    assert whole(tmp_path)[-3:] == ["0016_0000.safetensors", "0017_0000.safetensors", "0018_0000.safetensors"]


def test_order_is_that_of_training_and_other_files_are_left_alone(tmp_path):
    others = ["0001_0000 (copy).safetensors", "0001_0000_backup.safetensors", "best.safetensors", "notes.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
    for epoch, batch in [(9999, 3), (10000, 0), (9999, 12345), (2, 0)]:
        checkpoint.save(tmp_path, epoch, batch, ARRAYS, RECORD)
    assert names(tmp_path) == ["9999_0003.safetensors", "9999_12345.safetensors", "10000_0000.safetensors"]
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    assert checkpoint.listing(tmp_path / "nowhere") == []


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk_as_safetensors_says_it(*_, **__):
    raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(("place", "name", "fault"), [
    (safetensors.numpy, "save_file", full_disk_as_safetensors_says_it),
    (safetensors.numpy, "save_file", full_disk),
    (files.os, "fsync", full_disk),
    (Path, "replace", full_disk),
])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, place, name, fault):
    path = checkpoint.save(tmp_path, 1, 0, ARRAYS, RECORD)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(place, name, fault)
        for epoch in (1, 2):
            with pytest.raises(UserError, match="cannot write .*No space left on device.*free some space"):
                checkpoint.save(tmp_path, epoch, 0, {"w": np.zeros(3)}, RECORD)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("draws", [0, 1, 623, 1000])
def test_random_numbers_go_on_where_they_were(draws):
    random = np.random.RandomState(5)
    random.uniform(size=draws)
    random.normal(size=draws % 3)  # an odd number leaves one normal number in stock
    again = checkpoint.unpack_random(*checkpoint.pack_random(random))
    np.testing.assert_array_equal(again.normal(size=700), random.normal(size=700))
    np.testing.assert_array_equal(again.permutation(50), random.permutation(50))
