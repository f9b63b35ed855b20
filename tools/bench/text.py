"""Figures and tables as text."""

import numpy as np


def median(values):
    """The median, and the quartiles around it."""
    return np.quantile(values, [0.5, 0.25, 0.75])


def ratio(other, ours):
    """How many times as long ``other`` takes as ``ours``: median and quartiles over the rounds."""
    return median([a / b for a, b in zip(other, ours, strict=True)])


def short(seconds):
    """A time, or a median with its quartiles, to three digits, in a suitable unit."""
    first = seconds if isinstance(seconds, float) else seconds[0]
    unit, factor = (" s", 1) if first >= 0.1 else (" ms", 1e3) if first >= 1e-3 else (" µs", 1e6)
    return figures(seconds, unit, factor, max(0, 3 - len(str(int(first * factor)))))


def times(values):
    """A ratio, or a median with its quartiles, as text."""
    return figures(values, "×")


def percent(values):
    """A share, or a median with its quartiles, in percent."""
    return figures(values, " %", 100, 0)


def figures(values, unit, factor=1, digits=2):
    """``median unit (quartile–quartile)``, or a single number."""
    if isinstance(values, float):
        return f"{values * factor:.{digits}f}{unit}"
    middle, low, high = (f"{value * factor:.{digits}f}" for value in values)
    return f"{middle}{unit} ({low}–{high})"


def table(header, lines, right=False):
    """A table that reads well on a terminal and is Markdown too; ``right`` aligns all columns but the first there."""
    lines = [header, *[[str(cell) for cell in line] for line in lines]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    signs = ["<", *("<>"[right] for _ in widths[1:])]
    text = ["| " + " | ".join(f"{cell:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True))
            + " |" for line in lines]
    rule = "|".join("-" * (width + 1) + ("-:"[sign == ">"]) for sign, width in zip(signs, widths, strict=True))
    return "\n".join([text[0], f"|{rule}|", *text[1:]])
