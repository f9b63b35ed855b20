"""The training loop, with a GAN of nothing but NumPy."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common import plotting
from common.errors import RunStopped, UserError
from common.recipe import Curves
from common.report.page import write_report
from common.training import checkpoint, loop
from tests.common.training.fake_gan import CONFIG, FakeGAN, names, result


def test_a_run_leaves_its_records(new, capsys):
    run = new(note="data: fake")
    run.run()
    assert run.step == 15 == run.gan.steps
    lines = run.folder.metrics()
    assert [(line["step"], line["epoch"], line["batch"]) for line in lines] == \
        [(5 * epoch + batch, epoch, batch) for epoch in range(3) for batch in range(5)]
    assert set(lines[0]) == {"step", "epoch", "batch", "D-Loss", "DG-Loss", "D-Loss fake"}
    pictures = [f"{epoch:04d}_{batch:04d}.png" for epoch in range(3) for batch in (0, 2, 4)]
    assert sorted(path.name for path in run.folder.path.glob("*.png")) == pictures
    assert sorted(path.name for path in run.folder.frames.iterdir()) == pictures
    assert names(run) == ["0001_0000.safetensors", "0002_0000.safetensors", "0003_0000.safetensors"]
    out = capsys.readouterr().out
    assert f"2 4 {np.float32(lines[14]['D-Loss'])}\n" in out
    assert out.count("\n2 ") == 3
    assert "time: " in out
    assert f"are in {run.folder.path.resolve()}" in out.splitlines()[-1]
    assert len(run.gan.drawn) == 9
    assert all(title.endswith("data: fake") for title in run.gan.drawn)
    timing = [json.loads(line) for line in run.folder.timing_path.read_text().splitlines()]
    assert [line["step"] for line in timing] == [0, 1, 3, 5, 6, 8, 10, 11, 13, 15]
    assert (run.folder.path / "animation.gif").exists()
    assert run.gan.ended == [run.folder.path] * 3  # after each epoch


def test_a_run_ends_with_its_report(new, capsys):
    run = new(report=write_report)
    run.folder.write_config({**CONFIG, "options": {"epoch": 3}})
    run.run()
    page = (run.folder.path / "report.html").read_text()
    assert "finished: 15 iterations" in page and page.count("data-step=") == 9
    assert "done: 15 steps; report.html," in capsys.readouterr().out.splitlines()[-1]
    new("short", max_steps=2, report=write_report).run()
    page = (run.folder.path.parent / "short" / "report.html").read_text()
    assert "stopped after 2 iterations; --resume goes on with it" in page  # although its lock is held
    assert ">2 in " in page  # the second has no picture, and its time counts all the same


def test_a_report_that_fails_is_told_and_loses_nothing(new):
    def fail(folder):
        raise RuntimeError("no report")

    run = new(report=fail)
    with pytest.raises(RuntimeError, match="no report"):
        run.run()
    assert names(run)[-1] == "0003_0000.safetensors" and len(run.folder.metrics()) == 15
    assert (run.folder.path / "animation.gif").exists()
    again = new(resume=True, report=write_report)
    again.run()
    assert (again.gan.steps, (run.folder.path / "report.html").exists()) == (0, True)


def test_losses_are_drawn_for_all_batches(new, monkeypatch):
    drawn = []
    monkeypatch.setattr(plotting, "save_losses", lambda *args: drawn.append(args))
    run = new()
    run.run()
    [(path, curves, *_)] = drawn
    assert path.name == "losses.png"
    assert curves == {name: [line[name] for line in run.folder.metrics()] for name in run.gan.losses}


def test_losses_by_epoch_are_those_of_its_last_batch(new, monkeypatch):
    drawn = []
    monkeypatch.setattr(plotting, "save_losses", lambda *args: drawn.append(args))
    run = new(max_steps=13)  # the last epoch's third batch
    run.gan.curves = Curves(title="fit", xlabel="Epoch", labels=("one", "two"), by_epoch=True)
    run.run()
    [(_, curves, title, xlabel)] = drawn
    lines = run.folder.metrics()
    assert curves == {label: [lines[i][name] for i in (4, 9, 12)]
                      for label, name in zip(run.gan.curves.labels, run.gan.losses, strict=True)}
    assert (title, xlabel) == ("fit", "Epoch")


def test_constant_noise_comes_before_all_other_noise(new):
    run = new(epochs=1)
    expected = np.random.RandomState(7)
    np.testing.assert_array_equal(run.constant_noise, expected.normal(size=[4, 3]).astype("float32"))
    seen = []
    run.gan.sample = lambda noise: seen.append(noise.copy()) or np.zeros([4, 4, 4])
    run.run()
    assert len(seen) == 3
    assert all((noise == run.constant_noise).all() for noise in seen)


def test_pictures_show_the_real_batch_and_the_constant_noise(new):
    run = new(epochs=1)
    drawn = []
    run.gan.draw = lambda path, title, real, generated: drawn.append((real, generated))
    run.run()
    batches = list(run.data.epoch(0))
    for (real, generated), number in zip(drawn, (0, 2, 4), strict=True):
        np.testing.assert_array_equal(real, batches[number])
        assert generated.shape == (4, 4, 4)


def test_a_checkpoint_each_five_minutes(new, monkeypatch):
    assert loop.CHECKPOINT_SECONDS == 300
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    saved = []
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save",
                        lambda *args: saved.append(args[1:3]) or save(*args))
    run = new(epochs=2)

    def tick(_steps):
        now[0] += 120.0

    run.gan.before_step = tick
    run.run()
    assert saved == [(0, 3), (1, 0), (1, 3), (2, 0)]  # after 360 seconds, and at the end of an epoch


@pytest.mark.parametrize("seconds", [300, -1])
def test_a_resumed_run_equals_one_never_stopped(new, monkeypatch, seconds):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", seconds)
    whole = new("whole", epochs=4)
    whole.run()
    for crash in (7, 2, 6):  # steps that each process makes before it dies
        run = new("torn", epochs=4, resume=crash != 7)

        def die(steps, crash=crash):
            if steps == crash:
                raise MemoryError

        run.gan.before_step = die
        with pytest.raises(MemoryError):
            run.run()
    run = new("torn", epochs=4, resume=True)
    assert 0 < run.step < 20
    run.run()
    assert result(run) == result(whole)


def test_a_config_that_is_damaged_meanwhile_costs_no_checkpoint(new):
    run = new(epochs=1)
    run.gan.before_step = lambda _steps: run.folder.config_path.write_text("{")
    run.run()
    assert checkpoint.load(run.folder.latest())[1]["config"] == CONFIG


def test_max_steps_counts_over_resumed_runs(new):
    run = new(max_steps=3)
    run.run()
    assert run.step == 3
    assert names(run) == ["0000_0003.safetensors"]
    run = new(max_steps=7, resume=True)
    run.run()
    assert (run.step, run.gan.steps) == (7, 4)
    assert len(run.folder.metrics()) == 7
    run = new(max_steps=5, resume=True)  # done already, and more
    run.run()
    assert (run.step, run.gan.steps) == (7, 0)
    run = new(resume=True)
    run.run()
    assert run.step == 15
    whole = new("whole")
    whole.run()
    assert result(run) == result(whole)


def test_resuming_a_finished_run_changes_nothing(new):
    run = new()
    run.run()
    before = result(run)
    again = new(resume=True)
    again.run()
    assert again.gan.steps == 0
    assert result(again) == before
    again.folder.metrics_path.write_text('{"epoch": 0}\n' * 15)
    with pytest.raises(UserError, match="metrics.jsonl is not as a run writes it .KeyError: 'D-Loss'.; restore it"):
        new(resume=True).run()


def test_more_epochs_later_equal_as_many_at_once(new):
    run = new(epochs=1)
    run.run()
    more = new(epochs=3, resume=True)
    more.run()
    whole = new("whole", epochs=3)
    whole.run()
    assert result(more) == result(whole)


def test_missing_metrics_stop_a_resumed_run_before_it_writes(new):
    run = new()
    run.run()
    kept = run.folder.metrics_path.read_bytes()
    run.folder.metrics_path.write_bytes(kept[:100])
    before = names(run)
    with pytest.raises(UserError, match="metrics.jsonl has"):
        new(resume=True, epochs=4).run()
    run.folder.metrics_path.write_bytes(kept)
    more = new(resume=True, epochs=4)
    assert names(more) == before
    more.run()
    assert more.step == 20


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_stops_the_run(new, bad):
    run = new()
    step = run.gan.step
    run.gan.step = lambda *args: {**step(*args), "D-Loss": np.float32(bad)} if run.gan.steps == 11 else step(*args)
    with pytest.raises(RunStopped, match=f"D-Loss is {bad} after 11 steps; the last good checkpoint is .*0002_0000"
                       ) as caught:
        run.run()
    assert caught.value.exit_code == 1
    assert len(run.folder.metrics()) == 11
    assert names(run)[-1] == "0002_0000.safetensors"
    run = new(resume=True)
    run.run()
    whole = new("whole")
    whole.run()
    assert result(run) == result(whole)


def test_weights_that_are_not_numbers_are_never_saved(new):
    run = new()
    run.gan.before_step = lambda steps: None if steps < 7 else run.gan.__dict__.update(weight=np.full(3, np.nan, "f4"))
    run.gan.step = lambda batch, random: {**FakeGAN.step(run.gan, batch, random), "D-Loss": 1.0}
    run.gan.sample = lambda noise: np.zeros([4, 4, 4])
    with pytest.raises(RunStopped, match="weight is nan after 10 steps; the last good checkpoint is .*0001_0000"):
        run.run()
    assert names(run) == ["0001_0000.safetensors"]


def test_a_number_that_is_none_in_the_first_epoch(new):
    run = new()
    run.gan.step = lambda *_: {"D-Loss": float("nan"), "DG-Loss": 1.0}
    with pytest.raises(RunStopped, match="no checkpoint was saved before"):
        run.run()


def test_a_full_disk_while_saving_loses_nothing(new, monkeypatch):
    run = new()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        run.gan.before_step = lambda steps: steps == 8 and patched.setattr(Path, "replace", full)
        with pytest.raises(UserError, match="cannot write .*No space left on device; free some space"):
            run.run()
    assert names(run) == ["0001_0000.safetensors"]
    run = new(resume=True)
    run.run()
    whole = new("whole")
    whole.run()
    assert result(run) == result(whole)


def test_no_training_goes_on_from_a_generator_alone(new):
    class Split(FakeGAN):
        def generator_names(self):
            return ["weight"]

    run = new(epochs=9, gan=Split())
    run.folder.mark_best(Path("0003_0000.safetensors"), {"fid": 1.0})
    run.run()
    assert names(run) == [f"{epoch:04d}_0000.safetensors" for epoch in (3, 5, 7, 8, 9)]
    assert set(checkpoint.load(run.folder.best())[0]) == {"weight"}
    newest = run.folder.saved()
    assert new(resume=True, epochs=9).step == 45
    newest[-1].rename(run.folder.path / "away")
    assert new(resume=True, epochs=9).step == 40
    for path in newest[-3:-1]:
        path.unlink()
    with pytest.raises(UserError, match="0005_0000.safetensors keeps only the generator.*no other is left"):
        new(resume=True, epochs=9)
    (run.folder.path / "best.json").write_text("{")  # no reason to stop a training
    (run.folder.path / "away").rename(newest[-1])
    new(resume=True, epochs=10).run()
    assert names(run)[-1] == "0010_0000.safetensors"


def test_a_checkpoint_of_another_recipe_is_refused(new, tmp_path):
    run = new()
    run.run()
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps({**CONFIG, "recipe": "other"}))
    with pytest.raises(UserError, match="is a checkpoint of the recipe fake, not of other"):
        new(resume=True)
    path.write_text(json.dumps(CONFIG))
    new(resume=True, epochs=4).run()


def test_losses_go_to_visualdl(new):
    written = []
    run = new(epochs=1)
    run.writer = SimpleNamespace(
        add_scalar=lambda name, value, step: written.append((name, np.float32(value), step)))
    run.run()
    assert written == [(name, np.float32(line[name]), line["step"]) for line in run.folder.metrics()
                       for name in ("D-Loss", "DG-Loss", "D-Loss fake")]
