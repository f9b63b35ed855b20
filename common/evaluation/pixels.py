"""Measures on pixels: sharpness, contrast, brightness, and distances between pictures.

Pictures are float32 [n, H, W, C] in [-1, 1], C 1 or 3.
"""

import numpy as np

from common.evaluation.features import resized

ALIKE = 1.0  # grey values of 255: pictures that differ by less are copies
TWINS_SIDE = 16  # height and width that pictures are reduced to before a search for twins, so that noise has no effect
RANK = 10  # the distance of the tenth nearest neighbour is the usual distance
COPY = 0.5  # a picture nearer than this share of the usual distance is a copy
TWINS_DRAWS = 10  # random sets of real pictures that `twin_distance` is measured on


def grey(pictures):
    """Pictures [n, H, W, C] in grey, [n, H, W, 1] in [-1, 1]; grey pictures are returned as they are."""
    return pictures if pictures.shape[3] == 1 else (pictures @ np.float32([0.299, 0.587, 0.114]))[..., None]


def stretched(pictures):
    """Stretch each picture so that its darkest value is -1 and its brightest 1, as ``plt.imsave`` does."""
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
    """For each picture, the nearest of ``others``.

    A copy is less than half as far from its nearest neighbour as from its tenth nearest. The ratio follows Carlini et
    al. 2023, "Extracting Training Data from Diffusion Models". Empty and blurred pictures are near to all pictures,
    and so are copies of none.

    Args:
        pictures: [n, H, W, C].
        others: [m, H, W, C].
        among_themselves: ``pictures`` are among ``others``; a picture is not its own neighbour.

    Returns:
        (number [n], distance [n], copy bool [n]): its number among ``others``; the distance is the RMS difference of
        pixels, in levels of 0 … 255; whether the picture is a copy of it.
    """
    from sklearn.neighbors import NearestNeighbors

    flat, known = (each.reshape(len(each), -1) for each in (pictures, others))
    first = int(among_themselves)  # the nearest is the picture itself
    far, found = NearestNeighbors(algorithm="brute").fit(known).kneighbors(flat, min(RANK + first, len(others)))
    numbers = found[:, first]
    distances = np.sqrt(((flat - known[numbers]) ** 2).mean(axis=1)) * 127.5
    return numbers, distances, far[:, first] < COPY * far[:, -1]


def small(pictures):
    """Pictures reduced to at most `TWINS_SIDE` pixels a side, so that twins with different noise look alike."""
    side = min(TWINS_SIDE, *pictures.shape[1:3])
    return resized(pictures, (side, side))


def twin_distance(real, count):
    """The distance below which two pictures count as twins.

    It is chosen so that only one real picture in a hundred has a neighbour so near, among ``count`` real pictures.
    Copies are always twins, also where more of the real pictures are copies.
    """
    random = np.random.RandomState(0)
    near = []
    for _ in range(TWINS_DRAWS if len(real) > count else 1):
        drawn = small(real[random.permutation(len(real))[:count]])
        near.append(nearest(drawn, drawn, among_themselves=True)[1])
    return max(ALIKE, float(np.quantile(np.concatenate(near), 0.01)))
