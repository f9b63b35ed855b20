"""A run, or several side by side, as one HTML file that opens anywhere, without a network.

Whatever comes out of a run's folder is data of others: text is escaped, pictures are opened before they are
embedded, and the page's own policy forbids it to load anything.
"""

import base64
import io
import json
import re
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from filelock import FileLock, Timeout
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from common.files import numbered, replacing
from common.training import checkpoint
from common.training.run_folder import evaluations, read_config, read_lines, time_spent, understood

TEMPLATE = Path(__file__).with_suffix(".html")
FRAMES = 60  # of a run on the slider; half as many where several runs share it
FRAME_BYTES = 6_000_000  # of all frames together, before base64
STILL_BYTES = 1_200_000  # of all other pictures together
SMALL = 256  # pixels; narrower pictures are enlarged without blurring
COLOURS = 8
HANDLING = [("options", name) for name in ("output", "resume", "overwrite", "dry_run")]  # no property of a run


def write(folders, output, ended=False):
    """Write the report of one run, or of several side by side.

    Args:
        folders: of the runs.
        output: path of the HTML file.
        ended: the run is not at work any more, whoever holds its lock.

    Raises:
        UserError: there is no run in a folder, its records are not as a run writes them, or ``output``
            cannot be written.
    """
    folders = [Path(folder) for folder in folders]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    runs = [Run(folder, name, ended) for folder, name in zip(folders, names, strict=True)]
    if len(runs) == 1:
        title = f"{runs[0].config['recipe']} on {runs[0].data}"
    else:
        title = f"{len(runs)} runs: {', '.join(names)}"
    parts = (notes, facts, pictures, losses, metrics, comparisons, times, settings)
    body = [f"<h1>{escape(title)}</h1>", *filter(None, (part(runs) for part in parts))]
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body="\n".join(body))
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def write_report(folder):
    """The report of the run in a folder, which has ended: its ``report.html``."""
    write([folder], folder / "report.html", ended=True)


class Run:
    """What a run's folder tells. Nothing in it is written.

    Attributes:
        steps, evaluations: the two kinds of lines of ``metrics.jsonl``.
        data: the data set's name.
        status: finished, stopped, or still running, in words.
    """

    def __init__(self, path, name, ended=False):
        self.path, self.name = path, name
        self.config = read_config(path)
        self.steps = read_lines(path / "metrics.jsonl")
        with understood(path / "metrics.jsonl"):
            self.batches = 1 + max((int(line["batch"]) for line in self.steps), default=0)  # an epoch's, seen so far
            self.evaluations = evaluations(path)
        self.data = str(self.config["dataset"].get("name", "unknown data"))
        self.status = self._status(ended)
        self.timing = time_spent(path)

    def _status(self, ended):
        if not self.steps:
            return "no iteration yet"
        done = f"{len(self.steps):,} iterations"
        saved = checkpoint.listing(self.path / "checkpoints")
        if saved and saved[-1].stem == f"{self.config['options'].get('epoch')}_0000".zfill(9):
            return f"finished: {done}"
        if not ended and locked(self.path):
            return f"still running: {done} so far"
        return f"stopped after {done}; --resume goes on with it" if saved else f"{done}; no checkpoint is there"

    def frames(self, most):
        """The pictures of the constant noise, at most so many, spread evenly: [(path, epoch, batch)]."""
        found = numbered(self.path / "constant_noise", ".png")
        return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, most).round().astype(int))] if found else []


# ---- reading ------------------------------------------------------------------------------------------------------


