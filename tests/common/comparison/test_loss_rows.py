"""A run's losses beside the published ones."""

import numpy as np
import pytest

from common.comparison.loss_rows import loss_rows


def batches(count, **losses):
    return [{"epoch": step // 100, "batch": step % 100, **{name: value for name, value in losses.items()}}
            for step in range(count)]


def test_the_books_losses_beside_the_published_ones():
    config = {"recipe": "book", "options": {"enable_ce": False, "batch_size": 128}, "dataset": {"name": "MNIST"}}
    metrics = batches(300, **{"D-Loss": 1.16, "DG-Loss": 0.5})
    for number, line in enumerate(metrics):
        line["D-Loss"] += 0.01 * (-1) ** number
    d, g = loss_rows(config, metrics)
    assert d.tutorial == 1.1586 and d.ours == metrics[-1]["D-Loss"] and "differs" not in d.verdict
    assert g.tutorial == 0.6668 and g.ours == 0.5 and g.verdict == "differs"
    assert "epoch 2, batch 99" in d.note
    for other in ({"options": {"fix": ["max_pool"]}}, {"options": {"beta1": 0.5}}, {"dataset": {"name": "digits"}}):
        assert list(loss_rows(config | other, metrics)) == []


def test_an_epoch_that_has_just_begun_differs_no_more_than_another():
    random = np.random.RandomState(0)
    losses = random.normal([[1.1586, 0.6668]], 0.03, [470, 2])
    metrics = [{"epoch": step // 468, "batch": step % 468, "D-Loss": d, "DG-Loss": g}
               for step, (d, g) in enumerate(losses)]
    config = {"recipe": "book", "options": {"batch_size": 128}, "dataset": {"name": "MNIST"}}
    assert [row.verdict for row in loss_rows(config, metrics)] == 2 * [
        "within what the last 461 batches show"]
    assert [row.verdict for row in loss_rows(config, metrics[:3])] == 2 * ["3 batches are too few to tell"]


def test_the_same_batch_of_the_same_epoch_is_taken():
    metrics = [{"epoch": epoch, "batch": batch, "D-Loss": epoch + batch / 1000, "DG-Loss": 0.6}
               for epoch in (18, 19, 20) for batch in range(468)]
    config = {"recipe": "book", "options": {"batch_size": 128}, "dataset": {"name": "MNIST"}}
    d, _ = loss_rows(config, metrics)
    assert d.ours == pytest.approx(19.46)
    config["options"]["batch_size"] = 64
    assert not list(loss_rows(config, metrics))


@pytest.mark.parametrize("g, verdict", [(0.665533 * 1.01, "within its 2%"), (0.665533 * 1.03, "outside its 2%")])
def test_continuous_evaluation(g, verdict):
    metrics = batches(468, **{"D-Loss": 1.161403, "DG-Loss": g - 0.01, "DG-Loss first": g + 0.01})
    config = {"recipe": "book", "options": {"enable_ce": True, "batch_size": 128}, "dataset": {"name": "MNIST"}}
    d, row = loss_rows(config, metrics)
    assert d.verdict.startswith("within") and row.verdict.startswith(verdict) and row.ours == pytest.approx(g)
    assert not list(loss_rows(config, metrics[:100]))  # its mean is of the whole epoch
    config["options"]["batch_size"] = 64
    assert not list(loss_rows(config, metrics))


def test_losses_of_the_faces_after_they_settle():
    config = {"recipe": "faces", "options": {"batch_size": 128}, "dataset": {"name": "CelebA"}}
    metrics = batches(300, **{"D-Loss": 0.0, "G-Loss": 38.0}) + [
        {"epoch": 3, "batch": n, "D-Loss": 0.01 * n, "G-Loss": 4 + 0.02 * n} for n in range(100)]
    metrics[0]["G-Loss"], metrics[5]["G-Loss"] = 1.0, 39.5
    highest, fallen, g, d = loss_rows(config, metrics)
    assert (highest.tutorial, highest.ours) == (39.0, 39.5)
    assert (fallen.tutorial, fallen.ours) == (300, 296)  # from there on most of ten are low
    assert g.ours == pytest.approx(4.99) and g.verdict.startswith("within")
    assert d.ours == pytest.approx(0.495)
    assert [row.ours for row in loss_rows(config, metrics[:300])] == [39.5, "not in 300"]
    metrics[390]["G-Loss"] = 60.0  # one spike long after
    assert next(row for row in loss_rows(config, metrics) if "until" in row.name).ours == 296
    low = batches(20, **{"D-Loss": 0.0, "G-Loss": 3.0})
    assert [row.ours for row in loss_rows(config, low)] == [3.0, "never above it"]
    assert list(loss_rows({"recipe": "cgan", "options": {}, "dataset": {"name": "MNIST"}}, metrics)) == []
