"""A tutorial's pictures and ours by numbers, side by side, with what so few pictures can tell.

Each row of the table compares one number. Unless its note says otherwise, it calls a difference only where the 99 %
interval of the difference leaves 0 out: among a hundred rows on pictures of one kind, about one does so by chance.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np

from common.errors import UserError
from common.files import replacing

RESAMPLES = 2000  # of the bootstrap
LEVEL = 0.99
TWINS_SIDE = 16  # pixels that pictures are reduced to where twins are looked for, so that noise does not matter
TWINS_DRAWS = 10  # sets of real pictures that say how near twins are
FEWEST_BATCHES = 100  # whose losses tell how far one batch's may lie from another's
SHOWN = 64  # pictures of each kind in the picture


@dataclass
class Row:
    """A line of the table.

    Attributes:
        name: of what is compared, with its unit or protocol.
        tutorial, ours: the number of the generated pictures; text where it is no number; None where unknown.
        real, tutorial_real: of real pictures, the run's own and those that the tutorial shows.
        interval: (low, high) of ours − tutorial's.
        verdict: what can be said.
        note: what else has to be known.
    """

    name: str
    tutorial: float | str | None
    ours: float | str | None
    interval: tuple[float, float] | None = None
    verdict: str = ""
    real: float | str | None = None
    tutorial_real: float | str | None = None
    note: str = ""


def as_json(rows):
    """The rows as dictionaries, ready for JSON."""
    return [asdict(row) for row in rows]


# ---- pictures ----------------------------------------------------------------------------------------------


def resized(pictures, size):
    """Pictures [n, H, W, C] brought to (height, width): by areas where they shrink, linearly where they grow."""
    import cv2

    if pictures.shape[1:3] == tuple(size):
        return pictures
    way = cv2.INTER_AREA if size[0] <= pictures.shape[1] and size[1] <= pictures.shape[2] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(each, size[::-1], interpolation=way).reshape(*size, -1) for each in pictures])


def grey(pictures):
    """[n, H, W, 1] in [-1, 1] of pictures in colour; grey ones as they are."""
    return pictures if pictures.shape[3] == 1 else (pictures @ np.float32([0.299, 0.587, 0.114]))[..., None]


def stretched(pictures):
    """Each picture over its own range from -1 to 1, as ``plt.imsave`` shows it."""
    low, high = (reduce(pictures, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    return (pictures - low) / np.maximum(high - low, 1e-6) * 2 - 1


def sharpness(pictures):
    """The variance of the Laplacian of each picture's grey values of 0 … 1: [n]. Blurred pictures have little."""
    import cv2

    return np.array([cv2.Laplacian((each[..., 0] + 1) / 2, cv2.CV_32F).var() for each in grey(pictures)])


def contrast(pictures):
    """The standard deviation of each picture's grey values of 0 … 255: [n]."""
    return grey(pictures).std(axis=(1, 2, 3)) * 127.5


def brightness(pictures):
    """The mean of each picture's grey values of 0 … 255: [n]."""
    return (grey(pictures).mean(axis=(1, 2, 3)) + 1) * 127.5


def nearest(pictures, others, among_themselves=False):
    """The nearest of other pictures to each: (its number [n], the distance [n], RMS of levels of 0 … 255).

    Args:
        pictures: [n, H, W, C].
        others: [m, H, W, C].
        among_themselves: the pictures are among the others, and not meant.
    """
    from sklearn.neighbors import NearestNeighbors

    flat, known = (each.reshape(len(each), -1) for each in (pictures, others))
    rank = int(among_themselves)  # the nearest is the picture itself
    numbers = NearestNeighbors(algorithm="brute").fit(known).kneighbors(flat, rank + 1, return_distance=False)[:, rank]
    return numbers, np.sqrt(((flat - known[numbers]) ** 2).mean(axis=1)) * 127.5


def small(pictures):
    """Reduced so far that twins with different noise are alike."""
    side = min(TWINS_SIDE, *pictures.shape[1:3])
    return resized(pictures, (side, side))


def twin_distance(real, count):
    """How near pictures are that count as twins: only one real picture in a hundred has another as near among
    ``count``.
    """
    random = np.random.RandomState(0)
    near = []
    for _ in range(TWINS_DRAWS if len(real) > count else 1):
        drawn = small(real[random.permutation(len(real))[:count]])
        near.append(nearest(drawn, drawn, among_themselves=True)[1])
    return float(np.quantile(np.concatenate(near), 0.01))