def is_number(value):
    """Whether it can be drawn: a finite number of sensible size."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30


def points(lines, name):
    """Steps and values of the lines that have a number of that name."""
    chosen = [line for line in lines if is_number(line.get(name)) and is_number(line.get("step"))]
    return np.array([float(line["step"]) for line in chosen]), np.array([float(line[name]) for line in chosen])


def names_in(lines):
    """All names in lines but those of their place, in the order of their first appearance."""
    return [name for name in dict.fromkeys(name for line in lines for name in line)
            if name not in ("step", "epoch", "batch", "evaluation")]


def families(names):
    """Name → the names that extend it, such as "D-Loss" → ["D-Loss fake", "D-Loss real"]."""
    parts = {name: [part for part in names if part.startswith(name + " ")] for name in names}
    return {name: parts[name] for name in names if not any(name in others for others in parts.values())}


def locked(path):
    """Whether a process is training in the folder."""
    lock = path / ".lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that may only be read
        return False


# ---- writing ------------------------------------------------------------------------------------------------------


def shown(value, between=", "):
    """A value as escaped text; ``between`` the values of a list."""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, float):
        value = f"{value:.4g}"
    elif isinstance(value, list):
        return between.join(map(shown, value)) or "—"
    return "—" if value is None or value == "" else escape(str(value))


def section(title, *content):
    """A part of the page; nothing without content."""
    content = "\n".join(filter(None, content))
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>" if content else ""


def table(label, head, rows, compare=False):
    """A table.

    Args:
        label: what it shows, for those who do not see it.
        head: of the columns, as HTML; none for no head.
        rows: cells as HTML, the first being the row's head; a row of one cell heads those below it, and one that
            begins with None is a remark on that above it.
        compare: mark the rows whose cells differ.
    """
    lines = ["<tr>" + "".join(f'<th scope="col">{cell}</th>' for cell in head) + "</tr>"] if head else []
    for first, *cells in rows:
        if first is None:
            lines.append(f'<tr class="remark"><td colspan="{len(head)}"><span>{cells[0]}</span></td></tr>')
        elif cells:
            differs = ' class="differs"' if compare and len(set(cells)) > 1 else ""
            lines.append(f'<tr{differs}><th scope="row">{first}</th>' + "".join(
                f'<td class="long">{cell}</td>' if len(cell) > 24 else f"<td>{cell}</td>" for cell in cells) + "</tr>")
        else:
            lines.append(f'<tr class="group"><th scope="rowgroup" colspan="{len(head) or 2}">{first}</th></tr>')
    return scrolling(label, "<table>\n" + "\n".join(lines) + "\n</table>")


def scrolling(label, content):
    """What is too wide for a narrow screen, to be moved sideways by finger or by key."""
    return f'<div class="wide" role="region" aria-label="{label}" tabindex="0">{content}</div>'


def columns(runs, first=""):
    """The head of a table with a column for each run; none for a single one."""
    return [first, *(escape(run.name) for run in runs)] if len(runs) > 1 else []


def row(*figures):
    """Figures side by side, as far as the screen is wide enough."""
    figures = [figure for figure in figures if figure]
    return '<div class="row">\n' + "\n".join(figures) + "\n</div>" if figures else ""


def duration(seconds):
    """Seconds, minutes or hours."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


# Pictures


def embedded(path, limit, attributes):
    """An ``img`` that holds the picture itself; nothing where there is no whole picture.

    Args:
        path: of a PNG.
        limit: bytes; what is larger is packed as JPEG.
        attributes: of the element.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            size = image.size
            image.load()
            kind, data = "png", path.read_bytes()
            if len(data) > limit:
                kind, data = "jpeg", packed(image if image.mode == "L" else image.convert("RGB"), limit)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    data = base64.b64encode(data).decode("ascii")
    if size[0] < SMALL:
        attributes += ' class="small"'
    return f'<img {attributes} width="{size[0]}" height="{size[1]}" src="data:image/{kind};base64,{data}">'


def packed(image, limit):
    """The bytes of a JPEG no larger than a limit, first coarser, then smaller; the smallest, if even that is larger."""
    while True:
        for quality in (85, 60, 40):
            stream = io.BytesIO()
            image.save(stream, "jpeg", quality=quality)
            if stream.tell() <= limit or max(image.size) < 64:
                return stream.getvalue()
        image = image.reduce(2)


def still(path, limit, caption, run=None):
    """A picture with a caption; nothing where there is no whole picture."""
    image = embedded(path, limit, f'alt="{escape(caption)}"')
    return image and f'<figure class="picture">{image}<figcaption>{titled(caption, run)}</figcaption></figure>'


def titled(caption, run):
    """A caption with its run's name before it, where there are several."""
    return f"<b>{escape(run.name)}</b> {escape(caption)}" if run else escape(caption)


def with_names(runs):
    """[(run, the run again where there are several, else None)]: what a caption has to name."""
    return [(run, run if len(runs) > 1 else None) for run in runs]


# Curves

WIDTH, HEIGHT = 1000, 400  # of a chart's coordinates; it is stretched to the room that there is


