"""The base class of all GANs: lines of noise, and drawing in batches."""

import numpy as np
import pytest

from common import gan


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1)])
def test_interpolation_goes_straight_from_end_to_end(shape):
    ends = np.random.RandomState(0).normal(size=[8, *shape]).astype("float32")
    lines = gan.interpolation(ends)
    assert lines.shape == (40, *shape)
    assert lines.dtype == np.float32
    lines = lines.reshape([4, 10, *shape])
    np.testing.assert_array_equal(lines[:, 0], ends[::2])
    np.testing.assert_allclose(lines[:, 3], ends[::2] * 2 / 3 + ends[1::2] / 3, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(lines[:, 9], ends[1::2])


def test_in_batches():
    seen = []

    def sample(noise):
        seen.append(len(noise))
        return noise * 2

    noise = np.arange(7.0)
    np.testing.assert_array_equal(gan.in_batches(sample, noise, 3), noise * 2)
    assert seen == [3, 3, 1]
