"""Metrics on features whose distance is known, and against other people's implementations."""

import numpy as np
import pytest
from scipy import linalg
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from common.errors import UserError
from common.evaluation import metrics


def normal(n, d=8, mean=0.0, scale=1.0, seed=0, dtype="float64"):
    return (mean + scale * np.random.RandomState(seed).standard_normal([n, d])).astype(dtype)


@pytest.fixture
def correlated():
    """Two sets of different means and full covariances, of different sizes."""
    mix = np.random.RandomState(3).standard_normal([2, 8, 8])
    return normal(300, seed=1) @ mix[0] + 1, normal(200, seed=2) @ mix[1]


@pytest.fixture(params=[7, 1024])
def rows(request, monkeypatch):
    """Blocks that the sets fill many times and not evenly, or not at all."""
    monkeypatch.setattr(metrics, "ROWS", request.param)


# Fréchet distance


def test_equal_covariances_leave_the_distance_of_the_means():
    a = normal(500)
    shift = np.arange(8) / 4
    assert metrics.frechet_distance(a, a + shift) == pytest.approx((shift ** 2).sum(), rel=1e-9)


def test_scaled_sets_have_a_known_distance():
    """tr(C + 4C − 2·2C) = tr C."""
    a = normal(500)
    a -= a.mean(0)
    assert metrics.frechet_distance(a, 2 * a) == pytest.approx(np.trace(np.cov(a.T)), rel=1e-9)


def test_a_set_is_nowhere_from_itself(correlated):
    assert metrics.frechet_distance(correlated[0], correlated[0]) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_as_scipy_has_it(correlated):
    a, b = correlated
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert metrics.frechet_distance(a.astype("float32"), b.astype("float32")) == pytest.approx(expected, rel=1e-5)


def test_a_feature_that_never_varies_does_no_harm(correlated):
    a, b = (np.hstack([each, np.zeros([len(each), 1])]) for each in correlated)
    assert metrics.frechet_distance(a, b) == pytest.approx(metrics.frechet_distance(*correlated), rel=1e-6)