# ---- what few pictures can tell ----------------------------------------------------------------------------


def twin_groups(pictures, limit):
    """The number of each picture's group of twins: [n], those of one group being alike.

    Average linkage, so that a chain of likenesses makes no group of pictures that are not.

    Args:
        pictures: [n, H, W, C].
        limit: how near twins are, see `twin_distance`.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    flat = small(pictures).reshape(len(pictures), -1)
    scale = 127.5 / flat.shape[1] ** 0.5  # from Euclid's distance to RMS of 0 … 255
    return fcluster(linkage(flat, "average") * [1, 1, scale, 1], limit, "distance") - 1


def interval(tutorial, ours, statistic=np.mean, groups=(None, None)):
    """The bootstrap's `LEVEL` interval of statistic(ours) − statistic(tutorial's).

    What is drawn again is groups, because twins tell one thing together. A bootstrap of few is too narrow: each side
    is widened as Student's t is wider than the normal distribution (Hesterberg 2015, "What Teachers Should Know About
    the Bootstrap").

    Args:
        tutorial, ours: one row a picture.
        statistic: of such an array, a number.
        groups: for each of the two, the group of each row, whole numbers from 0; None: each its own.

    Returns:
        (low, high); None where one side is a single group.
    """
    from scipy.stats import norm, t

    random = np.random.RandomState(0)
    sides = []
    for rows, group in zip((tutorial, ours), groups, strict=True):
        group = np.arange(len(rows)) if group is None else group
        count = group.max() + 1
        if count < 2:
            return None
        weights = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)[:, group]
        if statistic is np.mean:
            drawn = weights @ rows / weights.sum(axis=1)
        else:
            drawn = np.array([statistic(rows.repeat(times, axis=0)) for times in weights])
        wider = t.ppf((1 + LEVEL) / 2, count - 1) / norm.ppf((1 + LEVEL) / 2) * (count / (count - 1)) ** 0.5
        found = statistic(rows)
        sides.append(found + wider * (drawn - found))
    low, high = np.quantile(sides[1] - sides[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def verdict(bounds, count):
    """What an interval of a difference says; None says nothing."""
    return "differs" if bounds and (bounds[0] > 0 or bounds[1] < 0) else _nothing(count)


def _nothing(count):
    return f"no difference that {count} pictures can show"


def entropy(classes):
    """Bits of the histogram of whole numbers."""
    share = np.bincount(classes) / len(classes)
    share = share[share > 0]
    return float((share * np.log2(1 / share)).sum())


# ---- the table ---------------------------------------------------------------------------------------------


@dataclass
class Sets:
    """The pictures that are compared, float32 [n, H, W, C] in [-1, 1], all of one shape; None where there are none.

    Attributes:
        tutorial, ours: generated.
        tutorial_real: that the tutorial shows beside its own.
        real: of the run's data, if there are any not trained on.
        train: that the run was trained on.
        held_out: whether ``real`` were kept from the training.
        groups: of twins among ``tutorial``, see `twin_groups`: a figure may show a picture twice. Of ours each is a
            draw of its own, however alike they are.
    """

    tutorial: np.ndarray
    ours: np.ndarray
    tutorial_real: np.ndarray | None = None
    real: np.ndarray | None = None
    train: np.ndarray | None = None
    held_out: bool = False
    groups: np.ndarray | None = None

    def each(self):
        """(name, pictures) of the four kinds that have a column in the table."""
        return [(name, getattr(self, name)) for name in ("tutorial", "ours", "tutorial_real", "real")
                if getattr(self, name) is not None]

    @property
    def picks(self):
        """Kind → the numbers of its pictures that make `single`: one of each of the tutorial's groups, and as many of
        ours, evenly spread.
        """
        first = np.arange(len(self.tutorial)) if self.groups is None else (
            np.sort(np.unique(self.groups, return_index=True)[1]))
        return {"tutorial": first, "ours": np.linspace(0, len(self.ours) - 1, len(first)).astype(int)}

    @property
    def single(self):
        """The sets without the tutorial's twins: for numbers that depend on how many different pictures there are."""
        if self.groups is None:
            return self
        return replace(self, **{kind: getattr(self, kind)[chosen] for kind, chosen in self.picks.items()}, groups=None)

    @property
    def reference(self):
        """The kind that the generated ones are held against: real pictures, else the tutorial's own."""
        return next(kind for kind in ("real", "tutorial_real", "tutorial")
                    if getattr(self, kind) is not None and len(getattr(self, kind)) > 1)

    def changed(self, function):
        """The same with a function applied to each kind of pictures."""
        kinds = (*self.each(), *([("train", self.train)] if self.train is not None else []))
        return Sets(**{name: function(pictures) for name, pictures in kinds}, held_out=self.held_out)


