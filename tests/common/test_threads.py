"""One loaded GAN draws the same pictures from several threads as from one, as a web server asks for them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from common.training.sampling import load


@pytest.mark.parametrize("kind, package", [("book_run", "static_mnist"), ("digits_run", "static_mnist"),
                                           ("faces_run", "dygraph_celeba")])
def test_several_threads_draw_what_one_draws(request, kind, package):
    gan = load(package, request.getfixturevalue(kind))

    def draw(seed):
        random = np.random.RandomState(seed)
        return gan.sample(gan.noise(4, random)), gan.new_pictures(3, random)[0]

    want = [draw(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(draw, [*range(8)] * 3))
    for number, (sample, new) in enumerate(found):
        np.testing.assert_array_equal(sample, want[number % 8][0])
        np.testing.assert_array_equal(new, want[number % 8][1])