def chart(title, curves, kind="raw"):
    """Curves over iterations. The lines are SVG, all text is HTML, so that it stays legible on a narrow screen.

    Args:
        title: as HTML.
        curves: [(label, number of its colour, steps, values)].
        kind: "raw": every value, thin, and the moving mean; "means": the moving mean alone; "dots": the values marked.
    """
    curves = [curve for curve in curves if len(curve[2])]
    if not curves:
        return ""
    dots = kind == "dots"
    fronts = [(x, y) if dots else smooth(x, y) for _, _, x, y in curves]
    values = np.concatenate([y for *_, y in (fronts if kind == "means" else curves)])
    low, high = values.min(), values.max()
    if not dots:  # a few values far away shall not flatten all others
        first, last = np.percentile(values, [1, 99])
        low, high = max(low, 1.5 * first - 0.5 * last), min(high, 1.5 * last - 0.5 * first)
    beyond = np.count_nonzero((values < low) | (values > high))
    log = dots and low > 0 and high > max(1, 20 * low)  # but shares of one stay linear
    scale = np.log10 if log else np.asarray
    low, high = scale(low), scale(high)
    pad = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - pad, high + pad
    left, right = min(x[0] for _, _, x, _ in curves), max(x[-1] for _, _, x, _ in curves)
    right = max(right, left + 1)

    def across(x):
        return (x - left) / (right - left)

    def down(y):
        return np.clip((high - scale(y)) / (high - low), -1, 2)  # a little beyond, for the slope at the edge

    def path(name, number, x, y):
        # A line of no length with round ends is a dot, which stays round however the chart is stretched.
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
    whole = ' class="whole"' if dots else ""  # dots at the edge too
    legend = "".join(f'<span class="legend{dashed(number)}" style="{colour(number)}">{escape(label)}</span>'
                     for label, number, *_ in curves if escape(label) != title or len(curves) > 1)
    legend += f'<span class="beyond">({beyond:,} outside the range)</span>' if beyond else ""
    told = "; ".join(f"{label} from {y[0]:.4g} to {y[-1]:.4g}"
                     for (label, *_), (_, y) in zip(curves, fronts, strict=True))
    return (f'<figure class="chart"><figcaption><b>{title}</b>{legend}</figcaption>\n<div class="plot">'
            f'<svg{whole} viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
            f'aria-label="{title}: {escape(told)}">\n' + "\n".join(lines) + "\n</svg>" + "".join(text)
            + '<span class="xlabel">iteration</span></div></figure>')


def colour(number):
    """The style of a curve's colour, which the page has for light and for dark."""
    return f"--colour:var(--c{number % COLOURS})"


def dashed(number):
    """The class of a curve whose colour is taken already."""
    return " dashed" if number >= COLOURS else ""


