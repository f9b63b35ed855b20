"""docs/models.md and its Chinese twin agree with the records in common/weights."""

import numpy as np
import pytest
from PIL import Image

from common import pretrained
from common.report import cards


@pytest.mark.parametrize("page", cards.WORDS)
def test_the_pages_have_the_records_numbers(page):
    text = (cards.DOCS / page).read_text(encoding="utf-8")
    assert cards.rendered(text, page) == text, "python tools/pack_generator.py --cards brings the page up to date"
    for name in pretrained.names():
        assert f"<!-- generator {name} -->" in text, f"{name} has no card"


@pytest.mark.parametrize("name", pretrained.names())
def test_a_generator_draws_what_its_card_shows(name):
    """But for rounding, on any processor: the files that come with the project are read as they were written."""
    drawn = cards.grid(name)
    with Image.open(cards.DOCS / cards.PICTURE.format(name)) as shown:
        difference = np.abs(np.asarray(drawn, int) - np.asarray(shown.convert(drawn.mode), int))
    assert difference[drawn.height // 8:].max() <= 4  # without the labels: another Pillow draws other letters


def test_all_files_together_are_small():
    assert sum(path.stat().st_size for path in pretrained.WEIGHTS.glob("*")) <= 45e6
