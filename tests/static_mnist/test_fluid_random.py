"""The sequence of fluid's GPU kernels."""

import numpy as np
import pytest
from scipy import stats

from static_mnist import fluid_random


def test_the_ten_thousandth_number_is_the_one_of_the_cpp_standard():
    assert fluid_random.minstd(1, 10000)[-1] == 399268537  # [rand.predef], minstd_rand


def test_the_doubled_sequence_is_the_one_made_step_by_step():
    number, slow = 90, []
    for _ in range(1000):
        number = number * 48271 % (2 ** 31 - 1)
        slow.append(number)
    assert fluid_random.minstd(90, 1000).tolist() == slow


def test_equal_places_of_all_weights_hold_the_same_number():
    small = fluid_random.uniform([3, 4], -1, 1, seed=90).ravel()
    large = fluid_random.uniform([50, 2], -0.5, 0.5, seed=90).ravel()
    assert small == pytest.approx(2 * large[:12], abs=1e-6)
    bell = fluid_random.normal([4, 1, 5, 5], 0, 2, seed=90).ravel()
    assert (np.argsort(bell[:100]) == np.argsort(large)).all()
    assert bell == pytest.approx(2 * stats.norm.ppf(large + 0.5), abs=1e-4)


def test_the_values_lie_as_their_distributions_say():
    flat = fluid_random.uniform([100_000], -0.25, 0.25, seed=90)
    assert flat.dtype == np.float32 and flat.min() >= -0.25 and flat.max() < 0.25
    assert stats.kstest(flat * 2 + 0.5, "uniform").pvalue > 0.01
    bell = fluid_random.normal([100_000], 1.0, 3.0, seed=90)
    assert np.isfinite(bell).all()
    assert stats.kstest((bell - 1) / 3, "norm").pvalue > 0.01


def test_both_ends_of_the_sequence_are_finite(monkeypatch):
    ends = np.array([1, 2, 2 ** 31 - 3, 2 ** 31 - 2], "uint64")
    monkeypatch.setattr(fluid_random, "minstd", lambda seed, count: ends)
    bell = fluid_random.normal([4], 0, 1, seed=1)
    assert np.isfinite(bell).all() and (bell[:2] < -5).all() and (bell[2:] > 5).all()
    assert fluid_random.uniform([4], 0, 1, seed=1).tolist() == pytest.approx([0, 0, 1, 1], abs=1e-6)