def smooth(x, y, most=300):
    """A moving mean over a fortieth of the curve, at so many points; a short curve as it is."""
    window = len(y) // 40
    if window < 2:
        return x, y
    total = np.concatenate([[0.0], np.cumsum(y)])
    middle = np.unique(np.linspace(0, len(y) - 1, most).round().astype(int))
    first, last = np.maximum(0, middle - window // 2), np.minimum(len(y), middle + window // 2 + 1)
    return x[middle], (total[last] - total[first]) / (last - first)


def thinned(x, y, most=1000):
    """A curve with the lowest and the highest point of each stretch only."""
    if len(y) <= most:
        return x, y
    edges = np.linspace(0, len(y), most // 2 + 1).astype(int)
    kept = np.unique([start + extreme(y[start:end]) for start, end in zip(edges, edges[1:], strict=False)
                      for extreme in (np.argmin, np.argmax)])
    return x[kept], y[kept]


# ---- the parts of the page ----------------------------------------------------------------------------------------


def notes(runs):
    """What nobody may overlook: data that are not the tutorial's."""
    return "\n".join(f'<p class="note" role="note">{titled(str(run.config["dataset"]["note"]), named)}</p>'
                     for run, named in with_names(runs) if run.config["dataset"].get("note"))


def facts(runs):
    """Each run in a few words."""
    return table("Runs", columns(runs, "Run"), [
        ["Recipe", *(shown(run.config["recipe"]) for run in runs)],
        ["Trained on", *(shown(run.data) for run in runs)],
        ["Started", *(shown(str(run.config.get("started", "unknown"))[:16].replace("T", " ")) for run in runs)],
        ["State", *(shown(run.status) for run in runs)]])


def pictures(runs):
    """The slider through what each generator made of one constant noise."""
    most = FRAMES if len(runs) == 1 else FRAMES // 2
    chosen = [run.frames(most) for run in runs]
    limit = FRAME_BYTES // max(1, sum(map(len, chosen)))
    figures = []
    for (run, named), frames in zip(with_names(runs), chosen, strict=True):
        images, last = [], None
        for path, epoch, batch in frames:
            when = f"epoch {epoch}, batch {batch}"
            image = embedded(path, limit, f'hidden data-step="{epoch * run.batches + batch}" data-when="{when}" '
                                          f'alt="{escape(run.name)}: pictures of the constant noise, {when}"')
            if image:
                images.append(image)
                last = when
        if images:
            images[-1] = images[-1].replace("hidden ", "", 1)  # what is seen without JavaScript
            caption = f'{titled("constant noise, ", named)}<span class="when">{last}</span>'
            figures.append(f'<figure class="picture">{"".join(images)}<figcaption>{caption}</figcaption></figure>')
    controls = """<div class="controls" hidden><button type="button">Play</button>
<input type="range" min="0" step="1" autocomplete="off" aria-label="Time of the constant noise's pictures"></div>"""
    rows = [row(*figures, *stills(runs))] if len(runs) == 1 else [row(*figures), row(*stills(runs))]
    return section("Pictures", '<div id="pictures">' + controls if figures else "", *rows, "</div>" if figures else "")


def stills(runs):
    """The newest picture of each run, and what was generated into its folder."""
    limit = STILL_BYTES // (8 * len(runs))
    for run, named in with_names(runs):
        newest = (still(path, limit, f"newest picture, epoch {epoch}, batch {batch}", named)
                  for path, epoch, batch in reversed(numbered(run.path, ".png")))
        yield next(filter(None, newest), "")
        yield still(run.path / "real_samples.png", limit, "real pictures", named)
        for path in sorted(run.path.glob("*/grid.png"))[:2]:
            yield still(path, limit, "generated", named)


def losses(runs):
    """One run: its losses together, then each with its parts. Several: a chart for each loss."""
    family = families(names_in(line for run in runs for line in run.steps))
    if len(runs) == 1:
        main = chart("Losses", of_one(runs[0].steps, family))
        return section("Losses", main and "<p>Thin: every iteration. Thick: moving mean.</p>", main, row(*(
            chart(f"{escape(name)} and its parts", of_one(runs[0].steps, [name, *parts]))
            for name, parts in family.items() if parts)))

    def overlaid(names):
        return row(*(chart(escape(name), of_each(runs, [run.steps for run in runs], name), "means")
                     for name in names))

    others = overlaid(part for parts in family.values() for part in parts)
    main = overlaid(family)
    return section("Losses", main and "<p>Moving means.</p>", main,
                   others and f"<details><summary>Their parts</summary>\n{others}\n</details>")


def of_one(lines, names):
    """Curves of several names in the lines of one run."""
    return [(name, number, *points(lines, name)) for number, name in enumerate(names)]


def of_each(runs, lines, name):
    """Curves of one name in the lines of each run."""
    return [(run.name, number, *points(each, name)) for number, (run, each) in enumerate(zip(runs, lines, strict=True))]


def metrics(runs):
    """What evaluations found, by protocol: charts over several checkpoints, and a table."""
    found = [by_protocol(run.evaluations) for run in runs]
    protocols = {protocol: [each.get(protocol, []) for each in found] for each in found for protocol in each}
    return section("Metrics", *(evaluated(runs, protocol, lines) for protocol, lines in sorted(
        protocols.items(), key=lambda item: -sum(map(len, item[1])))))  # those of real pictures are few


def by_protocol(lines):
    """Evaluations sorted out: protocol → lines with short names.

    A name such as ``fid mnist-cnn-3f2a91bc 10000/10000 train`` ends in its protocol, from the word with a hyphen on.
    """
    found = {}
    for line in lines:
        for name in names_in([line]):
            short, protocol = re.fullmatch(r"(.+?)((?: [^ ]+-.*)?)", name, re.DOTALL).groups()
            of_step = found.setdefault(protocol.strip(), {}).setdefault(line["step"], {"step": line["step"]})
            of_step[short] = line[name]
    return {protocol: list(of_steps.values()) for protocol, of_steps in found.items()}


def evaluated(runs, protocol, lines):
    """The charts and the table of one protocol.

    Args:
        runs: of the report.
        protocol: its name.
        lines: of each run, with short names.
    """
    family = families(names_in(line for each in lines for line in each))
    if len(runs) == 1:
        curves = {name: of_one(lines[0], [name]) + [(part, COLOURS, *points(lines[0], part)) for part in parts]
                  for name, parts in family.items()}  # an interval's ends in its own colour, dashed
        rows = [("", line) for line in lines[0]]
    else:
        curves = {name: of_each(runs, lines, name) for name in family}
        rows = [(escape(run.name) + ", ", each[-1]) for run, each in zip(runs, lines, strict=True) if each]
    names = [name for name in names_in(line for _, line in rows)
             if not any(isinstance(line.get(name), dict) for _, line in rows)]  # those have a value for each class
    return "\n".join([
        f"<h3>{escape(protocol)}</h3>" if protocol else "",
        row(*(chart(escape(name), drawn, "dots") for name, drawn in curves.items()
              if max(len(x) for _, _, x, _ in drawn) > 1)),
        table("Metrics", ["", *map(escape, names)], [
            [run + ("real pictures" if " real " in protocol else f"iteration {shown(line['step'])}"),
             *(shown(line.get(name)) for name in names)] for run, line in rows])])


REMARKS = ("verdict", "note")  # in words, on a row of a comparison


def comparisons(runs):
    """Beside the tutorial: the figure and the rows that tools/compare.py has left."""
    content = []
    for run, named in with_names(runs):
        figure = still(run.path / "comparison.png", STILL_BYTES // (2 * len(runs)), "the tutorial and this run", named)
        content.append(figure and scrolling("Figure beside the tutorial", figure))
        path = run.path / "comparison.json"
        if not path.is_file():
            continue
        with understood(path):
            lines = [dict(line) for line in json.loads(path.read_text(encoding="utf-8"))]
            names = [name for name in dict.fromkeys(name for line in lines for name in line) if name not in REMARKS]
        head = ["ours − tutorial" if name == "interval" else escape(name).replace("_", " ") for name in names]
        rows = []
        for line in lines:
            rows.append([shown(line.get(name), " … " if name == "interval" else ", ") for name in names])
            if remarks := [shown(line[name]) for name in REMARKS if line.get(name)]:
                rows.append([None, " · ".join(remarks)])
        content.append(rows and table("Beside the tutorial", head, rows))
    return section("Beside the tutorial", *content)


def times(runs):
    """Where the time went."""
    runs = [run for run in runs if run.timing]
    if not runs:
        return ""
    titles = {"step": "training", "reader": "reading", "records": "pictures and messages"}
    rows = [["Iterations", *(f"{run.timing[1]:,} in {duration(run.timing[0])}" for run in runs)]]
    for part in dict.fromkeys(part for run in runs for part in run.timing[2]):
        cells = []
        for run in runs:
            elapsed, steps, parts = run.timing
            share = parts[part] / elapsed
            cells.append(f'<span class="bar" style="--share:{share:.1%}"></span>'
                         f"{share:.1%} · {parts[part] / steps:.4f} s")
        rows.append([escape(titles.get(part, part)), *cells])
    return section("Where the time went", "<p>Shares, and seconds an iteration.</p>",
                   table("Where the time went", columns(runs), rows))


def settings(runs):
    """Options, data, versions and machine; where there are several runs, marked where they differ."""
    groups = {}
    for title, part in (("Options", "options"), ("Data", "dataset"), ("Versions", "versions"), ("Machine", "machine")):
        names = dict.fromkeys(name for run in runs for name in run.config[part])
        groups[title] = [[escape(name), *(shown(run.config[part].get(name)) for run in runs)]
                         for name in names if (part, name) not in HANDLING]
    if len(runs) == 1:
        return section("Options and versions", row(*(f"<div><h3>{title}</h3>\n{table(title, [], rows)}</div>"
                                                     for title, rows in groups.items() if rows)))
    return section("Options and versions", "<p>Marked: what differs.</p>", table(
        "Options and versions", columns(runs), [line for title, rows in groups.items() for line in ([title], *rows)],
        compare=True))
