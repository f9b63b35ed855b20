"""What so few pictures can tell: intervals of differences, and what they say."""

import numpy as np

from common.comparison.pixels import small

RESAMPLES = 2000  # of the bootstrap
LEVEL = 0.99


def twin_groups(pictures, limit):
    """The number of each picture's group of twins: [n], those of one group being alike.

    Average linkage, so that a chain of likenesses makes no group of pictures that are not.

    Args:
        pictures: [n, H, W, C].
        limit: how near twins are, see `twin_distance`.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    flat = small(pictures).reshape(len(pictures), -1)
    scale = 127.5 / flat.shape[1] ** 0.5  # from Euclid's distance to RMS of 0 … 255
    return fcluster(linkage(flat, "average") * [1, 1, scale, 1], limit, "distance") - 1


def interval(tutorial, ours, statistic=np.mean, groups=(None, None)):
    """The bootstrap's `LEVEL` interval of statistic(ours) − statistic(tutorial's).

    What is drawn again is groups, because twins tell one thing together. A bootstrap of few is too narrow: each side
    is widened as Student's t is wider than the normal distribution (Hesterberg 2015, "What Teachers Should Know About
    the Bootstrap").

    Args:
        tutorial, ours: one row a picture.
        statistic: of such an array, a number.
        groups: for each of the two, the group of each row, whole numbers from 0; None: each its own.

    Returns:
        (low, high); None where one side is a single group.
    """
    from scipy.stats import norm, t

    random = np.random.RandomState(0)
    sides = []
    for rows, group in zip((tutorial, ours), groups, strict=True):
        group = np.arange(len(rows)) if group is None else group
        count = group.max() + 1
        if count < 2:
            return None
        weights = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)[:, group]
        if statistic is np.mean:
            drawn = weights @ rows / weights.sum(axis=1)
        else:
            drawn = np.array([statistic(rows.repeat(times, axis=0)) for times in weights])
        wider = t.ppf((1 + LEVEL) / 2, count - 1) / norm.ppf((1 + LEVEL) / 2) * (count / (count - 1)) ** 0.5
        found = statistic(rows)
        sides.append(found + wider * (drawn - found))
    low, high = np.quantile(sides[1] - sides[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def proportion_interval(tutorial, ours, counts):
    """The `LEVEL` interval of the difference of two shares, ours − tutorial's (Newcombe 1998, method 10).

    It lies within −1 … 1, and is no point where a share is 0 or 1.

    Args:
        tutorial, ours: shares, 0 … 1.
        counts: how many pictures told each of them, not necessarily whole.

    Returns:
        (low, high).
    """
    from scipy.stats import norm

    z = norm.ppf((1 + LEVEL) / 2)

    def wilson(share, count):  # of a single share
        middle = (share + z ** 2 / (2 * count)) / (1 + z ** 2 / count)
        half = z / (1 + z ** 2 / count) * (share * (1 - share) / count + z ** 2 / (4 * count ** 2)) ** 0.5
        return middle - half, middle + half

    (low_1, high_1), (low_2, high_2) = (wilson(*each) for each in zip((tutorial, ours), counts, strict=True))
    difference = ours - tutorial
    return (float(difference - np.hypot(ours - low_2, high_1 - tutorial)),
            float(difference + np.hypot(high_2 - ours, tutorial - low_1)))


def verdict(bounds, count):
    """What an interval of a difference says; None says nothing."""
    return "differs" if bounds and (bounds[0] > 0 or bounds[1] < 0) else no_difference(count)


def no_difference(count):
    return f"no difference that {count} pictures can show"


def entropy(classes):
    """Bits of the histogram of whole numbers."""
    share = np.bincount(classes) / len(classes)
    share = share[share > 0]
    return float((share * np.log2(1 / share)).sum())
