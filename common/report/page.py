"""The report of a run, or of several side by side: one HTML file that opens anywhere, without a network.

The contents of a run's folder are not trusted. Text is escaped, pictures are opened before they are embedded, and the
page's content security policy forbids it to load anything.
"""

import json
import re
from html import escape
from pathlib import Path
from string import Template

from common.comparison.sets import from_json
from common.comparison.shown import summary
from common.files import COMPARED, numbered, replacing
from common.report import reading
from common.report.charts import COLOURS, chart
from common.report.html import (
    columns,
    duration,
    embedded,
    row,
    scrolling,
    section,
    shown,
    still,
    table,
    titled,
    with_names,
)
from common.report.run import Run, families, names_in, points
from common.training.records import PARTS, understood

TEMPLATE = Path(__file__).with_suffix(".html")
FRAMES = 60  # frames of a run on the slider; half as many if several runs share it
FRAME_BYTES = 6_000_000  # of all frames together, before base64
STILL_BYTES = 1_200_000  # of all pictures that are no frames, together
HANDLING = [("options", name) for name in ("output", "resume", "overwrite", "dry_run")]  # of one call only


def write(folders, output, ended=False):
    """Write the report of one run, or of several side by side.

    Args:
        folders: of the runs.
        output: path of the HTML file.
        ended: whether the run has ended, even if its lock is still held.

    Raises:
        UserError: there is no run in a folder, its records are damaged, or ``output`` cannot be written.
    """
    folders = [Path(folder) for folder in folders]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    runs = [Run(folder, name, ended) for folder, name in zip(folders, names, strict=True)]
    if len({run.config["recipe"] for run in runs}) > 1:  # folders' names, such as Output, do not name the tutorial
        for run in runs:
            if run.config["recipe"] not in run.name:
                run.name = f"{run.config['recipe']}: {run.name}"
    if len(runs) == 1:
        title = f"{runs[0].config['recipe']} on {runs[0].data}"
    else:
        title = f"{len(runs)} runs: {', '.join(run.name for run in runs)}"
    parts = (notes, facts, pictures, losses, metrics, comparisons, times, settings)
    body = [f"<h1>{escape(title)}</h1>", *filter(None, (part(runs) for part in parts)), reading.way(output)]
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body="\n".join(body))
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def write_report(folder):
    """Write ``report.html`` into the folder of a run that has ended."""
    write([folder], folder / "report.html", ended=True)


def notes(runs):
    """Warnings at the top of the page: runs whose data are not the tutorial's."""
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
    """The slider through the pictures that each generator made of its constant noise."""
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
            images[-1] = images[-1].replace("hidden ", "", 1)  # the frame that a browser without JavaScript shows
            caption = f'{titled("constant noise, ", named)}<span class="when">{last}</span>'
            figures.append(f'<figure class="picture">{"".join(images)}<figcaption>{caption}</figcaption></figure>')
    controls = """<div class="controls" hidden><button type="button">Play</button>
<input type="range" min="0" step="1" autocomplete="off" aria-label="Time of the constant noise's pictures"></div>"""
    rows = [row(*figures, *stills(runs))] if len(runs) == 1 else [row(*figures), row(*stills(runs))]
    return section("Pictures", '<div id="pictures">' + controls if figures else "", *rows, "</div>" if figures else "")


def stills(runs):
    """The newest picture of each run, and the pictures that were generated into its folder."""
    limit = STILL_BYTES // (8 * len(runs))
    for run, named in with_names(runs):
        newest = (still(path, limit, f"newest picture, epoch {epoch}, batch {batch}", named)
                  for path, epoch, batch in reversed(numbered(run.path, ".png")))
        yield next(filter(None, newest), "")
        yield still(run.path / "real_samples.png", limit, "real pictures", named)
        for path in sorted(path for path in run.path.glob("*/grid.png") if not path.parent.is_symlink())[:2]:
            yield still(path, limit, "generated", named)


def losses(runs):
    """The charts of losses. One run: its losses together, then each loss with its parts. Several: one chart a loss."""
    family = families(names_in(line for run in runs for line in run.steps))
    if len(runs) == 1:
        main = chart("Losses", of_one(runs[0].steps, family), hint=reading.LOSSES)
        return section("Losses", main and "<p>Thin: every iteration. Thick: moving mean.</p>", main, row(*(
            chart(f"{escape(name)} and its parts", of_one(runs[0].steps, [name, *parts]), hint=reading.PARTS)
            for name, parts in family.items() if parts)))

    def overlaid(names):
        return row(*(chart(escape(name), of_each(runs, [run.steps for run in runs], name), "means")
                     for name in names))

    others = overlaid(part for parts in family.values() for part in parts)
    main = overlaid(family)
    return section("Losses", main and f'<p>Moving means.</p><p class="hint">{escape(reading.LOSSES)}</p>', main,
                   others and f"<details><summary>Their parts</summary>\n{others}\n</details>")


def of_one(lines, names):
    """Curves of several names in the lines of one run."""
    return [(name, number, *points(lines, name)) for number, name in enumerate(names)]


def of_each(runs, lines, name):
    """Curves of one name in the lines of each run."""
    return [(run.name, number, *points(each, name)) for number, (run, each) in enumerate(zip(runs, lines, strict=True))]


