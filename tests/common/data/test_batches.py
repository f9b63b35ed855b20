"""Which pictures come when, and how they are scaled."""

import numpy as np
import pytest

from common.data.batches import Batches, scale


def images(count):
    """Pictures that carry their own number in the first two pixels."""
    pictures = np.zeros([count, 4, 5], "uint8")
    pictures[:, 0, 0], pictures[:, 0, 1] = divmod(np.arange(count), 256)
    return pictures


def numbers(batches):
    pixels = [np.rint((batch[:, :2] + 1) * 127.5).astype(int) for batch in batches]
    return [(pair[:, 0] * 256 + pair[:, 1]).tolist() for pair in pixels]


def test_scale_is_the_readers_own_arithmetic():
    every = np.arange(256, dtype="uint8")
    expected = every.astype("float32") / np.float32(255) * np.float32(2) - np.float32(1)
    assert scale(every).dtype == np.float32
    np.testing.assert_array_equal(scale(every), expected)
    assert scale(every)[[0, 255]].tolist() == [-1.0, 1.0]


def test_batches_are_flat_and_unshuffled_ones_in_order():
    data = Batches(images(10), 3, shuffle=0)
    batches = list(data.epoch(0))
    assert [(batch.shape, batch.dtype) for batch in batches] == [((3, 20), np.float32)] * 3
    assert numbers(batches) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]] == numbers(data.epoch(1))


def test_a_short_last_batch_is_skipped_or_kept():
    assert len(Batches(images(10), 3)) == 3
    assert len(Batches(images(60), 3)) == 20
    data = Batches(images(10), 3, shuffle=0, drop_last=False)
    assert len(data) == 4
    assert numbers(data.epoch(0))[-1] == [9]
    assert len(Batches(np.zeros([60000, 1, 1], "uint8"), 128)) == 468  # the book's last saved id is 460


def test_each_epoch_has_its_own_order_of_the_same_pictures():
    data = Batches(images(300), 300, seed=1)
    first, second = (numbers(data.epoch(epoch))[0] for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(300))
    assert first != list(range(300))


def test_seed_and_epoch_alone_decide_the_order():
    data, same, other = (Batches(images(50), 50, seed=seed) for seed in (3, 3, 4))
    list(data.epoch(0))
    assert numbers(data.epoch(7)) == numbers(same.epoch(7)) != numbers(other.epoch(7))


@pytest.mark.parametrize("first", [0, 1, 4, 5])
def test_an_epoch_goes_on_from_any_batch(first):
    data = Batches(images(40), 8, seed=2)
    assert numbers(data.epoch(3, first)) == numbers(data.epoch(3))[first:]


def test_the_shuffle_buffer_keeps_pictures_in_their_part():
    order = Batches(images(100), 10, shuffle=30, seed=5).order(0)
    for start in range(0, 100, 30):
        assert sorted(order[start:start + 30]) == list(range(start, min(start + 30, 100)))
    assert order[:30].tolist() != list(range(30))
