"""The rows of the table that compare pictures.

Each row compares one number. Unless its note says otherwise, its verdict is "differs" only if 0 lies outside of the
99 % interval of the difference. So about one in a hundred rows on pictures of the same kind differs by chance.
"""

from dataclasses import replace

import numpy as np

from common.comparison.chance import (
    LEVEL,
    entropy,
    interval,
    no_difference,
    proportion_interval,
    twin_groups,
    verdict,
)
from common.comparison.sets import HIGHER, LIKE_NEW, LIKE_REAL, LOWER, Row
from common.errors import UserError
from common.evaluation.pixels import (
    TWINS_SIDE,
    brightness,
    contrast,
    nearest,
    sharpness,
    small,
    twin_distance,
)

TWINS = "share of pictures with a twin"


def picture_rows(sets, features, note="", numbers=None):
    """Yield all rows about the pictures, one after another.

    Args:
        sets: `Sets`, as `alike` returns them.
        features: turns pictures into numbers; with a `Classifier` there are rows about classes too.
        note: how the tutorial's pixels were changed when they were read.
        numbers: a list; the number of the nearest training picture is appended for each of our pictures.

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
    if features.labels:
        yield from class_rows(sets, features)
    try:
        yield kernel_row(sets, features)
    except UserError as error:  # too few pictures
        yield Row("KID", None, None, verdict=f"not measured: {error}")
    yield twins_row(sets, limit)
    if sets.train is not None and len(sets.train) > 1:  # one picture alone has no nearest other one
        yield memory_row(sets, [] if numbers is None else numbers)


def mean_row(name, sets, measure, note=""):
    """The row of a number that is measured on each picture by itself, such as its contrast."""
    return row_of_values(name, {kind: measure(pictures) for kind, pictures in sets.each()}, sets.groups, note)


def row_of_values(name, values, groups, note="", better=LIKE_REAL):
    """The row of means. ``values`` is kind of pictures → [n], one value for each picture; ``groups`` as in `Sets`."""
    bounds = interval(values["tutorial"], values["ours"], groups=(groups, None))
    return Row(name, **{kind: float(each.mean()) for kind, each in values.items()}, interval=bounds,
               verdict=verdict(bounds, len(values["tutorial"])), note=note, better=better)


def sharpness_rows(sets, note):
    """Two rows: sharpness, and its ratio to the sharpness of real pictures that were scaled and saved the same way."""
    yield mean_row("sharpness (variance of the Laplacian)", sets, sharpness, note)
    if sets.real is not None and sets.tutorial_real is not None:
        both = [np.stack([sharpness(made), sharpness(real)[:len(made)]], axis=1) if len(real) >= len(made) else None
                for made, real in ((sets.tutorial, sets.tutorial_real), (sets.ours, sets.real))]
        if both[0] is None or both[1] is None:
            return
        share = lambda values: values[:, 0].mean() / values[:, 1].mean()  # noqa: E731
        bounds = interval(*both, share, (sets.groups, None))
        yield Row("sharpness, ÷ real pictures'", float(share(both[0])), float(share(both[1])), bounds,
                  verdict(bounds, len(sets.tutorial)), 1.0, 1.0, better=LIKE_REAL)


def class_rows(sets, classifier):
    """The rows of a classifier: how sure it is of the pictures' classes, and how evenly the classes occur."""
    seen = {kind: classifier.probabilities(pictures) for kind, pictures in sets.each()}
    yield row_of_values(f"confidence ({classifier.name})", {kind: each.max(axis=1) for kind, each in seen.items()},
                        sets.groups, "how sure it is of a class: it can be sure of noise, too")

    picks = sets.picks
    count = len(picks["tutorial"])
    found = {kind: each[picks.get(kind, slice(count))].argmax(axis=1) for kind, each in seen.items()}
    bounds = interval(found["tutorial"], found["ours"], entropy)
    yield Row(f"entropy of the classes, bits of {np.log2(len(classifier.labels)):.2f}",
              **{kind: entropy(each) for kind, each in found.items()}, interval=bounds,
              verdict=verdict(bounds, count), note=without_twins(sets), better=HIGHER)

    from scipy.stats import chi2_contingency

    counts = {kind: np.bincount(each, minlength=len(classifier.labels)) for kind, each in found.items()}
    table = np.stack([counts["tutorial"], counts["ours"]])
    chance = chi2_contingency(table[:, table.any(axis=0)]).pvalue if table.any(axis=0).sum() > 1 else 1.0
    yield Row("pictures a class, " + " ".join(classifier.labels),
              **{kind: " ".join(map(str, each)) for kind, each in counts.items()},
              verdict="differs" if chance < 1 - LEVEL else no_difference(count),
              note=joined(f"χ² test: p = {chance:.2g}", without_twins(sets)))


