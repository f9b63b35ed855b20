"""The report: one file, complete, that loads nothing and takes nothing from a run's folder for more than text."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from common import plotting
from common.errors import UserError
from common.report import page as report
from common.report import reading
from tests.common.report.pages import Page, curves, jsonl, make, page_of, picture

NASTY = "\"'><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>&amp; ünï $body"


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


def test_states(tmp_path, monkeypatch):
    def state(run, ended=False):
        return page_of(run, ended=ended).rows()["State"][0]

    assert state(make(tmp_path / "finished")) == "finished: 20 iterations"
    stopped = make(tmp_path / "stopped", steps=13)
    assert state(stopped) == "stopped after 13 iterations; --resume goes on with it"
    with FileLock(stopped / ".lock"):
        assert state(stopped) == "still running: 13 iterations so far"
        assert state(stopped, ended=True).startswith("stopped after 13")

    def refused(*_, **__):  # as the lock of another user's run is
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("common.report.run.FileLock", refused)
        assert state(stopped) == "not finished: 13 iterations"
    (stopped / ".lock").unlink()
    (stopped / ".lock").symlink_to(tmp_path / "elsewhere")  # in a folder that somebody has sent
    (tmp_path / "elsewhere").write_text("mine")
    assert state(stopped) == "not finished: 13 iterations" and (tmp_path / "elsewhere").read_text() == "mine"
    (stopped / ".lock").unlink()
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
    page = page_of(make(tmp_path / "run", steps=240, batches=100, frames=120))
    steps = [int(frame["data-step"]) for frame in page.frames()]
    assert len(steps) == report.FRAMES == 60
    assert (steps[0], steps[-1]) == (0, 238)
    assert set(np.diff(steps)) <= {4, 6}


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


def test_pictures_outside_of_the_run_are_not_embedded(run, tmp_path):
    """A run from elsewhere could have links."""
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("grid.png", "0000_0000.png"):
        Image.new("L", (4, 4), 99).save(secret / name)
    (run / "real_samples.png").symlink_to(secret / "grid.png")
    (run / "image").symlink_to(secret)
    (run / "constant_noise" / "0001_0005.png").unlink(missing_ok=True)
    (run / "constant_noise" / "0001_0009.png").symlink_to(secret / "0000_0000.png")
    assert not any((picture(image) == 99).all() for image in page_of(run).all("img"))
    shutil.rmtree(run / "constant_noise")
    (run / "constant_noise").symlink_to(secret)
    assert not any((picture(image) == 99).all() for image in page_of(run).all("img"))
    linked = tmp_path / "linked"  # the folder itself may be a link of the user's
    linked.symlink_to(run)
    assert page_of(linked).all("img")


def test_samples(run):
    (run / "image").mkdir()
    for name, value in (("real_samples.png", 10), ("image/grid.png", 20), ("image/test_0.png", 30)):
        Image.new("L", (4, 4), value).save(run / name)
    page = page_of(run)
    newest, real, generated = (image for image in page.all("img") if "data-step" not in image)
    np.testing.assert_array_equal(picture(newest), np.asarray(Image.open(run / "0001_0005.png")))
    assert (picture(real) == 10).all() and (picture(generated) == 20).all()


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
    assert "Verdict: of 2 rows 1 differs from the tutorial: other in classes." in page.text
    assert {"name", "tutorial", "ours", "ours − tutorial", "tutorial real"} <= {
        head["text"] for head in page.all("th", scope="col")}


def test_comparisons_of_several_runs_have_their_names(tmp_path):
    runs = [make(tmp_path / name) for name in ("one", "two")]
    for run in runs:
        (run / "comparison.json").write_text(json.dumps([{"name": "D-Loss of one batch", "ours": 1.5}]))
    assert page_of(*runs).text.count("Verdict: of 1 rows none differs from the tutorial.") == 2
    assert [head["text"] for head in page_of(*runs).all("h3")][-2:] == ["one", "two"]


def test_numbers_on_other_pictures_stand_apart(tmp_path):
    runs = [make(tmp_path / name, dataset={"name": "MNIST", "pictures": pictures}, evaluations=[
        {"step": step, "epoch": step // 10, "batch": 0, "fid cnn-1 9/9 train": 1.5 + step} for step in (10, 20)])
        for name, pictures in (("a", 9), ("b", 9), ("c", 5))]
    heads = [head["text"] for head in page_of(*runs).all("h3")]
    assert [head for head in heads if head.startswith("cnn-1")] == ["cnn-1 9/9 train: a, b", "cnn-1 9/9 train: c"]
    assert "cnn-1 9/9 train" in [head["text"] for head in page_of(*runs[:2]).all("h3")]


def test_where_the_time_went(run):
    rows = page_of(run).rows()
    assert rows["Iterations"] == ["15 in 30.0 s"]
    assert rows["training"] == ["75.0% · 1.5000 s"]
    assert rows["reading"] == ["12.5% · 0.2500 s"]
    assert rows["logging and all else"] == ["12.5% · 0.2500 s"]


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


@pytest.mark.parametrize("file", ["metrics.jsonl", "timing.jsonl", "comparison.png"])
def test_a_pipe_in_a_runs_folder_is_not_waited_for(run, file):
    (run / file).unlink(missing_ok=True)
    os.mkfifo(run / file)
    if file.endswith("png"):
        assert "the tutorial and this run" not in page_of(run).source
    else:
        with pytest.raises(UserError, match=file):
            page_of(run)


def test_odd_values_in_the_records_are_no_traceback(run):
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["pictures"] = [1]
    (run / "config.json").write_text(json.dumps(config))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"evaluation": true, "step": 1, "epoch": 0, "batch": 1, "": 3}\n')
    page_of(run)


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
    with pytest.raises(UserError, match="comparison.json is not as"):
        page_of(run)
    assert (run.parent / "out.html").read_bytes() == before
    assert [path.name for path in run.parent.iterdir() if path.is_file()] == ["out.html"]