def alike(sets, size=None):
    """The sets in one size, the smallest of all unless it is given, all in grey if any is, and as many of ours as of
    the tutorial's, evenly spread: entropies and nearest neighbours depend on how many there are.
    """
    count = min(len(sets.tutorial), len(sets.ours))
    tutorial, ours = (pictures[np.linspace(0, len(pictures) - 1, count).astype(int)]
                      for pictures in (sets.tutorial, sets.ours))
    sets = replace(sets, tutorial=tutorial, ours=ours)
    kinds = [*(pictures for _, pictures in sets.each()), *([sets.train] if sets.train is not None else [])]
    size = size or tuple(min(each.shape[axis] for each in kinds) for axis in (1, 2))
    colour = all(each.shape[3] == 3 for each in kinds)
    return sets.changed(lambda pictures: resized(pictures if colour else grey(pictures), size))


def mean_row(name, sets, measure, note=""):
    """The row of a number that each picture has of its own."""
    return row_of_values(name, {kind: measure(pictures) for kind, pictures in sets.each()}, sets.groups, note)


def row_of_values(name, values, groups, note=""):
    """The row of the means of values [n] a kind of pictures; ``groups`` as in `Sets`."""
    bounds = interval(values["tutorial"], values["ours"], groups=(groups, None))
    return Row(name, **{kind: float(each.mean()) for kind, each in values.items()}, interval=bounds,
               verdict=verdict(bounds, len(values["tutorial"])), note=note)


def sharpness_rows(sets, note):
    """Sharpness, and its share of that of real pictures, which went the same way through sizes and formats."""
    yield mean_row("sharpness (variance of the Laplacian)", sets, sharpness, note)
    if sets.real is not None and sets.tutorial_real is not None:
        both = [np.stack([sharpness(made), sharpness(real)[:len(made)]], axis=1) if len(real) >= len(made) else None
                for made, real in ((sets.tutorial, sets.tutorial_real), (sets.ours, sets.real))]
        if both[0] is None or both[1] is None:
            return
        share = lambda values: values[:, 0].mean() / values[:, 1].mean()  # noqa: E731
        bounds = interval(*both, share, (sets.groups, None))
        yield Row("sharpness, ÷ real pictures'", float(share(both[0])), float(share(both[1])), bounds,
                  verdict(bounds, len(sets.tutorial)), 1.0, 1.0)


def class_rows(sets, classifier):
    """What a classifier sees: how surely, and how evenly its classes come."""
    seen = {kind: classifier.probabilities(pictures) for kind, pictures in sets.each()}
    yield row_of_values(f"confidence ({classifier.name})", {kind: each.max(axis=1) for kind, each in seen.items()},
                        sets.groups)

    picks = sets.picks
    count = len(picks["tutorial"])
    found = {kind: each[picks.get(kind, slice(count))].argmax(axis=1) for kind, each in seen.items()}
    bounds = interval(found["tutorial"], found["ours"], entropy)
    yield Row(f"entropy of the classes, bits of {np.log2(len(classifier.labels)):.2f}",
              **{kind: entropy(each) for kind, each in found.items()}, interval=bounds,
              verdict=verdict(bounds, count), note=without_twins(sets))

    from scipy.stats import chi2_contingency

    counts = {kind: np.bincount(each, minlength=len(classifier.labels)) for kind, each in found.items()}
    table = np.stack([counts["tutorial"], counts["ours"]])
    chance = chi2_contingency(table[:, table.any(axis=0)]).pvalue if table.any(axis=0).sum() > 1 else 1.0
    yield Row("pictures a class, " + " ".join(classifier.labels),
              **{kind: " ".join(map(str, each)) for kind, each in counts.items()},
              verdict="differs" if chance < 1 - LEVEL else _nothing(count),
              note=joined(f"χ² test: by chance in {chance:.2g} of all cases", without_twins(sets)))


