"""The table as text, and the pictures side by side."""

from common.comparison.chance import LEVEL
from common.files import replacing

SHOWN = 64  # pictures of each kind in the picture


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

    figure, axes = plotting.subplots(1, len(panels), figsize=(4.4 * len(panels), 4.9), squeeze=False,
                                      gridspec_kw={"wspace": 0.05})
    for axis, (heading, pictures) in zip(axes[0], panels, strict=True):
        drawn = pictures[:SHOWN]
        joined = plotting.grid(drawn[..., 0] if drawn.shape[3] == 1 else drawn, pad=2)
        axis.imshow(plotting.to_uint8(joined), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(heading, fontsize=11)
        axis.axis("off")
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", dpi=120)
