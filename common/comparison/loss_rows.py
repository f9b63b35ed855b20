"""The rows of the table that compare a run's losses with the published ones."""

import numpy as np

from common import recipe as recipes
from common.comparison.chance import LEVEL
from common.comparison.sets import Row
from common.recipe import BatchLosses, EpochMeans, LossCurve

FEWEST_BATCHES = 100  # with fewer batches it is unknown how far losses vary from batch to batch


def loss_rows(config, metrics):
    """Yield rows of a run's losses beside the published ones, if it has the tutorial's data, oddities and Adam.

    Args:
        config: the run's ``config.json``.
        metrics: the lines of the run's ``metrics.jsonl``, one for each batch.
    """
    recipe, options = recipes.load(config["recipe"]), config["options"]
    own = recipe.adam(options) == recipe.adam({})
    if not metrics or options.get("fix") or not own or config["dataset"]["name"] not in recipe.data:
        return
    rows_of = {EpochMeans: _epoch_rows, BatchLosses: _batch_rows, LossCurve: _curve_rows}
    for published in recipe.published:
        if all((options.get(name) or False) == value for name, value in published.options.items()):
            yield from rows_of[type(published)](metrics, published)


def _epoch_rows(metrics, published):
    if len(metrics) != published.batches:
        return
    for name, (baseline, parts) in published.losses.items():
        mean = np.mean([sum(line[part] for part in parts) / len(parts) for line in metrics])
        off = mean / baseline - 1
        within = abs(off) <= published.tolerance
        yield Row(f"{name}, continuous evaluation", baseline, float(mean),
                  verdict=f"{'within' if within else 'outside'} its {published.tolerance:.0%} ({off:+.1%})",
                  note=f"mean of {len(metrics)} batches")


def _batch_rows(metrics, published):
    at = [line for line in metrics if (line["epoch"], line["batch"]) <= (published.epoch, published.batch)]
    shown, around = at[-1], at[-1 - published.batch:]
    for name, value in published.losses.items():
        low, high = np.quantile([line[name] for line in around], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - value
        if len(around) < FEWEST_BATCHES:
            said = f"{len(around)} batches are too few to tell"
        else:
            said = "differs" if low > 0 or high < 0 else f"within what the last {len(around)} batches show"
        yield Row(f"{name} of one batch", value, shown[name], (float(low), float(high)), said,
                  note=f"tutorial: epoch {published.epoch}, batch {published.batch}; "
                       f"ours: epoch {shown['epoch']}, batch {shown['batch']}")


def _curve_rows(metrics, published):
    name, first = published.generator, published.first
    g = np.array([line[name] for line in metrics])
    above = np.flatnonzero(g >= first)
    settling = "never above it" if not above.size else next(
        (start for start in range(above[0], len(g) - 9) if np.median(g[start:start + 10]) < first),
        f"not in {len(g)}")
    one = "one curve each: no interval"
    yield Row(f"{name}, highest", published.highest, float(g.max()), verdict=one)
    yield Row(f"batches until {name} falls below {first:g}", published.settled, settling, verdict=one,
              note="the median of ten batches; D wins outright before")
    settled = metrics[published.settled:]
    for name, value in published.losses.items():
        if not settled:
            return
        losses = np.array([line[name] for line in settled])
        low, high = np.quantile(losses, [0.05, 0.95])
        yield Row(f"{name} after batch {published.settled}, median", value, float(np.median(losses)),
                  (float(low - value), float(high - value)),
                  "within our batches' 5 … 95 %" if low <= value <= high else "outside our batches' 5 … 95 %",
                  note=f"the tutorial's is read off its curve; ours: {len(settled)} batches")
