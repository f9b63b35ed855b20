"""The two data types of a comparison: the sets of pictures, in one size and colour, and a row of the table."""

from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from common.data.batches import spread
from common.evaluation.features import resized
from common.evaluation.pixels import grey

LOWER, HIGHER, LIKE_REAL = "lower is better", "higher is better", "best like real pictures"
LIKE_NEW = "best like new real pictures"  # real ones that were trained on are no measure here


@dataclass
class Row:
    """A line of the table.

    Attributes:
        name: what is measured, with its unit or protocol.
        tutorial, ours: the value of the generated pictures, a number or a text; None: unknown.
        real, tutorial_real: the value of real pictures: of the run's data, and of those that the tutorial shows.
        interval: (low, high) of ours − tutorial's; None: unknown.
        verdict: the result of the comparison, in words.
        note: further facts that a reader of the row has to know.
        better: `LOWER`, `HIGHER`, `LIKE_REAL` or `LIKE_NEW`; empty if no value is better than another.
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
        """Whether the verdict says that our value differs from the tutorial's."""
        return self.verdict.startswith(("differs", "outside"))

    @property
    def tested(self):
        """Whether the verdict is that of a test."""
        return not any(words in self.verdict for words in ("not measured", "no interval", "too few to tell"))

    @property
    def ours_better(self):
        """Whether our value is better than the tutorial's: True, False, or None if it cannot be decided."""
        shown = self.real if self.better == LIKE_NEW or self.tutorial_real is None else self.tutorial_real
        real = self.real if self.real is not None else shown
        like_real = self.better in (LIKE_REAL, LIKE_NEW)
        if not self.better or self.tutorial is None or (like_real and real is None):
            return None
        if like_real:
            return abs(self.ours - real) < abs(self.tutorial - shown)
        return (self.ours < self.tutorial) == (self.better == LOWER)


def as_json(rows):
    """The rows as dictionaries, ready for JSON."""
    return [asdict(row) for row in rows]


def from_json(lines):
    """The rows of such dictionaries. An earlier version's may lack fields."""
    known = [field.name for field in fields(Row)]
    empty = {"tutorial": None, "ours": None}
    return [Row(**empty | {name: line[name] for name in known if name in line}) for line in lines]


@dataclass
class Sets:
    """The pictures that are compared, float32 [n, H, W, C] in [-1, 1], all of one shape. A missing kind is None.

    Attributes:
        tutorial, ours: generated pictures.
        tutorial_real: real pictures that the tutorial shows beside its generated ones.
        real: real pictures of the run's data, if possible ones that the run was not trained on.
        train: pictures that the run was trained on.
        held_out: whether the run was trained without ``real``.
        groups: groups of twins among ``tutorial``, see `twin_groups`, because a figure may show a picture twice. Ours
            have no groups: each was drawn from its own noise, however alike they are.
    """

    tutorial: np.ndarray
    ours: np.ndarray
    tutorial_real: np.ndarray | None = None
    real: np.ndarray | None = None
    train: np.ndarray | None = None
    held_out: bool = False
    groups: np.ndarray | None = None

    def each(self):
        """(kind, pictures) for those of the four kinds with a column in the table that are there."""
        return [(name, getattr(self, name)) for name in ("tutorial", "ours", "tutorial_real", "real")
                if getattr(self, name) is not None]

    @property
    def picks(self):
        """Kind → the numbers of the pictures that `single` keeps.

        One picture of each of the tutorial's groups; of ours as many, evenly spread.
        """
        first = np.arange(len(self.tutorial)) if self.groups is None else (
            np.sort(np.unique(self.groups, return_index=True)[1]))
        return {"tutorial": first, "ours": spread(len(self.ours), len(first))}

    @property
    def single(self):
        """The sets without the tutorial's twins, for measures that depend on the number of different pictures."""
        if self.groups is None:
            return self
        return replace(self, **{kind: getattr(self, kind)[chosen] for kind, chosen in self.picks.items()}, groups=None)

    @property
    def reference(self):
        """The kind that generated pictures are compared with: real ones of the run or the tutorial, else generated."""
        return next(kind for kind in ("real", "tutorial_real", "tutorial")
                    if getattr(self, kind) is not None and len(getattr(self, kind)) > 1)

    def changed(self, function):
        """New `Sets` with a function applied to each kind of pictures."""
        kinds = (*self.each(), *([("train", self.train)] if self.train is not None else []))
        return Sets(**{name: function(pictures) for name, pictures in kinds}, held_out=self.held_out)


def alike(sets, size=None):
    """Make the sets comparable: one size, one kind of colour, as many of our pictures as of the tutorial's.

    The size is ``size``, else the smallest of all. All pictures become grey if any set is grey. Ours are thinned out
    evenly, because entropies and nearest neighbours depend on the number of pictures.
    """
    count = min(len(sets.tutorial), len(sets.ours))
    tutorial, ours = (pictures[spread(len(pictures), count)]
                      for pictures in (sets.tutorial, sets.ours))
    sets = replace(sets, tutorial=tutorial, ours=ours)
    kinds = [*(pictures for _, pictures in sets.each()), *([sets.train] if sets.train is not None else [])]
    size = size or tuple(min(each.shape[axis] for each in kinds) for axis in (1, 2))
    colour = all(each.shape[3] == 3 for each in kinds)
    return sets.changed(lambda pictures: resized(pictures if colour else grey(pictures), size))
