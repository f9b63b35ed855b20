"""Metrics of how near generated pictures are to real ones, on features: arrays [n, d], one row for each picture.

Large sets are computed in blocks of rows, so that no array of size n² is ever in memory.
"""

import numpy as np

from common.errors import UserError

ROWS = 1024  # in a block
RESAMPLES = 200  # draws of the bootstrap


def frechet_distance(a, b):
    """The Fréchet distance of FID (Heusel et al. 2017), a number from 0; smaller is nearer.

    It is the distance of two normal distributions with the sets' means m and covariances C:
    |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½). The trace of the root comes from the eigenvalues of C₁^½ C₂ C₁^½, which is
    symmetric, while C₁ C₂ is not.

    Args:
        a, b: features [n, d] and [m, d].

    Raises:
        UserError: a set has no more samples than features, so that its covariance would be singular.
    """
    _enough(a, b, a.shape[1] + 1, f"a Fréchet distance of {a.shape[1]} features")
    (mean_a, covariance_a), (mean_b, covariance_b) = _moments(a), _moments(b)
    values, vectors = np.linalg.eigh(covariance_a)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    trace = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariance_b @ root), 0, None)).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * trace
    return max(float(distance), 0.0)


def _moments(a):
    a = a.astype("float64")
    return a.mean(0), np.cov(a, rowvar=False)


def kernel_distance(a, b, random, resamples=RESAMPLES):
    """KID (Bińkowski et al. 2018): unbiased squared MMD under the kernel (x·y / d + 1)³, over all pairs.

    Args:
        a, b: features [n, d] and [m, d].
        random: ``numpy.random.RandomState`` of the bootstrap.
        resamples: how many draws of the bootstrap. A picture's weight is how often it is drawn. A picture that is
            drawn twice makes no pair with itself: such pairs would bias the distance upwards.

    Returns:
        (value, low, high); low and high are the bounds of the 95 % interval. The estimate is unbiased, so it can be
        below 0.

    Raises:
        UserError: there are fewer than ten samples; the bootstrap could draw the same sample every time.
    """
    _enough(a, b, 10, "a kernel distance")
    # The shift cancels out in the result; without it float32 is not precise enough
    shift = _kernel(a.mean(0, keepdims=True), b.mean(0, keepdims=True)).item()
    weights = [np.hstack([np.ones([n, 1]), random.multinomial(n, [1 / n] * n, resamples).T]).astype(a.dtype)
               for n in (len(a), len(b))]
    values = _within(a, weights[0], shift) + _within(b, weights[1], shift)
    values -= 2 * _pairs(a, weights[0], b, weights[1], shift) / (len(a) * len(b))
    low, high = np.percentile(values[1:], [2.5, 97.5]) if resamples else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)


def _kernel(x, y):
    products = x @ y.T
    products /= x.shape[1]
    products += 1
    return products * products * products  # many times faster than ** 3


def _within(x, weights, shift):
    """The kernel's weighted means over pairs of different rows: [resamples]."""
    own = ((x.astype("float64") ** 2).sum(1) / x.shape[1] + 1) ** 3 - shift
    squares = weights.astype("float64") ** 2
    return (_pairs(x, weights, x, weights, shift) - own @ squares) / (len(x) ** 2 - squares.sum(0))


def _pairs(x, x_weights, y, y_weights, shift):
    """The kernel's weighted sums over all pairs: [resamples]."""
    total = 0
    for start in range(0, len(x), ROWS):
        block = slice(start, start + ROWS)
        kernel = _kernel(x[block], y)
        kernel -= shift
        total += (x_weights[block] * (kernel @ y_weights)).sum(0, dtype="float64")
    return total


def precision_recall(real, generated, k=3):
    """Improved precision and recall (Kynkäänniemi et al. 2019): two shares, 0 … 1.

    A ball around each sample reaches to its ``k``-th nearest neighbour of the same set. Precision is the share of
    generated samples that lie in a ball of a real sample. Recall is the share of real samples that lie in a ball of a
    generated sample.

    Args:
        real, generated: features [n, d] and [m, d].
        k: the neighbour that a ball reaches to.

    Raises:
        UserError: a set has no more than ``k`` samples, or features that are not finite.
    """
    _enough(real, generated, k + 1, f"precision and recall by {k} neighbours")
    real, generated = _centred(real, generated)
    real_radii, generated_radii = _radii(real, k), _radii(generated, k)
    precise, recalled = np.zeros(len(generated), bool), []
    for start in range(0, len(real), ROWS):
        distances = _squares(real[start:start + ROWS], generated)
        precise |= (distances <= real_radii[start:start + ROWS, None]).any(0)
        recalled.append((distances <= generated_radii).any(1))
    return float(precise.mean()), float(np.concatenate(recalled).mean())


def density_coverage(real, generated, k=5):
    """Density and coverage (Naeem et al. 2020), with the balls of `precision_recall` around real samples only.

    Density is the mean number of balls that a generated sample lies in, divided by ``k``, from 0. It is 1 if both sets
    have the same distribution, and more if generated samples crowd where real samples are dense. Coverage is the share
    of balls with a generated sample in them, 0 … 1.

    Args:
        real, generated: features [n, d] and [m, d].
        k: the neighbour that a ball reaches to.

    Raises:
        UserError: a set has no more than ``k`` samples, or features that are not finite.
    """
    _enough(real, generated, k + 1, f"density and coverage by {k} neighbours")
    real, generated = _centred(real, generated)
    radii = _radii(real, k)
    balls, covered = 0, []
    for start in range(0, len(real), ROWS):
        inside = _squares(real[start:start + ROWS], generated) < radii[start:start + ROWS, None]
        balls += np.count_nonzero(inside)
        covered.append(inside.any(1))
    return float(balls / k / len(generated)), float(np.concatenate(covered).mean())


def _centred(real, generated):
    """Both sets less the mean of the real one: differences of squares are more precise for small numbers."""
    mean = real.mean(0)
    return real - mean, generated - mean


def _squares(x, y):
    """Squared distances [n, m]."""
    products = x @ y.T
    products *= -2
    products += (x * x).sum(1)[:, None]
    products += (y * y).sum(1)
    return products


def _radii(x, k):
    """The squared distance of each row to its ``k``-th nearest other row."""
    radii = []
    for start in range(0, len(x), ROWS):
        distances = _squares(x[start:start + ROWS], x)
        rows = np.arange(len(distances))
        distances[rows, start + rows] = np.inf
        radii.append(np.partition(distances, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def label_agreement(wanted, found, classes):
    """How often a classifier recognises the class that a generated picture was meant to have.

    Args:
        wanted, found: the class asked for and the class recognised, whole numbers [n] from 0.
        classes: how many classes there are.

    Returns:
        (share, recall): the share over all pictures; and [classes], the share over the pictures of each class, NaN for
        a class that was not asked for.
    """
    from sklearn.metrics import accuracy_score, recall_score

    return float(accuracy_score(wanted, found)), recall_score(
        wanted, found, labels=np.arange(classes), average=None, zero_division=np.nan)


def _enough(a, b, least, what):
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError("the features of some pictures are not finite numbers; take an earlier checkpoint, for the "
                        "weights of this one may not be finite either")
    if min(len(a), len(b)) < least:
        raise UserError(f"{what} wants {least} pictures or more of each kind, here are {len(a)} and {len(b)}; "
                        "take more pictures")