def joined(*notes):
    """Join notes into one; empty notes are left out."""
    return "; ".join(filter(None, notes))


def without_twins(sets):
    """The note of a row about `Sets.single`; empty if no picture of the tutorial was left out as a twin."""
    count = len(sets.picks["tutorial"])
    if count == len(sets.tutorial):
        return ""
    return f"{count} of the tutorial's {len(sets.tutorial)} pictures count, the others repeat one of them"


def kernel_row(sets, features):
    """The row of KID between each kind of pictures and real ones; "differs" if the 95 % intervals do not overlap.

    Without real pictures: KID between ours and the tutorial's; "differs" if its 95 % interval lies above 0.
    """
    from common.evaluation.metrics import kernel_distance

    notes = ("" if features.labels else
             "these features see edges and coarse colours, not whether a face is one", without_twins(sets))
    reference, sets = sets.reference, sets.single
    found = {kind: features.features(pictures) for kind, pictures in sets.each()}
    known = found[reference]
    if reference == "tutorial":
        value, low, high = kernel_distance(found["ours"], known, np.random.RandomState(0))
        return Row(f"KID of ours to the tutorial's ({features.name})", None, value,
                   verdict="differs" if low > 0 else no_difference(len(sets.tutorial)),
                   note=joined(f"95 % interval {low:.3g} … {high:.3g}", *notes), better=LOWER)
    kid = {kind: kernel_distance(each, known, np.random.RandomState(0)) for kind, each in found.items()
           if each is not known}
    (_, *tutorial), (_, *ours) = kid["tutorial"], kid["ours"]
    apart = tutorial[1] < ours[0] or ours[1] < tutorial[0]
    return Row(f"KID to {len(known)} real pictures ({features.name})",
               **{kind: each[0] for kind, each in kid.items()},
               interval=(ours[0] - tutorial[1], ours[1] - tutorial[0]),
               verdict="differs" if apart else no_difference(len(sets.tutorial)),
               note=joined("95 % intervals: tutorial {:.3g} … {:.3g}, ours {:.3g} … {:.3g}".format(*tutorial, *ours),
                           *notes), better=LOWER)


def twins_row(sets, limit):
    """The row of the share of pictures that have a twin in their own set.

    Twins come at least in pairs, so the interval counts a set of n pictures as at most n / 2 observations. A figure
    that repeats its pictures counts as at most as many observations as it has groups of twins.
    """
    def has_twin(pictures):
        pictures = small(pictures[:len(sets.tutorial)])  # equally many: a larger set has nearer neighbours
        if len(pictures) == 1:
            return np.zeros(1)
        return (nearest(pictures, pictures, among_themselves=True)[1] < limit).astype(float)

    values = {kind: has_twin(pictures) for kind, pictures in sets.each()}
    whose = "the tutorial's pictures" if sets.reference == "tutorial" else "as many real pictures"
    shares = {kind: float(each.mean()) for kind, each in values.items()}
    groups = len(sets.tutorial) if sets.groups is None else sets.groups.max() + 1
    bounds = proportion_interval(shares["tutorial"], shares["ours"],
                                 (min(groups, len(sets.tutorial) / 2), len(values["ours"]) / 2))
    return Row(TWINS, **shares,
               interval=bounds, verdict=verdict(bounds, len(sets.tutorial)),
               note=f"twins are nearer to each other than RMS {limit:.3g} of 255 at {TWINS_SIDE}×{TWINS_SIDE}; "
                    f"of {whose} 1 % have so near a neighbour",
               better=LOWER)


def memory_row(sets, numbers):
    """The row of the distance to the nearest training picture; its number goes into ``numbers`` for each of ours."""
    values, copied = {}, {}
    for kind, pictures in sets.each():
        known = kind == "real" and not sets.held_out  # real pictures that are training pictures themselves
        chosen = pictures[:len(sets.tutorial)]
        found, values[kind], copied[kind] = nearest(chosen, sets.train, known)
        if kind == "ours":
            numbers.extend(found)
    ours, real = (float(copied[kind].mean()) for kind in ("ours", "real"))
    more = proportion_interval(real, ours, [len(copied[kind]) for kind in ("real", "ours")])[0] > 0
    told = "some are learnt by heart" if more else "no sign of pictures learnt by heart"
    return row_of_values("distance to the nearest training picture", values, sets.groups,
                         f"RMS of 0 … 255, among {len(sets.train)} pictures; {ours:.0%} of ours and {real:.0%} of real "
                         f"ones are as near as copies: {told}", LIKE_NEW)
