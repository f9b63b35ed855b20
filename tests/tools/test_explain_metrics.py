"""docs/metrics.md: its numbers are what the metrics measure today, its pictures are there."""

import re
from pathlib import Path

import pytest

from tools import explain_metrics

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def digits():
    return explain_metrics.Digits()


@pytest.fixture(scope="module")
def rows(digits):
    return explain_metrics.told(digits, explain_metrics.points(), digits.counts())


@pytest.mark.parametrize("page", ["metrics.md", "metrics.zh-CN.md"])
def test_the_page_has_the_numbers_that_are_measured(page, rows):
    text = (DOCS / page).read_text(encoding="utf-8")
    for title, *wanted in rows:
        [told] = re.findall(rf"^\| {re.escape(title)} \| (.*) \|$", text, re.M)
        # Rounding in the last place may differ from one processor to the next
        assert [float(cell.rstrip("%")) for cell in told.split(" | ")] == \
            pytest.approx([float(cell.rstrip("%")) for cell in wanted], abs=0.02, rel=0.01), title


@pytest.mark.parametrize("page", ["metrics.md", "metrics.zh-CN.md"])
def test_the_page_shows_every_picture_and_they_are_small(page):
    shown = re.findall(r"\]\((pictures/metrics/.*?)\)", (DOCS / page).read_text(encoding="utf-8"))
    assert {DOCS / path for path in shown} == set((DOCS / "pictures" / "metrics").iterdir())
    assert sum((DOCS / path).stat().st_size for path in shown) < 400_000


def test_it_draws_them_anew(tmp_path, monkeypatch, digits):
    monkeypatch.setattr(explain_metrics, "Digits", lambda: digits)
    gan = explain_metrics.toy_gan
    monkeypatch.setattr(explain_metrics, "toy_gan", lambda: gan(iterations=100))
    assert not explain_metrics.main(["--output", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == \
        {path.name for path in (DOCS / "pictures" / "metrics").iterdir()}


def test_the_losses_of_the_small_gan_stay_level_while_its_points_come_near():
    _, d_loss, g_loss, distance = explain_metrics.toy_gan(iterations=300)
    assert distance[-1] < 0.1 * distance[0]
    assert abs(d_loss[-1] - d_loss[0]) < 0.4 and abs(g_loss[-1] - g_loss[0]) < 0.4