def joined(*notes):
    """Notes as one; empty ones are left out."""
    return "; ".join(filter(None, notes))


def without_twins(sets):
    """The note of a row about `Sets.single`, where that leaves some out."""
    count = len(sets.picks["tutorial"])
    return f"of the tutorial's {len(sets.tutorial)} {count} without their twins" if count < len(sets.tutorial) else ""


def kernel_row(sets, features):
    """KID of each kind to real pictures; different where the intervals of 95 % do not touch.

    Without real pictures, of ours to the tutorial's; different where the interval of 95 % lies above 0.
    """
    from common.evaluation.metrics import kernel_distance

    notes = ("" if hasattr(features, "probabilities") else
             "these features see edges and coarse colours, not whether a face is one", without_twins(sets))
    reference, sets = sets.reference, sets.single
    found = {kind: features.features(pictures) for kind, pictures in sets.each()}
    known = found[reference]
    if reference == "tutorial":
        value, low, high = kernel_distance(found["ours"], known, np.random.RandomState(0))
        return Row(f"KID of ours to the tutorial's ({features.name})", None, value,
                   verdict="differs" if low > 0 else _nothing(len(sets.tutorial)),
                   note=joined(f"95 % interval {low:.3g} … {high:.3g}", *notes))
    kid = {kind: kernel_distance(each, known, np.random.RandomState(0)) for kind, each in found.items()
           if each is not known}
    (_, *tutorial), (_, *ours) = kid["tutorial"], kid["ours"]
    apart = tutorial[1] < ours[0] or ours[1] < tutorial[0]
    return Row(f"KID to {len(known)} real pictures ({features.name})",
               **{kind: each[0] for kind, each in kid.items()},
               interval=(ours[0] - tutorial[1], ours[1] - tutorial[0]),
               verdict="differs" if apart else _nothing(len(sets.tutorial)),
               note=joined("95 % intervals: tutorial {:.3g} … {:.3g}, ours {:.3g} … {:.3g}".format(*tutorial, *ours),
                           *notes))


def twins_row(sets, limit):
    """The share of pictures that have a twin in their own set.

    Its interval is of a picture more with a twin and one more without on each side, else a share of none or
    all would pass for certain.
    """
    def has_twin(pictures):
        pictures = small(pictures[:len(sets.tutorial)])  # the more there are, the nearer is the nearest
        if len(pictures) == 1:
            return np.zeros(1)
        return (nearest(pictures, pictures, among_themselves=True)[1] < limit).astype(float)

    values = {kind: has_twin(pictures) for kind, pictures in sets.each()}
    groups = sets.groups, twin_groups(sets.ours, limit)
    whose = "the tutorial's" if sets.reference == "tutorial" else "as many real pictures"
    bounds = interval(*(np.append(values[kind], [0, 1]) for kind in ("tutorial", "ours")),
                      groups=[np.append(group, group.max() + [1, 2]) for group in groups])
    return Row("share of pictures with a twin", **{kind: float(each.mean()) for kind, each in values.items()},
               interval=bounds, verdict=verdict(bounds, len(sets.tutorial)),
               note=f"a twin is nearer than 1 % of {whose} have: RMS {limit:.3g} of 255 at {TWINS_SIDE}×{TWINS_SIDE}")


def memory_row(sets, numbers):
    """How far the nearest training picture is; appends its number for each of ours to ``numbers``."""
    values = {}
    for kind, pictures in sets.each():
        known = kind == "real" and not sets.held_out  # these are training pictures themselves
        found, values[kind] = nearest(pictures[:len(sets.tutorial)], sets.train, known)
        if kind == "ours":
            numbers.extend(found)
    low, high = interval(values["real"], values["ours"]) or (-np.inf, np.inf)
    ours = ("nearer to the training pictures than" if high < 0 else
            "farther from the training pictures than" if low > 0 else "as far from the training pictures as")
    others = "real ones kept from it" if sets.held_out else "these from each other"
    return row_of_values("distance to the nearest training picture", values, sets.groups,
                         f"ours are {ours} {others}; RMS of 0 … 255, "
                         f"among {len(sets.train)} pictures")


