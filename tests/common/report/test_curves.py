"""The report's curves and measured metrics: what is drawn, how it is thinned, scaled and explained."""

import json

import numpy as np
import pytest

from common.report import charts, reading
from tests.common.report.pages import curves, jsonl, make, page_of


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run")


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
