"""One loaded GAN draws the same pictures from several threads as from one, as a web server asks for them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from common import load


@pytest.mark.parametrize("kind", ["book_run", "digits_run", "faces_run"])
def test_several_threads_draw_what_one_draws(request, kind):
    gan = load(request.getfixturevalue(kind))

    def draw(seed):
        random = np.random.RandomState(seed)
        new = gan.generate_new(3, 2, 2, seed=seed) if gan.classes else gan.new_pictures(3, random)[0]
        return gan.sample(gan.noise(4, random)), new

    want = [draw(seed) for seed in range(2)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(draw, [*range(2)] * 2))
    for number, (sample, new) in enumerate(found):
        np.testing.assert_array_equal(sample, want[number % 2][0])
        np.testing.assert_array_equal(new, want[number % 2][1])
