"""Curves over iterations, as SVG."""

from html import escape

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from common.data.batches import spread

COLOURS = 8
WIDTH, HEIGHT = 1000, 400  # of a chart's coordinates; the page stretches it to the available width


def vertical(values, dots):
    """The vertical axis for ``values`` [n] that are drawn as ``dots``, or as curves.

    Returns:
        (low, high, scale, beyond): the axis goes from ``low`` to ``high``, in numbers that ``scale`` has turned the
        values into, ``np.log10`` or ``np.asarray``; so many values lie beyond it.
    """
    low, high = values.min(), values.max()
    if not dots:  # a few extreme values must not flatten the rest of the curve
        first, last = np.percentile(values, [1, 99])
        low, high = max(low, 1.5 * first - 0.5 * last), min(high, 1.5 * last - 0.5 * first)
    beyond = np.count_nonzero((values < low) | (values > high))
    log = dots and low > 0 and high > max(1, 20 * low)  # shares, which are at most 1, stay linear
    scale = np.log10 if log else np.asarray
    low, high = scale(low), scale(high)
    pad = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    least = 0.0 if dots and not log and low >= 0 else low - pad  # a share cannot be below 0
    return least, high + pad, scale, beyond


def chart(title, curves, kind="raw", hint=""):
    """A chart of curves over iterations. Lines are SVG; text is HTML, so that it stays legible on a narrow screen.

    Args:
        title: as HTML.
        curves: [(label, number of its colour, steps, values)].
        kind: "raw": a thin line through all values, and the moving mean; "means": only the moving mean; "dots": a dot
            for each value.
        hint: a sentence under the chart about what to look for.
    """
    curves = [curve for curve in curves if len(curve[2])]
    if not curves:
        return ""
    dots = kind == "dots"
    fronts = [(x, y) if dots else smooth(x, y) for _, _, x, y in curves]
    low, high, scale, beyond = vertical(np.concatenate([y for *_, y in (fronts if kind == "means" else curves)]), dots)
    log = scale is np.log10
    left, right = min(x[0] for _, _, x, _ in curves), max(x[-1] for _, _, x, _ in curves)
    right = max(right, left + 1)

    def across(x):
        return (x - left) / (right - left)

    def down(y):
        return np.clip((high - scale(y)) / (high - low), -1, 2)  # beyond the edge, to keep the slope

    def path(name, number, x, y):
        # A line of length 0 with round ends is a dot. It stays round when the chart is stretched.
        form = "M{:.1f},{:.1f}h0" if name == "dots" else "L{:.1f},{:.1f}"
        data = "".join(form.format(*each) for each in zip(across(x) * WIDTH, down(y) * HEIGHT, strict=True))
        return f'<path class="{name}{dashed(number)}" style="{colour(number)}" d="M{data[1:]}"/>'

    ticks = LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    limits = (10 ** low, 10 ** high) if log else (low, high)
    ticks = [tick for tick in ticks.tick_values(*limits) if limits[0] <= tick <= limits[1]]
    lines = ['<path class="grid" d="' + "".join(f"M0,{down(tick) * HEIGHT:.1f}h{WIDTH}" for tick in ticks) + '"/>']
    if dots:
        lines += [path("dots", number, x, y) for _, number, x, y in curves]
    elif kind == "raw":
        lines += [path("raw", number, *thinned(x, y)) for _, number, x, y in curves]
    lines += [path("curve", number, *front) for (_, number, *_), front in zip(curves, fronts, strict=True)]
    text = [f'<span class="y" style="top:{down(tick):.2%}">{tick:.6g}</span>' for tick in ticks]
    text += [f'<span class="x" style="left:{across(tick):.2%}">{tick:,.0f}</span>'
             for tick in MaxNLocator(5, integer=True).tick_values(left, right) if left <= tick <= right]
    whole = ' class="whole"' if dots else ""  # dots at the edge are drawn whole
    legend = "".join(f'<span class="legend{dashed(number)}" style="{colour(number)}">{escape(label)}</span>'
                     for label, number, *_ in curves if escape(label) != title or len(curves) > 1)
    legend += f'<span class="beyond">({beyond:,} outside the range)</span>' if beyond else ""
    told = "; ".join(f"{label} from {y[0]:.4g} to {y[-1]:.4g}"
                     for (label, *_), (_, y) in zip(curves, fronts, strict=True))
    return (f'<figure class="chart"><figcaption><b>{title}</b>{legend}</figcaption>\n<div class="plot">'
            f'<svg{whole} viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
            f'aria-label="{title}: {escape(told)}">\n' + "\n".join(lines) + "\n</svg>" + "".join(text)
            + '<span class="xlabel">iteration</span></div>' + (f'<p class="hint">{escape(hint)}</p>' if hint else "")
            + "</figure>")


def colour(number):
    """The style of a curve's colour; the page defines each colour for light and for dark mode."""
    return f"--colour:var(--c{number % COLOURS})"


def dashed(number):
    """The class that dashes a curve whose colour another curve has already."""
    return " dashed" if number >= COLOURS else ""


def smooth(x, y, most=300):
    """The moving mean over a fortieth of the curve, at no more than ``most`` points; a short curve as it is."""
    window = len(y) // 40
    if window < 2:
        return x, y
    total = np.concatenate([[0.0], np.cumsum(y)])
    middle = spread(len(y), most)
    first, last = np.maximum(0, middle - window // 2), np.minimum(len(y), middle + window // 2 + 1)
    return x[middle], (total[last] - total[first]) / (last - first)


def thinned(x, y, most=1000):
    """A curve reduced to the lowest and the highest point of each stretch."""
    if len(y) <= most:
        return x, y
    edges = np.linspace(0, len(y), most // 2 + 1).astype(int)
    kept = np.unique([start + extreme(y[start:end]) for start, end in zip(edges, edges[1:], strict=False)
                      for extreme in (np.argmin, np.argmax)])
    return x[kept], y[kept]
