"""The rows of the table that compare a run's losses with the published ones."""

import numpy as np

from common.comparison.chance import LEVEL
from common.comparison.sets import Row

FEWEST_BATCHES = 100  # whose losses tell how far one batch's may lie from another's


def loss_rows(config, metrics):
    """A run's losses beside the published ones, where it was trained on the same data with every oddity kept.

    Args:
        config: the run's ``config.json``.
        metrics: its lines, one a batch.
    """
    from common.comparison import published

    tutorials = {"book": "MNIST", "faces": "CelebA"}  # what the published losses are of
    if not metrics or config["options"].get("fix") or config["dataset"]["name"] != tutorials.get(config["recipe"]):
        return
    if config["recipe"] == "book" and config["options"].get("enable_ce"):
        if config["options"]["batch_size"] == 128 and len(metrics) == published.CE_BATCHES:
            yield from _evaluation_rows(metrics, published)
    elif config["recipe"] == "book":
        yield from _book_rows(metrics, published)
    elif config["recipe"] == "faces":
        yield from _faces_rows(metrics, published)


def _evaluation_rows(metrics, published):
    means = {"D-Loss": np.mean([line["D-Loss"] for line in metrics]),
             "DG-Loss": np.mean([(line["DG-Loss first"] + line["DG-Loss"]) / 2 for line in metrics])}
    for name, baseline in published.BOOK_CE.items():
        off = means[name] / baseline - 1
        within = abs(off) <= published.CE_TOLERANCE
        yield Row(f"{name}, continuous evaluation", baseline, float(means[name]),
                  verdict=f"{'within' if within else 'outside'} its {published.CE_TOLERANCE:.0%} ({off:+.1%})",
                  note=f"mean of {len(metrics)} batches")


def _book_rows(metrics, published):
    at = [line for line in metrics if (line["epoch"], line["batch"]) <= (published.BOOK_EPOCH, published.BOOK_BATCH)]
    shown, around = at[-1], at[-1 - published.BOOK_BATCH:]
    for name, value in published.BOOK_LOSSES.items():
        low, high = np.quantile([line[name] for line in around], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - value
        if len(around) < FEWEST_BATCHES:
            said = f"{len(around)} batches are too few to tell"
        else:
            said = "differs" if low > 0 or high < 0 else f"within what the last {len(around)} batches show"
        yield Row(f"{name} of one batch", value, shown[name], (float(low), float(high)), said,
                  note=f"tutorial: epoch {published.BOOK_EPOCH}, batch {published.BOOK_BATCH}; "
                       f"ours: epoch {shown['epoch']}, batch {shown['batch']}")


def _faces_rows(metrics, published):
    g = np.array([line["G-Loss"] for line in metrics])
    above = np.flatnonzero(g >= published.FACES_FIRST)
    settling = "never above it" if not above.size else next(
        (start for start in range(above[0], len(g) - 9) if np.median(g[start:start + 10]) < published.FACES_FIRST),
        f"not in {len(g)}")
    one = "one curve each: no interval"
    yield Row("G-Loss, highest", published.FACES_HIGHEST, float(g.max()), verdict=one)
    yield Row(f"batches until G-Loss falls below {published.FACES_FIRST:g}", published.FACES_SETTLED,
              settling, verdict=one,
              note="the median of ten batches; D wins outright before")
    settled = metrics[published.FACES_SETTLED:]
    for name, value in published.FACES_LOSSES.items():
        if not settled:
            return
        losses = np.array([line[name] for line in settled])
        low, high = np.quantile(losses, [0.05, 0.95])
        yield Row(f"{name} after batch {published.FACES_SETTLED}, median", value, float(np.median(losses)),
                  (float(low - value), float(high - value)),
                  "within our batches' 5 … 95 %" if low <= value <= high else "outside our batches' 5 … 95 %",
                  note=f"the tutorial's is read off its curve; ours: {len(settled)} batches")
