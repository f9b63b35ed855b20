"""The training loop, with a GAN of nothing but NumPy."""

import json
import os
import pty
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common import plotting
from common.data.batches import Batches
from common.errors import RunStopped, UserError, run_command
from common.recipe import GAN, Curves
from common.report.page import write_report
from common.training import checkpoint, loop
from common.training.loop import Loop
from common.training.run_folder import RunFolder

CONFIG = {"recipe": "fake", "options": {}, "dataset": {}, "versions": {}, "machine": {}}


class FakeGAN(GAN):
    """Its weight depends on every batch and every random number, in order."""

    losses = ("D-Loss", "DG-Loss")
    record_every = 2

    def __init__(self):
        self.weight = np.zeros(3, "float32")
        self.drawn = []
        self.before_step = lambda steps: None
        self.steps = 0

    def noise(self, count, random):
        return random.normal(size=[count, 3]).astype("float32")

    def step(self, batch, random):
        self.before_step(self.steps)
        self.steps += 1
        self.weight = 0.9 * self.weight + batch.mean() + self.noise(len(batch), random).mean(0)
        return {"D-Loss": self.weight.sum(), "DG-Loss": np.float32(random.normal()), "D-Loss fake": np.float32(0.5)}

    def sample(self, noise):
        return np.tanh(noise @ self.weight)[:, None, None] * np.ones([1, 4, 4], "float32")

    def message(self, epoch, batch, losses):
        return f"{epoch} {batch} {losses['D-Loss']}"

    def draw(self, path, title, real, generated):
        self.drawn.append(title)
        plotting.save_png(path, plotting.grid(np.concatenate([real.reshape(-1, 4, 4), generated])))

    def state(self):
        return {"weight": self.weight.copy()}

    def load_state(self, state):
        self.weight = state["weight"].copy()


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out the curves at the end, which take longer than all the rest."""
    monkeypatch.setattr(plotting, "save_losses", lambda *_: None)


@pytest.fixture
def new(tmp_path, no_figures):
    """A loop over 20 pictures in 5 batches; all folders are let go of in the end."""
    folders = []

    def make(name="run", epochs=3, resume=False, gan=None, **options):
        if folders:
            folders[-1].close()
        folder = RunFolder(tmp_path / name, resume)
        folders.append(folder)
        if not resume:
            folder.write_config(CONFIG)
        images = np.random.RandomState(1).randint(0, 256, [20, 4, 4]).astype("uint8")
        made = Loop(gan or FakeGAN(), Batches(images, 4), folder, np.random.RandomState(7), epochs, **options)
        if resume:
            made.resume()
        return made

    yield make
    for folder in folders:
        folder.close()


def result(run):
    """What must not depend on interruptions: final arrays, metrics, pictures."""
    arrays, record = checkpoint.load(run.folder.latest())
    pictures = {path.relative_to(run.folder.path): path.read_bytes() for path in run.folder.path.rglob("*.png")}
    return {name: array.tobytes() for name, array in arrays.items()}, record, \
        run.folder.metrics_path.read_bytes(), pictures


def names(run):
    return [path.name for path in checkpoint.listing(run.folder.checkpoints)]


def stop_at(step, number):
    """Sends this process a signal during a step."""
    return lambda steps: os.kill(os.getpid(), number) if steps == step else None


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


def test_old_checkpoints_go_but_for_each_fifth_epoch(new):
    run = new(epochs=12)
    run.run()
    assert names(run) == [f"{epoch:04d}_0000.safetensors" for epoch in (5, 10, 11, 12)]


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


@pytest.mark.parametrize("also", [None, signal.SIGINT], ids=["alone", "with Ctrl-C"])
def test_a_run_whose_reader_goes_away_is_saved(new, monkeypatch, also):
    """As in ``python train.py 2>&1 | head``, or where Ctrl-C ends ``… | tee`` too."""
    read, write = os.pipe()
    run = new(epochs=2)

    def gone(steps):
        if steps == 6:
            os.close(read)
            if also:
                os.kill(os.getpid(), also)

    run.gan.before_step = gone
    with monkeypatch.context() as patched, suppress(BrokenPipeError), \
            open(write, "w", encoding="utf-8") as errors, open(os.dup(write), "w", encoding="utf-8") as output:
        patched.setattr(sys, "stdout", output)
        patched.setattr(sys, "stderr", errors)
        code = run_command(run.run)
    assert code == (130 if also else 141)
    step = 7 if also else 8  # the next line was that of step 8
    assert run.step == step and names(run)[-1] == f"0001_000{step - 5}.safetensors"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_save_and_stop_after_the_batch(new, number, code, capsys):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run = new()
    run.gan.before_step = stop_at(6, number)
    with pytest.raises(RunStopped, match=f"stopped by {number.name} after epoch 1 batch 1; saved .*0001_0002"
                                         ".safetensors; go on with --resume") as caught:
        run.run()
    assert caught.value.exit_code == code
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert f"{number.name}: saving after this batch" in capsys.readouterr().err
    assert run.gan.steps == 7 == len(run.folder.metrics())
    run = new(resume=True)
    assert run.step == 7
    run.run()
    whole = new("whole")
    whole.run()
    assert result(run) == result(whole)


def test_a_hangup_that_is_ignored_stays_so(new):
    """As ``nohup`` starts a program."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = new()
        run.gan.before_step = stop_at(6, signal.SIGHUP)
        run.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.step == run.steps


def test_a_run_is_saved_when_its_terminal_closes(new, monkeypatch):
    """The signal comes, and nothing can be written to the terminal any more."""
    master, slave = pty.openpty()
    run = new(epochs=2)

    def closed(steps):
        if steps == 6:
            os.close(master)
            for _ in range(2):  # from the shell and from the system
                os.kill(os.getpid(), signal.SIGHUP)

    run.gan.before_step = closed
    with monkeypatch.context() as patched, open(slave, "w", encoding="utf-8") as errors, \
            open(os.dup(slave), "w", encoding="utf-8") as output:
        patched.setattr(sys, "stdout", output)
        patched.setattr(sys, "stderr", errors)
        code = run_command(run.run)
    assert code == 129
    assert run.step == 7 and names(run)[-1] == "0001_0002.safetensors"


def test_a_signal_at_the_last_batch_lets_the_run_end(new):
    run = new()
    run.gan.before_step = stop_at(14, signal.SIGTERM)
    run.run()
    assert names(run)[-1] == "0003_0000.safetensors"


def test_a_second_signal_stops_at_once(new):
    run = new()

    def twice(steps):
        if steps == 6:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)  # lets Python call the handler
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)

    run.gan.before_step = twice
    with pytest.raises(SystemExit) as caught:
        run.run()
    assert caught.value.code == 143
    assert names(run) == ["0001_0000.safetensors"]  # nothing new, nothing broken
    run = new(resume=True)
    run.run()
    assert run.step == 15


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
    run = new(epochs=1, writer=SimpleNamespace(
        add_scalar=lambda name, value, step: written.append((name, np.float32(value), step))))
    run.run()
    assert written == [(name, np.float32(line[name]), line["step"]) for line in run.folder.metrics()
                       for name in ("D-Loss", "DG-Loss", "D-Loss fake")]