def picture_rows(sets, features, note="", numbers=None):
    """All rows about the pictures, one after another.

    Args:
        sets: see `alike`.
        features: what describes the pictures; a `Classifier` gives the rows about classes too.
        note: on the tutorial's pixels.
        numbers: a list that the nearest training picture of each of ours goes into.

    Raises:
        UserError: too few pictures.
    """
    if min(len(sets.tutorial), len(sets.ours)) < 2:
        raise UserError("one picture alone cannot be compared; name a figure or a folder of several")
    limit = twin_distance(getattr(sets, sets.reference), len(sets.tutorial))
    sets = replace(sets, groups=twin_groups(sets.tutorial, limit))
    yield from sharpness_rows(sets, note)
    yield mean_row("contrast (standard deviation of 0 … 255)", sets, contrast)
    yield mean_row("brightness (mean of 0 … 255)", sets, brightness)
    if hasattr(features, "probabilities"):
        yield from class_rows(sets, features)
    try:
        yield kernel_row(sets, features)
    except UserError as error:  # too few pictures
        yield Row("KID", None, None, verdict=f"not measured: {error}")
    yield twins_row(sets, limit)
    if sets.train is not None:
        yield memory_row(sets, [] if numbers is None else numbers)


# ---- losses ------------------------------------------------------------------------------------------------


def loss_rows(config, metrics):
    """A run's losses beside the published ones, where it was trained on the same data with every oddity kept.

    Args:
        config: the run's ``config.json``.
        metrics: its lines, one a batch.
    """
    from common.evaluation import published

    tutorials = {"book": "MNIST", "dcgan_face": "CelebA"}  # what the published losses are of
    if not metrics or config["options"].get("fix") or config["dataset"]["name"] != tutorials.get(config["recipe"]):
        return
    if config["recipe"] == "book" and config["options"].get("enable_ce"):
        if config["options"]["batch_size"] == 128 and len(metrics) == published.CE_BATCHES:
            yield from _evaluation_rows(metrics, published)
    elif config["recipe"] == "book":
        yield from _book_rows(metrics, published)
    elif config["recipe"] == "dcgan_face":
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


# ---- what is shown -----------------------------------------------------------------------------------------


def table(rows):
    """The rows as lines of text: the numbers, and beneath them what they say."""
    columns = ("tutorial", "ours", "tutorial_real", "real")
    yield f"{'':50}{'generated':>22}{'real':>22}"
    yield f"{'':50}" + "".join(f"{heading:>11}" for heading in ("tutorial", "ours") * 2)
    for row in rows:
        values = [getattr(row, column) for column in columns]
        if any(isinstance(value, str) for value in values):
            yield f"\n{row.name}"
            yield from (f"    {column.replace('_', ' '):14}{value}"
                        for column, value in zip(columns, values, strict=True) if value is not None)
        else:
            yield f"\n{row.name:50}" + "".join(f"{'' if value is None else f'{value:.4g}':>11}" for value in values)
        bounds = f" (ours − tutorial {row.interval[0]:+.3g} … {row.interval[1]:+.3g})" if row.interval else ""
        yield f"    {row.verdict}{bounds}"
        if row.note:
            yield f"    {row.note}"
    yield (f"\nDifferences with {LEVEL:.0%} intervals, unless a row says otherwise: one row in "
           f"{1 / (1 - LEVEL):.0f} differs by chance alone.")


def save_picture(path, panels):
    """Grids of pictures side by side, each under a heading.

    Args:
        path: of the PNG.
        panels: (heading, pictures [n, H, W, C] in [-1, 1]); the first `SHOWN` are drawn.
    """
    from common import plotting

    figure, axes = plotting.plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 4.9), squeeze=False,
                                          gridspec_kw={"wspace": 0.05})
    for axis, (heading, pictures) in zip(axes[0], panels, strict=True):
        drawn = pictures[:SHOWN]
        joined = plotting.grid(drawn[..., 0] if drawn.shape[3] == 1 else drawn, pad=2)
        axis.imshow(plotting.to_uint8(joined), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(heading, fontsize=11)
        axis.axis("off")
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", dpi=120)
    plotting.plt.close(figure)
