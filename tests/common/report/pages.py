"""Runs' folders as training leaves them, and the pages that are made of them."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from common import plotting
from common.report import page as report

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """The elements of a page: each must be closed in its turn."""

    def __init__(self, path):
        super().__init__()
        self.source = Path(path).read_text(encoding="utf-8")
        self.stack, self.elements, self.text = [], [], ""
        self.feed(self.source)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names))
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag, attributes):  # only SVG has such
        assert tag == "path"
        self.elements.append({"tag": tag, **dict(attributes)})

    def handle_endtag(self, tag):
        assert self.stack.pop()["tag"] == tag

    def handle_data(self, data):
        self.text += data
        for element in self.stack:
            element["text"] += data

    def all(self, tag, **attributes):
        return [element for element in self.elements if element["tag"] == tag
                and all(element.get(name.strip("_")) == value for name, value in attributes.items())]

    def rows(self):
        """The text of each row of all tables, by the row's head."""
        cells, found = [], {}
        for element in self.elements:
            if element["tag"] == "tr":
                cells = []
            elif element["tag"] in ("th", "td"):
                cells.append(element["text"])
                found[cells[0]] = cells[1:]
        return found

    def frames(self):
        return [element for element in self.all("img") if "data-step" in element]


def picture(element):
    """The pixels that an img holds."""
    kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", element["src"]).groups()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.format.lower() == kind
        return np.asarray(image)


def curves(page, title):
    """The points of the curves of a chart, in its coordinates: class → [[(x, y)]]."""
    found, inside = {}, False
    for element in page.elements:
        if element["tag"] == "svg":
            inside = element["aria-label"].startswith(title + ":")
        elif element["tag"] == "path" and inside:
            numbers = re.findall(r"(-?[\d.]+),(-?[\d.]+)", element["d"])
            found.setdefault(element["class"].split()[0], []).append([(float(x), float(y)) for x, y in numbers])
    return found


def jsonl(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make(path, steps=20, batches=10, frames=4, evaluations=(), size=8, **config):
    """A run's folder, as training leaves it."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({
        "recipe": "book", "options": {"epoch": 2, "seed": 0, "fix": [], "use_gpu": False, "output": str(path)},
        "dataset": {"name": "MNIST", "note": ""}, "versions": {"python": "3.11.7"}, "machine": {"cores": 2},
        "started": "2026-01-02T03:04:05+0000", **config}))
    lines = [{"step": step, "epoch": step // batches, "batch": step % batches, "D-Loss": 2 - step / 20,
              "DG-Loss": 1 + step / 20, "D-Loss fake": 0.5} for step in range(steps)]
    jsonl(path / "metrics.jsonl", lines + [{"evaluation": True, **line} for line in evaluations])
    jsonl(path / "timing.jsonl", [
        {"time": 100.0 + 2 * step, "step": step, "seconds": {"reader": 0.25 * step, "step": 1.5 * step}}
        for step in range(0, steps, 5)])
    for number in range(frames):
        name = f"{number * steps // frames // batches:04d}_{number * steps // frames % batches:04d}.png"
        value = np.random.RandomState(number).uniform(-1, 1, [size, size])
        plotting.save_png(path / "constant_noise" / name, value)
        plotting.save_png(path / name, -value)
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / f"{steps // batches:04d}_{steps % batches:04d}.safetensors").touch()
    return path


def page_of(*folders, ended=False):
    output = folders[0].parent / "out.html"
    report.write(folders, output, ended)
    return Page(output)
