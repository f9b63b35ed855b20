"""What a few pictures can show: confidence intervals of differences, and the verdicts that follow from them."""

import numpy as np

from common.evaluation.pixels import small

RESAMPLES = 2000  # of the bootstrap
LEVEL = 0.99


def twin_groups(pictures, limit):
    """Group nearly equal pictures, called twins: the number of each picture's group, [n].

    Average linkage is used, so that a chain of similar pictures makes no group if its two ends differ.

    Args:
        pictures: [n, H, W, C].
        limit: twins are nearer than this, see `twin_distance`.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    flat = small(pictures).reshape(len(pictures), -1)
    scale = 127.5 / flat.shape[1] ** 0.5  # from Euclid's distance to RMS of 0 … 255
    return fcluster(linkage(flat, "average") * [1, 1, scale, 1], limit, "distance") - 1


def interval(tutorial, ours, statistic=np.mean, groups=(None, None)):
    """The bootstrap's confidence interval, at `LEVEL`, of statistic(ours) − statistic(tutorial).

    The bootstrap draws whole groups, because twins together are one observation. With few groups the bootstrap's
    interval is too narrow. Therefore each side is widened by the ratio of Student's t to the normal distribution
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap").

    Args:
        tutorial, ours: arrays with one row for each picture.
        statistic: function from an array of rows to a number.
        groups: for each of the two arrays, the group of each row, whole numbers from 0; None: each row is a group.

    Returns:
        (low, high); None if ``tutorial`` or ``ours`` is a single group.
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
    """The confidence interval, at `LEVEL`, of the difference of two shares, ours − tutorial's.

    It lies within −1 … 1, and has a width even where a share is 0 or 1. Source: Newcombe 1998, method 10.

    Args:
        tutorial, ours: shares, 0 … 1.
        counts: how many pictures each share was measured on; they need not be whole numbers.

    Returns:
        (low, high).
    """
    from scipy.stats import norm

    z = norm.ppf((1 + LEVEL) / 2)

    def wilson(share, count):  # Wilson's interval of one share
        middle = (share + z ** 2 / (2 * count)) / (1 + z ** 2 / count)
        half = z / (1 + z ** 2 / count) * (share * (1 - share) / count + z ** 2 / (4 * count ** 2)) ** 0.5
        return middle - half, middle + half

    (low_1, high_1), (low_2, high_2) = (wilson(*each) for each in zip((tutorial, ours), counts, strict=True))
    difference = ours - tutorial
    return (float(difference - np.hypot(ours - low_2, high_1 - tutorial)),
            float(difference + np.hypot(high_2 - ours, tutorial - low_1)))


def verdict(bounds, count):
    """The verdict on a difference, in words: "differs" if 0 lies outside of ``bounds``; None: they are unknown."""
    return "differs" if bounds and (bounds[0] > 0 or bounds[1] < 0) else no_difference(count)


def no_difference(count):
    """The verdict, in words, where an interval of so many pictures holds 0."""
    return f"no difference that {count} pictures can show"


def entropy(classes):
    """The entropy, in bits, of the histogram of ``classes``, whole numbers from 0."""
    from scipy.stats import entropy as of_counts

    return float(of_counts(np.bincount(classes), base=2))
