"""The benchmark's picture."""

from common.files import replacing
from common.plotting import subplots
from tools.bench.tables import RIVALS, rival
from tools.bench.text import median
from tools.bench.ways import GANS, OURS

SERIES = {**RIVALS, OURS: (OURS,)}
COLOURS = dict(zip(SERIES, ("tab:purple", "tab:blue", "tab:orange", "tab:red", "tab:olive", "tab:green"), strict=True))


def rate(result, ways):
    """Pictures a second of the fastest of the given ways; None if no way of them was measured."""
    way = rival(result, ways)
    return way and result["batch"] / median(result["seconds"][way])[0]


def plot(report, path):
    """Draw each row's speed in all ways; and its speed by batch or threads, if that was measured.

    Args:
        report: as `--json` writes it.
        path: of the picture.
    """
    gans = [result for result in report["rows"] if result["row"] in GANS]
    lines = {}  # title of a panel → ("batch" or "threads", results)
    for name, results in report["growth"].items():
        for result in results:
            title = f"{GANS[result['row']].title}: pictures a second by {name}"
            lines.setdefault(title, (name, []))[1].append(result)
    panels = bool(gans) + len(lines)
    figure, axes = subplots(1, panels, figsize=(6 * panels, 4), squeeze=False, layout="constrained")
    axes = list(axes[0])
    if gans:
        draw_speeds(axes.pop(0), gans)
    for (title, (name, results)), axis in zip(lines.items(), axes, strict=True):
        draw_growth(axis, name, results)
        axis.set_title(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def draw_speeds(axis, gans):
    """Draw bars of speeds; the listing on stock settings has the speed 1."""
    shown = [name for name, ways in SERIES.items() if any(rival(result, ways) for result in gans)]
    width = 0.85 / len(shown)
    for number, name in enumerate(shown):
        speeds = [(i, rate(result, SERIES[name]) / rate(result, SERIES["listing"]))
                  for i, result in enumerate(gans) if rival(result, SERIES[name])]
        bars = axis.bar([i + (number - (len(shown) - 1) / 2) * width for i, _ in speeds],
                        [speed for _, speed in speeds], 0.95 * width, label=name, color=COLOURS[name])
        axis.bar_label(bars, fmt="%.1f", fontsize=6)
    axis.set_xticks(range(len(gans)), [GANS[result["row"]].title for result in gans])
    axis.set_title("iterations a second, listing on today's stock Paddle = 1", fontsize=10)
    axis.set_ylim(0, axis.get_ylim()[1] * 1.25)  # room for the legend above the bars
    axis.legend(loc="upper center", ncols=3, fontsize=8)


def draw_growth(axis, name, results):
    """Draw lines of pictures a second by batch or threads; both axes are logarithmic, with powers of two."""
    results = sorted(results, key=lambda result: result[name])
    for series in ("PyTorch", "PyTorch bf16", OURS):
        points = [(result[name], rate(result, SERIES[series])) for result in results if rival(result, SERIES[series])]
        if points:
            axis.plot(*zip(*points, strict=True), "o-", label=series, color=COLOURS[series])
    axis.set_xscale("log", base=2)
    axis.set_xticks(*[[result[name] for result in results]] * 2)
    axis.set_xlabel(name)
    axis.set_ylim(0, axis.get_ylim()[1] * 1.1)
    axis.legend()
