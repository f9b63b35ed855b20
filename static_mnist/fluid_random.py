"""The random numbers with which fluid filled weights on a GPU, recomputed with NumPy.

Its kernels ran ``thrust::minstd_rand`` from the initialiser's seed, once for each weight: element n of every
weight came from the n-th number of the same sequence. All initialisers of a program got its ``random_seed``. So
element n of every weight came from the same random number, scaled to the layer's own range.
(`uniform_random_op.cu`, `gaussian_random_op.cu` of Paddle 1.x.)
"""

import math

import numpy as np
from scipy.special import erfcinv

MULTIPLIER, MODULUS = 48271, 2 ** 31 - 1


def minstd(seed, count):
    """The first ``count`` numbers of ``std::minstd_rand`` from ``seed``: uint64 [count] in 1 … 2³¹ − 2."""
    numbers = np.empty(count, "uint64")
    numbers[0] = seed % MODULUS * MULTIPLIER % MODULUS
    done = 1
    while done < count:  # the numbers so far, moved on by `done` steps, double the sequence
        more = min(done, count - done)
        numbers[done:done + more] = numbers[:more] * np.uint64(pow(MULTIPLIER, done, MODULUS)) % np.uint64(MODULUS)
        done += more
    return numbers


def uniform(shape, low, high, seed):
    """float32 array of a uniform distribution over [low, high), as ``thrust::uniform_real_distribution``."""
    numbers = (minstd(seed, int(np.prod(shape))) - np.uint64(1)) / (MODULUS - 1)
    return (numbers * (high - low) + low).astype("float32").reshape(shape)


def normal(shape, mean, std, seed):
    """float32 array of a normal distribution, as ``thrust::normal_distribution`` on a GPU.

    Each value is the inverse of the distribution function at one number of the sequence.
    """
    top = MODULUS - 3  # the largest number less the smallest
    numbers = minstd(seed, int(np.prod(shape))) - np.uint64(1)
    below = numbers <= top // 2
    p = np.where(below, numbers, top - np.minimum(numbers, top)) / top + 0.5 / top
    deviation = np.sqrt(2.0) * erfcinv(2 * p)
    return (mean + std * np.where(below, -deviation, deviation)).astype("float32").reshape(shape)


def weights(shapes, seed):
    """The weights that fluid's initialisers draw on a GPU, each from the same sequence.

    Args:
        shapes: name → shape of the tutorial's parameters: ``conv…w`` is from a normal distribution, any other ``…w``
            from Xavier's uniform one; biases and batch norm's parameters begin with constants and are left out.
        seed: of the program.

    Returns:
        name → float32 array.
    """
    drawn = {}
    for name, shape in shapes.items():
        if name.startswith("conv") and name.endswith("w"):
            drawn[name] = normal(shape, 0.0, (2.0 / math.prod(shape[1:])) ** 0.5, seed)
        elif name.endswith("w"):  # Xavier: fans are the first two sizes, times the kernel's pixels
            bound = (6.0 / (sum(shape[:2]) * math.prod(shape[2:]))) ** 0.5
            drawn[name] = uniform(shape, -bound, bound, seed)
    return drawn
