"""Show a comparison: the table as text, and the pictures side by side."""

import re
import textwrap

from common.comparison.chance import LEVEL
from common.comparison.picture_rows import TWINS
from common.files import replacing

WIDTH = 80  # columns of the table, which has a name and four numbers in a row
NUMBER = 10
NAME = WIDTH - 4 * NUMBER
COLLAPSED = 0.5  # share of pictures with a twin
SHOWN = 64  # pictures of each kind in comparison.png


def table(rows):
    """The rows as lines of text: the numbers, and below them verdict and note."""
    columns = ("tutorial", "ours", "tutorial_real", "real")
    yield f"{'':{NAME}}{'generated':>{2 * NUMBER}}{'real':>{2 * NUMBER}}"
    yield f"{'':{NAME}}" + "".join(f"{heading:>{NUMBER}}" for heading in ("tutorial", "ours") * 2)
    for row in rows:
        values = [getattr(row, column) for column in columns]
        if any(isinstance(value, str) for value in values):
            yield f"\n{row.name}"
            yield from (f"    {column.replace('_', ' '):14}{value}"
                        for column, value in zip(columns, values, strict=True) if value is not None)
        else:
            name = row.name if len(row.name) < NAME else f"{row.name}\n{'':{NAME}}"
            numbers = ("" if value is None else f"{value:.4g}" for value in values)
            yield f"\n{name:{NAME}}" + "".join(f" {number:>{NUMBER - 1}}" for number in numbers).rstrip()
        bounds = f" (ours − tutorial {row.interval[0]:+.3g} … {row.interval[1]:+.3g})" if row.interval else ""
        yield from indented(row.verdict + bounds + (f"; {row.better}" if row.better else ""))
        yield from indented(row.note)
    yield ""
    yield from textwrap.wrap(f"Differences with {LEVEL:.0%} intervals, unless a row says otherwise: one row in "
                             f"{1 / (1 - LEVEL):.0f} differs by chance alone.", WIDTH)
    yield ""
    yield from textwrap.wrap(summary(rows), WIDTH)


def indented(text):
    """The indented lines of a remark on a row."""
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def summary(rows):
    """The whole table in a sentence or two."""
    twins = next((row for row in rows if row.name == TWINS), None)
    if twins and twins.differs and twins.ours > COLLAPSED:
        said = f"the generator has collapsed, {twins.ours:.0%} of its pictures have a twin"
        return f"Verdict: {said} (of the tutorial's {twins.tutorial:.0%})."
    tested = [row for row in rows if row.tested]
    if not tested:
        return "Verdict: none, for no row could be tested."
    told = {True: [], False: [], None: []}
    for row in tested:
        if row.differs:
            told[row.ours_better].append(re.split(r" \(|,", row.name)[0])
    parts = [f"{words} {', '.join(dict.fromkeys(names))}" for words, names in (
        ("worse in", told[False]), ("better in", told[True]), ("other in", told[None])) if names]
    differ = sum(map(len, told.values()))
    untested = len(rows) - len(tested)
    return f"Verdict: of {len(tested)} rows {differ or 'none'} differ{'s' * (differ < 2)} from the tutorial" + (
        f": {'; '.join(parts)}" if parts else "") + (f". Not tested: {untested}." if untested else ".")


def save_picture(path, panels):
    """Grids of pictures side by side, each under a heading.

    Args:
        path: of the PNG.
        panels: (heading, pictures [n, H, W, C] in [-1, 1]); the first `SHOWN` are drawn.
    """
    from common import plotting

    figure, axes = plotting.subplots(1, len(panels), figsize=(4.4 * len(panels), 4.9), squeeze=False,
                                      gridspec_kw={"wspace": 0.05})
    for axis, (heading, pictures) in zip(axes[0], panels, strict=True):
        drawn = pictures[:SHOWN]
        joined = plotting.grid(drawn[..., 0] if drawn.shape[3] == 1 else drawn, pad=2)
        axis.imshow(plotting.to_uint8(joined), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        more = f", {SHOWN} of {len(pictures)}" if len(pictures) > SHOWN else ""
        axis.set_title(heading + more, fontsize=11)
        axis.axis("off")
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", dpi=120)