def metrics(runs):
    """The results of evaluations, by protocol: charts if there are several checkpoints, and a table."""
    found = [by_protocol(run.evaluations) for run in runs]
    data = [(run.data, str(run.config["dataset"].get("pictures"))) for run in runs]
    groups = {}  # numbers on different pictures stand apart: they cannot be compared
    for pictures, protocols in zip(data, found, strict=True):
        for protocol in protocols:
            groups[protocol, pictures] = [each.get(protocol, []) if other == pictures else []
                                          for each, other in zip(found, data, strict=True)]
    names = [protocol for protocol, _ in groups]
    parts = []
    # Real pictures have few lines, so they go last
    for (protocol, _), lines in sorted(groups.items(), key=lambda item: -sum(map(len, item[1]))):
        whose = ", ".join(run.name for run, each in zip(runs, lines, strict=True) if each)
        parts.append(evaluated(runs, protocol, lines, f": {whose}" if names.count(protocol) > 1 else ""))
    return section("Metrics", *parts)


def by_protocol(lines):
    """Sort evaluations by protocol: protocol → lines with short names.

    In a name such as ``fid mnist-cnn-3f2a91bc 10000/10000 train``, the protocol begins at the word with a hyphen.
    """
    found = {}
    for line in lines:
        for name in names_in([line]):
            short, protocol = re.fullmatch(r"(.*?)((?: [^ ]+-.*)?)", name, re.DOTALL).groups()
            of_step = found.setdefault(protocol.strip(), {}).setdefault(line["step"], {"step": line["step"]})
            of_step[short] = line[name]
    return {protocol: list(of_steps.values()) for protocol, of_steps in found.items()}


def evaluated(runs, protocol, lines, whose=""):
    """The charts and the table of one protocol.

    Args:
        runs: the report's runs.
        protocol: its name.
        lines: the evaluations of each run, with short names.
        whose: follows the protocol in the heading.
    """
    family = families(names_in(line for each in lines for line in each))
    if len(runs) == 1:
        curves = {name: of_one(lines[0], [name]) + [(part, COLOURS, *points(lines[0], part)) for part in parts]
                  for name, parts in family.items()}  # an interval's ends are dashed, in its colour
        rows = [("", line) for line in lines[0]]
    else:
        curves = {name: of_each(runs, lines, name) for name in family}
        rows = [(escape(run.name) + ", ", each[-1]) for run, each in zip(runs, lines, strict=True) if each]
    names = [name for name in names_in(line for _, line in rows)
             if not any(isinstance(line.get(name), dict) for _, line in rows)]  # a dictionary has values of classes
    cells = []
    for run, line in rows:
        cells.append([run + ("real pictures" if " real " in protocol else f"iteration {shown(line['step'])}"),
                      *(shown(line.get(name)) for name in names)])
        if remark := reading.remark(line):
            cells.append([None, remark])
    return "\n".join([
        f"<h3>{escape(protocol + whose)}</h3>" if protocol else "",
        row(*(chart(escape(name), drawn, "dots", reading.sentence(name)) for name, drawn in curves.items()
              if max(len(x) for _, _, x, _ in drawn) > 1)),
        table("Metrics", ["", *map(escape, names)], cells)])


REMARKS = ("verdict", "better", "note")  # fields of a comparison's row that are words


def comparisons(runs):
    """The comparison with the tutorial: the figure and the rows that tools/compare.py has written."""
    content = []
    for run, named in with_names(runs):
        figure = still(run.path / "comparison.png", STILL_BYTES // (2 * len(runs)), "the tutorial and this run", named)
        content.append(figure and scrolling("Figure beside the tutorial", figure))
        path = run.path / COMPARED
        if not path.is_file():
            continue
        with understood(path):
            lines = [dict(line) for line in json.loads(path.read_text(encoding="utf-8"))]
            names = [name for name in dict.fromkeys(name for line in lines for name in line) if name not in REMARKS]
            verdict = summary(from_json(lines))
        head = ["ours − tutorial" if name == "interval" else escape(name).replace("_", " ") for name in names]
        rows = []
        for line in lines:
            rows.append([shown(line.get(name), " … " if name == "interval" else ", ") for name in names])
            if remarks := [shown(line[name]) for name in REMARKS if line.get(name)]:
                rows.append([None, " · ".join(remarks)])
        content.append(rows and (f"<h3>{escape(run.name)}</h3>" if named else "")
                       + table("Beside the tutorial", head, rows)
                       + (f"<p>{escape(verdict)}</p>" if rows else ""))
    return section("Beside the tutorial", *content)


def times(runs):
    """The table of how long each part of the work took."""
    runs = [run for run in runs if run.timing]
    if not runs:
        return ""
    rows = [["Iterations", *(f"{run.timing[1]:,} in {duration(run.timing[0])}" for run in runs)]]
    for part in dict.fromkeys(part for run in runs for part in run.timing[2]):
        cells = []
        for run in runs:
            elapsed, steps, parts = run.timing
            share = parts[part] / elapsed
            cells.append(f'<span class="bar" style="--share:{share:.1%}"></span>'
                         f"{share:.1%} · {parts[part] / steps:.4f} s")
        rows.append([escape(PARTS.get(part, part)), *cells])
    return section("Where the time went", "<p>Shares, and seconds an iteration.</p>",
                   table("Where the time went", columns(runs), rows))


def settings(runs):
    """Options, data, versions and machine; if there are several runs, their differences are marked."""
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
