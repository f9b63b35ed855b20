"""What pictures are like, by their pixels: how sharp, of what contrast, how near to one another.

Pictures are float32 [n, H, W, C] in [-1, 1], C 1 or 3.
"""

import numpy as np

from common.evaluation.features import resized

TWINS_SIDE = 16  # pixels that pictures are reduced to where twins are looked for, so that noise does not matter
RANK = 10  # of the neighbour that tells how near others are
COPY = 0.5  # of its distance: a nearer picture is a copy
TWINS_DRAWS = 10  # sets of real pictures that say how near twins are


def grey(pictures):
    """[n, H, W, 1] in [-1, 1] of pictures in colour; grey ones as they are."""
    return pictures if pictures.shape[3] == 1 else (pictures @ np.float32([0.299, 0.587, 0.114]))[..., None]


def stretched(pictures):
    """Each picture over its own range from -1 to 1, as ``plt.imsave`` shows it."""
    low, high = (reduce(pictures, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    return (pictures - low) / np.maximum(high - low, 1e-6) * 2 - 1


def sharpness(pictures):
    """The variance of the Laplacian of each picture's grey values of 0 … 1: [n]. Blurred pictures have little."""
    import cv2

    return np.array([cv2.Laplacian((each[..., 0] + 1) / 2, cv2.CV_32F).var() for each in grey(pictures)])


def contrast(pictures):
    """The standard deviation of each picture's grey values of 0 … 255: [n]."""
    return grey(pictures).std(axis=(1, 2, 3)) * 127.5


def brightness(pictures):
    """The mean of each picture's grey values of 0 … 255: [n]."""
    return (grey(pictures).mean(axis=(1, 2, 3)) + 1) * 127.5


def nearest(pictures, others, among_themselves=False):
    """The nearest of other pictures to each: (its number [n], the distance [n], RMS of levels of 0 … 255).

    Args:
        pictures: [n, H, W, C].
        others: [m, H, W, C].
        among_themselves: the pictures are among the others, and not meant.
    """
    from sklearn.neighbors import NearestNeighbors

    flat, known = (each.reshape(len(each), -1) for each in (pictures, others))
    rank = int(among_themselves)  # the nearest is the picture itself
    numbers = NearestNeighbors(algorithm="brute").fit(known).kneighbors(flat, rank + 1, return_distance=False)[:, rank]
    return numbers, np.sqrt(((flat - known[numbers]) ** 2).mean(axis=1)) * 127.5


def copies(pictures, others, among_themselves=False):
    """Which pictures are copies of one of the others: [n] of bool.

    A copy is less than half as far from its nearest as from its tenth nearest, after the ratio of Carlini et al. 2023,
    "Extracting Training Data from Diffusion Models". Empty and blurred pictures are near to all, and copies of none.

    Args:
        pictures, others, among_themselves: see `nearest`.
    """
    from sklearn.neighbors import NearestNeighbors

    flat, known = (each.reshape(len(each), -1) for each in (pictures, others))
    count = min(RANK + among_themselves, len(others))
    tenth = NearestNeighbors(algorithm="brute").fit(known).kneighbors(flat, count)[0][:, -1]
    return nearest(pictures, others, among_themselves)[1] < COPY * tenth * 127.5 / flat.shape[1] ** 0.5


def small(pictures):
    """Reduced so far that twins with different noise are alike."""
    side = min(TWINS_SIDE, *pictures.shape[1:3])
    return resized(pictures, (side, side))


def twin_distance(real, count):
    """How near pictures are that count as twins: only one real picture in a hundred has another as near among
    ``count``.
    """
    random = np.random.RandomState(0)
    near = []
    for _ in range(TWINS_DRAWS if len(real) > count else 1):
        drawn = small(real[random.permutation(len(real))[:count]])
        near.append(nearest(drawn, drawn, among_themselves=True)[1])
    return float(np.quantile(np.concatenate(near), 0.01))
