"""The report: one file, complete, that loads nothing and takes nothing from a run's folder for more than text."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from common import plotting
from common.errors import UserError
from common.report import charts, reading
from common.report import page as report

VOID = {"meta", "link", "img", "input", "br", "hr"}
NASTY = "\"'><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>&amp; ünï $body"


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


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run")


def assert_loads_nothing(page):
    for element in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href", "background", "formaction"):
            assert element.get(name, "data:,").startswith("data:"), element
        assert not [name for name in element if name.startswith("on")]
        assert "url(" not in element.get("style", "")
    assert {element["tag"] for element in page.elements}.isdisjoint(
        {"iframe", "object", "embed", "base", "form", "audio", "video", "use", "image", "a"})
    [policy] = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    [style] = page.all("style")
    assert "url(" not in style["text"] and "@import" not in style["text"]
    [script] = page.all("script")
    for call in ("fetch", "XMLHttp", "import", "WebSocket", "sendBeacon", "innerHTML", "eval"):
        assert call not in script["text"]


def test_a_report_is_one_file_that_loads_nothing(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    page = page_of(run)
    assert_loads_nothing(page)
    assert "http://" not in page.source and "https://" not in page.source
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert page.source.startswith("<!doctype html>\n<html lang=\"en\">")
    assert page.all("meta", name="viewport") and "prefers-color-scheme: dark" in page.source


def test_whatever_comes_from_a_run_is_text(tmp_path):
    run = make(tmp_path / '"><b onclick=x>&run', recipe=NASTY,
               options={"epoch": NASTY, "list": [NASTY, 1], NASTY: {NASTY: 1}},
               dataset={"name": NASTY, "note": NASTY, "classes": [NASTY]}, versions={NASTY: NASTY},
               machine={"cpu": NASTY}, started=NASTY, evaluations=[
                   {"step": step, "epoch": 1, "batch": 0, NASTY: step + 1.0, "words": NASTY, f"fid cnn-{NASTY}": 1.5}
                   for step in (5, 9)])
    metrics = [{**json.loads(line), NASTY: 1, NASTY + " x": 0.5} for line in (run / "metrics.jsonl").open()]
    jsonl(run / "metrics.jsonl", metrics)
    timing = [json.loads(line) for line in (run / "timing.jsonl").open()]
    jsonl(run / "timing.jsonl", [{**line, "seconds": {**line["seconds"], NASTY: 0.0}} for line in timing])
    (run / "comparison.json").write_text(json.dumps([
        {"name": NASTY, NASTY: [NASTY, 1.5], "interval": [NASTY], "verdict": NASTY, "note": [NASTY]}]))
    (run / "generated").mkdir()
    Image.new("L", (4, 4)).save(run / "generated" / "grid.png")
    for folders in ([run], [run, make(tmp_path / "other")]):
        page = page_of(*folders)
        assert_loads_nothing(page)
        assert page.text.count(NASTY) > 10
        assert any(image["alt"].startswith(run.name) or f": {run.name}" in image["alt"] for image in page.frames())
        assert "alert" not in page.all("script")[0]["text"]


def test_a_line_that_is_being_written_is_left_out(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "epo')
    assert len(curves(page_of(run), "Losses")["curve"][0]) == 20


def test_lone_surrogates_are_no_obstacle(tmp_path):
    run = make(tmp_path / "run", recipe="\ud800")
    assert "? on MNIST" in page_of(run).text


def test_the_head_says_what_it_is(run):
    page = page_of(run)
    assert page.all("title")[0]["text"] == page.all("h1")[0]["text"] == "book on MNIST"
    rows = page.rows()
    assert rows["Recipe"] == ["book"] and rows["Trained on"] == ["MNIST"]
    assert rows["Started"] == ["2026-01-02 03:04"]
    assert rows["seed"] == ["0"] and rows["use_gpu"] == ["no"] and rows["fix"] == ["—"]
    assert rows["python"] == ["3.11.7"] and rows["cores"] == ["2"]
    assert "output" not in rows
    assert not page.all("p", class_="note") and not page.all("tr", class_="differs")


def test_data_that_are_not_the_tutorials_are_said_loudly(tmp_path):
    run = make(tmp_path / "run", dataset={"name": "digits", "note": "data: digits, not MNIST"})
    [note] = page_of(run).all("p", class_="note")
    assert note["text"] == "data: digits, not MNIST" and note["role"] == "note"
    [note] = page_of(make(tmp_path / "good"), run).all("p", class_="note")
    assert note["text"] == "run data: digits, not MNIST"


def test_states(tmp_path):
    def state(run, ended=False):
        return page_of(run, ended=ended).rows()["State"][0]

    assert state(make(tmp_path / "finished")) == "finished: 20 iterations"
    stopped = make(tmp_path / "stopped", steps=13)
    assert state(stopped) == "stopped after 13 iterations; --resume goes on with it"
    with FileLock(stopped / ".lock"):
        assert state(stopped) == "still running: 13 iterations so far"
        assert state(stopped, ended=True).startswith("stopped after 13")
    assert state(stopped).startswith("stopped after 13")
    more = make(tmp_path / "more", options={"epoch": 3})
    assert state(more).startswith("stopped after 20")
    (more / "checkpoints" / "0002_0000.safetensors").unlink()
    assert state(more) == "20 iterations; no checkpoint is there"
    assert not (more / ".lock").exists()  # nothing is written into a run


def test_a_run_that_has_just_begun(tmp_path):
    run = make(tmp_path / "run", steps=0, frames=0)
    page = page_of(run)
    assert page.rows()["State"] == ["no iteration yet"]
    assert [element["text"] for element in page.all("h2")] == ["Options and versions"]
    for name in ("metrics.jsonl", "timing.jsonl"):
        (run / name).unlink()
    assert page_of(run).rows()["State"] == ["no iteration yet"]


# ---- pictures -----------------------------------------------------------------------------------------------------


def test_the_slider_has_all_pictures_to_the_pixel(run):
    page = page_of(run)
    frames = page.frames()
    assert [(int(frame["data-step"]), frame["data-when"]) for frame in frames] == [
        (0, "epoch 0, batch 0"), (5, "epoch 0, batch 5"), (10, "epoch 1, batch 0"), (15, "epoch 1, batch 5")]
    for frame, path in zip(frames, sorted((run / "constant_noise").iterdir()), strict=True):
        np.testing.assert_array_equal(picture(frame), np.asarray(Image.open(path)))
    assert ["hidden" in frame for frame in frames] == [True, True, True, False]  # the last shows without JavaScript
    [slider] = page.all("input")
    assert slider["type"] == "range" and slider["aria-label"]
    assert all(image["alt"] and image["class"] == "small" for image in page.all("img"))  # enlarged, not blurred
    assert "epoch 1, batch 5" in page.text


def test_many_pictures_are_thinned_evenly(tmp_path):
    page = page_of(make(tmp_path / "run", steps=600, batches=100, frames=300))
    steps = [int(frame["data-step"]) for frame in page.frames()]
    assert len(steps) == report.FRAMES == 60
    assert (steps[0], steps[-1]) == (0, 598)
    assert set(np.diff(steps)) <= {10, 12}


def test_large_pictures_are_packed_to_a_limit(tmp_path, monkeypatch):
    run = make(tmp_path / "run", frames=4, size=256)
    monkeypatch.setattr(report, "FRAME_BYTES", 4 * 20_000)
    monkeypatch.setattr(report, "STILL_BYTES", 8 * 20_000)
    page = page_of(run)
    assert len(page.frames()) == 4
    for frame in page.all("img"):
        assert "image/jpeg" in frame["src"] and "class" not in frame
        assert (frame["width"], frame["height"]) == ("256", "256")
        assert len(frame["src"]) < 20_000 * 4 / 3 + 50
    gradient = np.linspace(-1, 1, 256) * np.ones([256, 1])
    Image.fromarray(plotting.to_uint8(gradient)).save(run / "constant_noise" / "0001_0009.png", compress_level=0)
    assert page_of(run).frames()[-1]["data-when"] == "epoch 1, batch 9"
    shown = picture(page_of(run).frames()[-1]).astype(float)
    assert np.abs(shown - plotting.to_uint8(gradient)).mean() < 3  # the same picture


@pytest.mark.parametrize("spoil", [lambda data: data[:100], lambda data: b"", lambda data: b"<svg onload=alert(1)>"])
def test_pictures_that_are_not_whole_are_left_out(run, spoil):
    for path in (run / "constant_noise" / "0001_0005.png", run / "0001_0005.png"):
        path.write_bytes(spoil(path.read_bytes()))
    (run / "comparison.png").write_bytes(spoil(b"x" * 1000))
    page = page_of(run)
    assert [frame["data-step"] for frame in page.frames()] == ["0", "5", "10"]
    assert "hidden" not in page.frames()[-1]
    assert page.text.count("epoch 1, batch 0") == 2  # below the slider, and the newest whole picture
    assert "Beside the tutorial" not in page.text


def test_a_picture_of_another_kind_is_not_embedded(run):
    Image.new("RGB", (8, 8)).save(run / "constant_noise" / "0001_0009.png", format="JPEG")
    assert len(page_of(run).frames()) == 4


def test_samples(run):
    (run / "image").mkdir()
    for name, value in (("real_samples.png", 10), ("image/grid.png", 20), ("image/test_0.png", 30)):
        Image.new("L", (4, 4), value).save(run / name)
    page = page_of(run)
    newest, real, generated = (image for image in page.all("img") if "data-step" not in image)
    np.testing.assert_array_equal(picture(newest), np.asarray(Image.open(run / "0001_0005.png")))
    assert (picture(real) == 10).all() and (picture(generated) == 20).all()


# ---- curves -------------------------------------------------------------------------------------------------------


def test_one_run_has_its_losses_together_and_with_their_parts(run):
    page = page_of(run)
    assert len(curves(page, "Losses")["curve"]) == 2
    assert len(curves(page, "D-Loss and its parts")["curve"]) == 2
    assert len(page.all("svg")) == 2
    assert "D-Loss from 2 to 1.05; DG-Loss from 1 to 1.95" in page.all("svg")[0]["aria-label"]
    falling, rising = curves(page, "Losses")["curve"]
    assert [x for x, _ in falling] == pytest.approx([1000 * step / 19 for step in range(20)], abs=0.06)
    assert [y for _, y in falling] == sorted(y for _, y in falling)  # downwards in SVG
    np.testing.assert_allclose([y for _, y in rising], [400 - y for _, y in falling], atol=0.2)


def test_several_runs_have_a_curve_each_for_each_loss(tmp_path):
    runs = [make(tmp_path / name, steps=steps) for name, steps in (("a", 20), ("b", 10), ("c", 0))]
    page = page_of(*runs)
    assert page.all("h1")[0]["text"] == "3 runs: a, b, c"
    for name in ("D-Loss", "DG-Loss", "D-Loss fake"):
        long, short = curves(page, name)["curve"]
        assert len(long) == 20 and len(short) == 10
        assert short == long[:10]  # one scale for both
        label = next(svg for svg in page.all("svg") if svg["aria-label"].startswith(name + ":"))["aria-label"]
        assert "a from" in label and "b from" in label
    assert page.rows()["State"] == ["finished: 20 iterations", "stopped after 10 iterations; --resume goes on with it",
                                    "no iteration yet"]
    assert [sum(frame["alt"].startswith(f"{name}:") for frame in page.frames()) for name in "abc"] == [4, 4, 1]


def test_what_differs_between_runs_is_marked(tmp_path):
    options = {"epoch": 2, "output": "x"}
    page = page_of(make(tmp_path / "a", options={**options, "seed": 1}),
                   make(tmp_path / "b", options={**options, "seed": 2, "output": "y"},
                        machine={"cores": 2, "cpu": "AMD"}))
    marked = [element["text"] for element in page.all("tr", class_="differs")]
    assert marked == ["seed12", "cpu—AMD"]
    assert page.rows()["epoch"] == ["2", "2"]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    page = page_of(make(tmp_path / "a" / "run"), make(tmp_path / "b" / "run"))
    assert str(tmp_path / "a" / "run") in page.text and str(tmp_path / "b" / "run") in page.text


def test_more_runs_than_colours_are_dashed(tmp_path):
    page = page_of(*(make(tmp_path / str(number), frames=0) for number in range(10)))
    drawn = [element for element in page.all("path") if element["class"].startswith("curve")]
    assert len({(element["class"], element["style"]) for element in drawn}) == 10


def test_long_curves_are_thinned_and_keep_their_extremes():
    y = np.random.RandomState(0).normal(size=50_000)
    y[[12_345, 34_567]] = 99, -99
    x, thin = charts.thinned(np.arange(50_000), y)
    assert len(thin) <= 1000 and {99, -99} <= set(thin)
    np.testing.assert_array_equal(thin, y[x])
    assert (np.diff(x) > 0).all()
    np.testing.assert_array_equal(charts.thinned(np.arange(9), y[:9])[1], y[:9])


def test_means_are_means():
    y = np.random.RandomState(0).normal(size=1000)
    x, mean = charts.smooth(np.arange(1000), y)
    assert len(mean) == 300 and (x[0], x[-1]) == (0, 999)
    for at, value in zip(x, mean, strict=True):
        assert value == pytest.approx(y[max(0, at - 12):at + 13].mean())
    np.testing.assert_array_equal(charts.smooth(np.arange(50), y[:50])[1], y[:50])


def test_a_long_run_makes_a_small_file(tmp_path):
    run = make(tmp_path / "run", frames=0)
    random = np.random.RandomState(0)
    jsonl(run / "metrics.jsonl", [{"step": step, "epoch": 0, "batch": step, "D-Loss": random.normal()}
                                  for step in range(20_000)])
    assert len(page_of(run).source) < 60_000


def test_a_spike_does_not_flatten_the_curve(tmp_path):
    run = make(tmp_path / "run", frames=0)
    jsonl(run / "metrics.jsonl", [{"step": step, "epoch": 0, "batch": step, "loss": 1e9 if step == 700 else step / 1000}
                                  for step in range(1000)])
    page = page_of(run)
    heights = [y for _, y in curves(page, "Losses")["raw"][0]]
    assert heights[0] > 250 and heights[999] < 150 and heights[700] == -400 == min(heights)
    assert "(1 outside the range)" in page.text
    assert "outside the range" not in page_of(make(tmp_path / "other")).text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "word", True, 10 ** 400, [1], 1e300])
def test_values_that_are_no_numbers_are_not_drawn(run, value):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    lines[3]["D-Loss"] = value
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_of(run)
    assert [len(points) for points in curves(page, "Losses")["curve"]] == [19, 20]
    assert "nan" not in "".join(element["d"] for element in page.all("path"))


TRAIN, REAL = "mnist-cnn-3f2a91bc 1000/1000 train", "mnist-cnn-3f2a91bc 1000/1000 real test"


def evaluation(step, protocol=TRAIN, **values):
    return {"step": step, "epoch": step // 10, "batch": 0,
            **{f"{name.replace('_', ' ')} {protocol}": value for name, value in values.items()}}


def test_evaluations_are_points_and_a_table_and_no_losses(tmp_path):
    run = make(tmp_path / "run", evaluations=[
        evaluation(20, fid=11.25, kid=0.02, kid_low=0.01, class_recall={"0": 0.5}), evaluation(0, REAL, fid=1.5),
        evaluation(0, fid=30.0), evaluation(10, fid=20.625, precision=0.5)])
    page = page_of(run)
    [dots] = curves(page, "fid")["dots"]
    assert [x for x, _ in dots] == [0, 500, 1000] and sorted(y for _, y in dots) == [y for _, y in dots]
    assert {"fid", "kid", "kid low", "precision"} <= {head["text"] for head in page.all("th", scope="col")}
    assert "class recall" not in page.text
    assert [element["text"] for element in page.all("h3")][:3] == [TRAIN, REAL, "Options"]
    rows = page.rows()
    assert rows["iteration 20"] == ["11.25", "—", "0.02", "0.01"] and rows["iteration 10"] == ["20.62", "0.5", "—", "—"]
    assert rows["iteration 0"] == ["30", "—", "—", "—"] and rows["real pictures"] == ["1.5"]
    assert rows["State"] == ["finished: 20 iterations"]
    assert len(page.all("svg")) == 3  # kid and precision have one value each
    page = page_of(run, make(tmp_path / "b", evaluations=[evaluation(10, fid=4.0)]), make(tmp_path / "c"))
    assert [len(dots) for dots in curves(page, "fid")["dots"]] == [3, 1]
    assert page.rows()["run, iteration 20"][0] == "11.25" and page.rows()["b, iteration 10"][0] == "4"
    assert "c, iteration" not in page.text


def test_kid_has_its_interval_beside_it(tmp_path):
    lines = [evaluation(step, kid=0.02, kid_low=0.01, kid_high=0.03) for step in (10, 20)]
    assert len(curves(page_of(make(tmp_path / "run", evaluations=lines)), "kid")["dots"]) == 3


def test_shares_have_a_linear_scale(tmp_path):
    page = page_of(make(tmp_path / "run", evaluations=[
        evaluation(step, coverage=value) for step, value in ((0, 0.001), (10, 0.5), (20, 1.0))]))
    [[(_, first), (_, second), (_, third)]] = curves(page, "coverage")["dots"]
    assert third - second == pytest.approx(second - first, abs=1)


@pytest.mark.parametrize("highest", [0.0, 0.25])
def test_a_share_has_no_axis_below_0(tmp_path, highest):
    page = page_of(make(tmp_path / "run", evaluations=[
        evaluation(step, precision=value) for step, value in ((0, 0.0), (10, highest))]))
    ticks = [float(span["text"]) for span in page.all("span", class_="y") if page.elements.index(span) >
             page.elements.index(next(svg for svg in page.all("svg") if svg["aria-label"].startswith("precision")))]
    assert min(ticks) == 0 < max(ticks) <= 1


def test_runs_of_several_recipes_are_told_apart(tmp_path):
    one, other = make(tmp_path / "output_dcgan"), make(tmp_path / "Output", recipe="faces")
    page = page_of(one, other, make(tmp_path / "cgan_2", recipe="cgan"))
    assert "book: output_dcgan, faces: Output, cgan_2" in page.text
    assert "book" not in page_of(one, make(tmp_path / "again")).text.partition("Recipe")[0]


def test_metrics_that_fall_far_have_a_logarithmic_scale(tmp_path):
    page = page_of(make(tmp_path / "run", evaluations=[
        evaluation(step, fid=value) for step, value in ((0, 1000.0), (10, 100.0), (20, 10.0))]))
    [[(_, first), (_, second), (_, third)]] = curves(page, "fid")["dots"]
    assert third - second == pytest.approx(second - first, abs=0.2)
    assert {"10", "20", "50", "100", "200", "500", "1000"} == {
        span["text"] for span in page.all("span", class_="y") if page.elements.index(span) > page.elements.index(
            next(svg for svg in page.all("svg") if svg["aria-label"].startswith("fid")))}


def test_one_evaluation_is_a_table_only(tmp_path):
    page = page_of(make(tmp_path / "run", evaluations=[{"step": 20, "epoch": 2, "batch": 0, "made up": 11.0}]))
    assert page.rows()["iteration 20"] == ["11"] and len(page.all("svg")) == 2


def test_each_chart_says_what_to_look_for(tmp_path):
    page = page_of(make(tmp_path / "run", evaluations=[
        evaluation(step, **dict.fromkeys(reading.SENTENCES, value)) for step, value in ((0, 0.5), (10, 0.25))]))
    hints = [element["text"] for element in page.all("p", class_="hint")]
    assert hints == [reading.LOSSES, reading.PARTS, *reading.SENTENCES.values()]
    assert len(page.all("figure", class_="chart")) == len(hints)


@pytest.mark.parametrize(("precision", "recall", "remarks"), [
    (1.0, 0.0, [reading.COLLAPSE]), (0.98, 0.004, [reading.COLLAPSE]), (0.98, 0.4, []), (0.5, 0.0, [])])
def test_a_precision_of_1_with_a_recall_of_0_is_remarked_on(tmp_path, precision, recall, remarks):
    page = page_of(make(tmp_path / "run", evaluations=[evaluation(10, precision=precision, recall=recall)]))
    assert [remark["text"] for remark in page.all("tr", class_="remark")] == remarks


def test_the_way_to_the_page_is_a_link_in_the_projects_folder_only(run, tmp_path, monkeypatch):
    assert "docs/metrics.md" in page_of(run).text and not page_of(run).all("a")
    monkeypatch.setattr(reading, "ROOT", tmp_path)
    report.write([run], run / "report.html")
    [link] = Page(run / "report.html").all("a")
    assert link["href"] == "../docs/metrics.md"


def test_the_comparison_is_embedded(run):
    Image.new("L", (30, 20), 77).save(run / "comparison.png")
    (run / "comparison.json").write_text(json.dumps([
        {"name": "contrast", "tutorial": 1.25, "ours": 1.5, "interval": [-0.25, 0.75], "tutorial_real": None},
        {"name": "classes", "tutorial": "1 2", "ours": "a < b", "interval": None,
         "verdict": "differs", "note": "a < b"}]))
    page = page_of(run)
    assert any((picture(image) == 77).all() for image in page.all("img"))
    assert page.rows()["contrast"] == ["1.25", "1.5", "-0.25 … 0.75", "—"]
    assert page.rows()["classes"] == ["1 2", "a < b", "—", "—"]
    assert [remark["text"] for remark in page.all("tr", class_="remark")] == ["differs · a < b"]
    assert {"name", "tutorial", "ours", "ours − tutorial", "tutorial real"} <= {
        head["text"] for head in page.all("th", scope="col")}


def test_where_the_time_went(run):
    rows = page_of(run).rows()
    assert rows["Iterations"] == ["15 in 30.0 s"]
    assert rows["training"] == ["75.0% · 1.5000 s"]
    assert rows["reading"] == ["12.5% · 0.2500 s"]
    assert rows["all else"] == ["12.5% · 0.2500 s"]


def test_a_torn_line_among_the_losses_is_left_out(run):
    before = page_of(run).rows()
    lines = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(b'{"step": 0, "epo\n' + b"\0" * 40 + b"\n" + lines)
    assert page_of(run).rows() == before


def test_the_clock_of_a_resumed_run_begins_anew(run):
    with (run / "timing.jsonl").open("a") as file:
        file.write('{"time": 200, "ste')  # the power failed here, which costs the next line, too
        # Resumed three times; the second run was stopped before it had anything to note.
        for step, time, seconds in ((16, 3000, 0), (17, 4000, 0), (18, 5000, 0), (20, 5010, 8.5)):
            file.write(json.dumps({"time": time, "step": step, "seconds": {"step": seconds, "reader": 0}}) + "\n")
        file.write('{"time": 6000')
    page = page_of(run)
    assert page.rows()["Iterations"] == ["17 in 40.0 s"]
    with (run / "timing.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"time": 5020, "step": 25, "seconds": {"step": 16, "reader": 0}}) + "\n")
    assert page_of(run).rows()["Iterations"] == ["22 in 50.0 s"]


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "content", "words"), [
    ("config.json", "{", "config.json cannot be read"),
    ("config.json", "[]", "config.json cannot be read"),
    ("config.json", '["recipe", "options", "dataset", "versions", "machine"]', "config.json"),
    ("config.json", '{"recipe": 1}', "'recipe'"),
    ("config.json", "[" * 100_000, "config.json cannot be read"),
    ("config.json", '{"recipe": "book", "options": [], "dataset": {}, "versions": {}, "machine": {}}', "'options'"),
    ("metrics.jsonl", '{"step": 0, "batch": 0}\nno json\n5\n', "line 3 of .*metrics.jsonl is not as a run writes it"),
    ("metrics.jsonl", "[" * 100_000 + "\n", "line 1 of .*RecursionError"),
    ("metrics.jsonl", "5\n", "line 1 of .*metrics.jsonl"),
    ("metrics.jsonl", '{"step": 1}\n', "metrics.jsonl is not as a run writes it .KeyError: 'batch'"),
    ("metrics.jsonl", '{"evaluation": true, "step": [1]}\n', "metrics.jsonl is not as"),
    ("timing.jsonl", '{"step": 1}\n{"step": 2}\n', "timing.jsonl .*'seconds'"),
    ("comparison.json", "{", "comparison.json is not as"),
    ("comparison.json", "[1]", "comparison.json is not as"),
    ("comparison.json", "5", "comparison.json is not as"),
])
def test_records_that_are_not_a_runs_are_named(run, file, content, words):
    (run / file).write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        page_of(run)
    assert "\n" not in str(caught.value)
    assert not (run.parent / "out.html").exists()


def test_folders_without_a_run(tmp_path):
    (tmp_path / "file").touch()
    for name in ("none", ".", "file"):
        with pytest.raises(UserError, match="there is no run in|cannot be read"):
            page_of(tmp_path / name)


def test_the_old_report_stays_when_the_new_one_fails(run, monkeypatch):
    page_of(run)
    before = (run.parent / "out.html").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(UserError, match="cannot write .*free some space"):
        patched.setattr(Path, "replace", full)
        page_of(run)
    (run / "comparison.json").write_text("{")
    with pytest.raises(UserError):
        page_of(run)
    assert (run.parent / "out.html").read_bytes() == before
    assert [path.name for path in run.parent.iterdir() if path.is_file()] == ["out.html"]
