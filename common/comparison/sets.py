"""What is compared: the pictures, made alike, and a row of the table."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from common.comparison.pixels import grey
from common.data.batches import spread
from common.evaluation.features import resized

LOWER, HIGHER, LIKE_REAL = "lower is better", "higher is better", "best like real pictures"


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
        better: `LOWER`, `HIGHER` or `LIKE_REAL`; empty where neither is.
    """

    name: str
    tutorial: float | str | None
    ours: float | str | None
    interval: tuple[float, float] | None = None
    verdict: str = ""
    real: float | str | None = None
    tutorial_real: float | str | None = None
    note: str = ""
    better: str = ""

    @property
    def differs(self):
        """Whether ours are told from the tutorial's."""
        return self.verdict.startswith(("differs", "outside"))

    @property
    def ours_better(self):
        """Whether ours are better than the tutorial's: True, False, or None where nobody can tell."""
        real = self.real if self.real is not None else self.tutorial_real
        if not self.better or self.tutorial is None or (self.better == LIKE_REAL and real is None):
            return None
        if self.better == LIKE_REAL:
            shown = self.tutorial_real if self.tutorial_real is not None else real
            return abs(self.ours - real) < abs(self.tutorial - shown)
        return (self.ours < self.tutorial) == (self.better == LOWER)


def as_json(rows):
    """The rows as dictionaries, ready for JSON."""
    return [asdict(row) for row in rows]


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
        return {"tutorial": first, "ours": spread(len(self.ours), len(first))}

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
    tutorial, ours = (pictures[spread(len(pictures), count)]
                      for pictures in (sets.tutorial, sets.ours))
    sets = replace(sets, tutorial=tutorial, ours=ours)
    kinds = [*(pictures for _, pictures in sets.each()), *([sets.train] if sets.train is not None else [])]
    size = size or tuple(min(each.shape[axis] for each in kinds) for axis in (1, 2))
    colour = all(each.shape[3] == 3 for each in kinds)
    return sets.changed(lambda pictures: resized(pictures if colour else grey(pictures), size))
