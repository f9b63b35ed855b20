"""Generated pictures beside the numbers of a tutorial's published figure, for a reader who does not have the figure."""

import numpy as np

from common.comparison.picture_rows import joined
from common.comparison.sets import LIKE_REAL, Row
from common.evaluation.features import resized
from common.evaluation.pixels import brightness, contrast, grey, sharpness, stretched

MEASURES = {"sharpness": sharpness, "contrast": contrast, "brightness": brightness}
HEADINGS = ("the figure, generated 原图，生成", "ours 本项目", "the figure, real 原图，真实")


def measured(pictures, classifier=None, stretch=False):
    """Name → mean over pictures, the same as in the table of ``tools/compare.py``.

    Args:
        pictures: float32 [n, H, W, C] in [-1, 1].
        classifier: `common.evaluation.classifier.Classifier`; measures its confidence, too, and all at 28×28 in grey.
        stretch: whether to stretch each picture over its own range of grey values first.
    """
    pictures = resized(grey(pictures), classifier.size) if classifier else pictures
    pictures = stretched(pictures) if stretch else pictures
    found = {name: float(measure(pictures).mean()) for name, measure in MEASURES.items()}
    if classifier:
        found["confidence"] = float(np.max(classifier.probabilities(pictures), axis=1).mean())
    return found


def rows(figures, pictures):
    """The rows of a comparison with the numbers of a tutorial's figure that is not at hand.

    Without the figure its numbers have no spread, so no row has an interval.

    Args:
        figures: `common.recipe.Figures` with ``numbers``.
        pictures: generated, float32 [n, H, W, C] in [-1, 1], of the size that ``numbers`` were measured at.

    Returns:
        `Row`s.
    """
    from common.evaluation.classifier import Classifier

    classifier = Classifier.load("mnist") if "confidence" in figures.numbers else None
    ours = measured(pictures, classifier, figures.stretched)
    note = joined(f"{len(pictures)} pictures of ours", "all at 28×28" if classifier else "",
                  "each stretched over its own range" if figures.stretched else "")
    return [Row(name, made, ours[name], verdict="one number without the figure: no interval", tutorial_real=real,
                note=note, better=LIKE_REAL)
            for name, (made, real) in figures.numbers.items()]


def table(figures, pictures):
    """`rows` as a table in Markdown."""
    return "\n".join([f"| | {' | '.join(HEADINGS)} |", "|---|---|---|---|"] + [
        f"| {row.name} | " + " | ".join("–" if value is None else f"{value:.3g}"
                                        for value in (row.tutorial, row.ours, row.tutorial_real)) + " |"
        for row in rows(figures, pictures)])