# Kernel distance


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])
def test_kernel_distance_as_scikit_learn_has_it(correlated, rows, dtype, tolerance):
    a, b = (each.astype(dtype) for each in correlated)
    aa, bb, ab = (polynomial_kernel(x.astype("float64"), y.astype("float64"), degree=3, gamma=1 / 8, coef0=1)
                  for x, y in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    expected = (aa.sum() - np.trace(aa)) / n / (n - 1) + (bb.sum() - np.trace(bb)) / m / (m - 1) - 2 * ab.mean()
    value, _, _ = metrics.kernel_distance(a, b, np.random.RandomState(0), resamples=0)
    assert value == pytest.approx(expected, rel=tolerance)


def test_the_bootstrap_takes_pairs_of_different_pictures(correlated, rows):
    """Each resample is the distance of the sets with rows repeated, without a row's pairs with its copies."""
    a, b = (each[:20] for each in correlated)
    weights = [np.random.RandomState(0).multinomial(20, [1 / 20] * 20, 1)[0]]
    random = np.random.RandomState(0)
    random.multinomial(20, [1 / 20] * 20, 1)
    weights.append(random.multinomial(20, [1 / 20] * 20, 1)[0])
    kernels = [(x @ y.T / 8 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    expected = 0
    for kernel, w in zip(kernels, weights, strict=False):
        pairs = np.outer(w, w) * (1 - np.eye(20))
        expected += (pairs * kernel).sum() / pairs.sum()
    expected -= 2 * weights[0] @ kernels[2] @ weights[1] / 400
    _, low, high = metrics.kernel_distance(a, b, np.random.RandomState(0), resamples=1)
    assert low == pytest.approx(expected)
    assert high == pytest.approx(expected)


def test_kernel_distance_has_no_bias():
    """Halves of one distribution: on average 0, to within four standard errors, and half of them below it."""
    values = np.array([metrics.kernel_distance(normal(60, seed=2 * i), normal(60, seed=2 * i + 1),
                                               np.random.RandomState(0), resamples=0)[0] for i in range(200)])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert 0.3 < (values < 0).mean() < 0.8


def test_the_interval_covers_the_distance():
    """The distance of the distributions lies in the 95 % interval about as often as that says."""
    truth = metrics.kernel_distance(normal(4000, 4, seed=0), normal(4000, 4, 0.5, seed=1), np.random.RandomState(0),
                                    resamples=0)[0]
    covered = 0
    for i in range(30):
        a, b = normal(150, 4, seed=10 + 2 * i), normal(150, 4, 0.5, seed=11 + 2 * i)
        value, low, high = metrics.kernel_distance(a, b, np.random.RandomState(0))
        assert low < value < high
        covered += low < truth < high
    assert 26 <= covered <= 30  # of 28.5 expected


# Neighbours


def test_neighbours_as_scikit_learn_has_them(rows):
    real, generated = normal(150, 3), normal(120, 3, 0.7, 0.8, seed=1)

    def radii(points, k):
        return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, k]

    between = NearestNeighbors(n_neighbors=len(generated)).fit(generated).kneighbors_graph(
        real, mode="distance").toarray()
    expected = ((between <= radii(real, 3)[:, None]).any(0).mean(), (between <= radii(generated, 3)).any(1).mean())
    assert metrics.precision_recall(real, generated) == pytest.approx(expected, abs=1e-6)
    assert all(0.1 < value < 0.99 for value in expected)

    inside = between < radii(real, 5)[:, None]
    expected = inside.sum(0).mean() / 5, inside.any(1).mean()
    assert metrics.density_coverage(real, generated) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_alike_sets(dtype):
    real, generated = normal(2000, 4, 5, dtype=dtype), normal(2000, 4, 5, seed=1, dtype=dtype)
    assert all(value > 0.9 for value in metrics.precision_recall(real, generated))
    density, coverage = metrics.density_coverage(real, generated)
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 0.5 ** 5, abs=0.02)  # its expectation, by the paper's lemma 2
    assert metrics.precision_recall(real, real) == (1, 1)


def test_a_generator_that_has_collapsed_is_precise_and_recalls_little():
    real, generated = normal(1000, 4), normal(1000, 4, 0, 0.1, seed=1)
    precision, recall = metrics.precision_recall(real, generated)
    assert precision > 0.99
    assert recall < 0.05
    density, coverage = metrics.density_coverage(real, generated)
    assert density > 1.2
    assert coverage < 0.2


def test_a_generator_that_strays_recalls_and_is_not_precise():
    precision, recall = metrics.precision_recall(normal(1000, 4), normal(1000, 4, 0, 5, seed=1))
    assert precision < 0.2
    assert recall > 0.95


def test_sets_apart():
    real, generated = normal(100, 4), normal(100, 4, 100, seed=1)
    assert metrics.precision_recall(real, generated) == (0, 0)
    assert metrics.density_coverage(real, generated) == (0, 0)


# Labels


def test_label_agreement():
    share, recall = metrics.label_agreement([0, 0, 0, 0, 1, 1, 3], [0, 0, 0, 2, 1, -1, 0], 4)
    assert share == pytest.approx(4 / 7)
    np.testing.assert_array_equal(recall, [0.75, 0.5, np.nan, 0])


# Too little


@pytest.mark.parametrize(("measure", "enough"), [
    (metrics.frechet_distance, 9), (metrics.precision_recall, 4), (metrics.density_coverage, 6),
    (lambda a, b: metrics.kernel_distance(a, b, np.random.RandomState(0)), 10)])
def test_too_few_pictures(measure, enough):
    measure(normal(enough), normal(enough, seed=1))
    for few, many in ((enough - 1, 50), (50, enough - 1)):
        with pytest.raises(UserError, match=rf"wants {enough} pictures or more of each kind.*take more pictures"):
            measure(normal(few), normal(many))
