"""The numbers of the published figures stand beside ours, measured as tools/compare.py measures them."""

import numpy as np
import pytest

from common import recipe as recipes
from common.comparison import compare, known
from common.comparison.sets import Sets


@pytest.mark.parametrize("name", recipes.names())
def test_each_tutorials_numbers_are_told_beside_ours(name):
    figures = recipes.load(name).figures
    shape = (64, 64, 3) if name == "faces" else (28, 28, 1)
    pictures = np.random.RandomState(0).uniform(-0.5, 0.5, [20, *shape]).astype("float32")
    rows = [line.strip("| ").split(" | ") for line in known.table(figures, pictures).splitlines()[2:]]
    assert [row[0] for row in rows] == [*known.MEASURES, *(["confidence"] if name != "faces" else [])]
    sets = Sets(pictures, pictures)
    expected, _ = compare.compared(sets, compare.suitable(sets, "mnist"), "", figures.stretched, lambda what: None)
    for measured, made, ours, real in rows:
        [row] = [row for row in expected if row.name.startswith(f"{measured} (")]
        assert ours == f"{row.ours:.3g}"
        assert made == f"{figures.numbers[measured][0]:.3g}"
        assert (real == "–") == (figures.numbers[measured][1] is None)
