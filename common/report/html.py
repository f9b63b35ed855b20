"""Pieces of the page: text, tables, pictures. Text is escaped, and pictures are opened before they are embedded."""

import base64
import io
from html import escape

from PIL import Image

SMALL = 256  # pixels; a narrower picture is enlarged without blurring


def shown(value, between=", "):
    """A value as escaped text; ``between`` separates the values of a list."""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, float):
        value = f"{value:.4g}"
    elif isinstance(value, list):
        return between.join(map(shown, value)) or "—"
    return "—" if value is None or value == "" else escape(str(value))


def section(title, *content):
    """A section of the page; "" without content."""
    content = "\n".join(filter(None, content))
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>" if content else ""


def table(label, head, rows, compare=False):
    """A table.

    Args:
        label: what the table shows, for screen readers.
        head: of the columns, as HTML; empty for no head.
        rows: lists of cells as HTML; the first cell is the row's head. A row of one cell is a heading for the rows
            below it. A row that begins with None is a remark on the row above it.
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
    """Content that may be too wide for a narrow screen, in a box that scrolls sideways by finger or by key."""
    return f'<div class="wide" role="region" aria-label="{label}" tabindex="0">{content}</div>'


def columns(runs, first=""):
    """The head of a table with a column for each run; empty for a single run."""
    return [first, *(escape(run.name) for run in runs)] if len(runs) > 1 else []


def row(*figures):
    """Figures side by side; they wrap on a narrow screen."""
    figures = [figure for figure in figures if figure]
    return '<div class="row">\n' + "\n".join(figures) + "\n</div>" if figures else ""


def duration(seconds):
    """Seconds, minutes or hours."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def embedded(path, limit, attributes):
    """An ``img`` element with the picture's bytes in it; "" if the file is missing or no whole picture.

    Args:
        path: of a PNG.
        limit: in bytes; a larger file is converted to JPEG.
        attributes: of the element.
    """
    # A run from elsewhere may have links to pictures that are not its own. Reading a pipe could wait for ever
    if path.is_symlink() or not path.is_file():
        return ""
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
    """A JPEG of at most ``limit`` bytes: lower quality first, then a smaller picture; if need be, the smallest one."""
    while True:
        for quality in (85, 60, 40):
            stream = io.BytesIO()
            image.save(stream, "jpeg", quality=quality)
            if stream.tell() <= limit or max(image.size) < 64:
                return stream.getvalue()
        image = image.reduce(2)


def still(path, limit, caption, run=None):
    """A picture with a caption; "" if the file is missing or no whole picture."""
    image = embedded(path, limit, f'alt="{escape(caption)}"')
    return image and f'<figure class="picture">{image}<figcaption>{titled(caption, run)}</figcaption></figure>'


def titled(caption, run):
    """A caption, with the run's name before it if ``run`` is not None."""
    return f"<b>{escape(run.name)}</b> {escape(caption)}" if run else escape(caption)


def with_names(runs):
    """[(run, run for the caption)]; the second is None if there is only one run, because no caption has to name it."""
    return [(run, run if len(runs) > 1 else None) for run in runs]
