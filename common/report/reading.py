"""How to read the report: a sentence under each chart, remarks on misleading numbers, a page that explains more."""

import os
from pathlib import Path

from common.errors import ROOT

PAGE = Path("docs", "metrics.md")

LOSSES = ("Look for curves that move on about one level. D's loss at its lowest value for long, or G's rising without "
          "end, is bad; a level loss alone does not mean good pictures.")
PARTS = "Look which part moves the loss: D on real pictures and on fakes, or G's single steps."
SENTENCES = {
    "fid": "Lower is better. Compare it with the row of real pictures, and only for the same features and counts.",
    "kid": "Lower is better. Where the dashed bounds of two checkpoints overlap, they may be equally good.",
    "precision": "The share of pictures near a real one. Higher is better, but beside a recall of 0 it misleads.",
    "recall": "The share of real pictures that could be drawn. Near 0, kinds are missing or all pictures are alike.",
    "density": "About 1 is as real pictures. Much more means that typical pictures repeat, not that they are better.",
    "coverage": "The share of real pictures with a generated one near by. Where it falls, kinds of pictures are lost.",
    "label agreement": "How often a classifier sees what was asked for; it does not tell whether pictures differ.",
}
COLLAPSE = ("Precision near 1 with recall near 0 is not a good sign: the pictures lie close together among the real "
            "ones. Look whether the generator draws the same ones again and again.")


def sentence(name):
    """A sentence on what to look for in a metric's chart; "" for an unknown metric."""
    return SENTENCES.get(name, "")


def remark(values):
    """A warning about a row's metrics, which are given by short name; "" if there is no reason for one."""
    precision, recall = (values.get(name) for name in ("precision", "recall"))
    numbers = isinstance(precision, (int, float)) and isinstance(recall, (int, float))
    return COLLAPSE if numbers and precision >= 0.95 and recall <= 0.05 else ""


def way(output):
    """The page that explains losses and metrics, as HTML: a link if the report lies in the project's folder."""
    folder = Path(output).resolve().parent
    name = PAGE.as_posix()
    if folder.is_relative_to(ROOT):  # elsewhere the link would show the names of this machine's folders
        name = f'<a href="{Path(os.path.relpath(ROOT / PAGE, folder)).as_posix()}">{name}</a>'
    return f'<p class="way">What losses and metrics say, and what they do not: {name} in the project\'s folder.</p>'
