"""--dry_run: what it measures, and that a run is as it says."""

import re

import pytest

from common.data import datasets
from common.training import checkpoint, dry_run
from common.training.options import complete
from tests.helpers import content
from tests.static_mnist.narrow_runs import write_pictures
from tests.test_fifth_recipe import fifth  # noqa: F401  the fixture


@pytest.mark.parametrize(("text", "value"), [
    ("3 s", 3.2), ("59 s", 59.4), ("2 min", 110), ("119 min", 7140), ("2.0 h", 7201), ("140.0 h", 504000)])
def test_durations(text, value):
    assert dry_run.duration(value) == text


@pytest.mark.parametrize(("text", "value"), [("0.0 MB", 0), ("1.5 MB", 1.5e6), ("11 MB", 1.06e7), ("2.5 GB", 2.49e9)])
def test_sizes(text, value):
    assert dry_run.megabytes(value) == text


class Data:
    """Two batches an epoch; the clock goes on by a second at each."""

    batch_size, unpacked = 1, None

    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return 2

    def epoch(self, number, first):
        for batch in range(first, 2):
            self.clock[0] += 1
            yield 2 * number + batch


def test_two_iterations_are_measured_and_not_the_first_one(monkeypatch, tmp_path):
    from tests.common.training.test_loop import FakeGAN

    class Slow(FakeGAN):
        def step(self, batch, random):
            self.steps += 1
            clock[0] += (100, 10, 20)[batch]
            return {"D-Loss": 0.0, "DG-Loss": 0.0}

        def draw(self, path, title, real, generated):
            clock[0] += 5
            path.write_bytes(bytes(1000))

        def save_frame(self, path, noise, generated):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(100))

        def end_epoch(self, folder):
            (folder / "again").write_bytes(bytes(7))

    clock, gan = [0.0], Slow()
    monkeypatch.setattr(dry_run.time, "perf_counter", lambda: clock[0])
    found = dry_run.Measured(gan, Data(clock), type("Options", (), {"seed": 0}), "")
    assert (gan.steps, found.step, found.draw, found.picture, found.once) == (3, 16.0, 5.0, 1100, 7)


@pytest.mark.parametrize("steps", [None, 5])
def test_a_run_takes_the_room_that_was_told(narrow, tmp_path, monkeypatch, capsys, steps):
    from static_mnist import train

    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "data")
    size = ["--batch_size", "13", "--max_steps", "5"] if steps else ["--batch_size", "40"]  # one batch an epoch
    typed = ["--data_dir", "data", "--epoch", "8", *size]
    before = content(tmp_path)
    train.main([*typed, "--dry_run"])
    told = capsys.readouterr().out
    assert content(tmp_path) == before
    train.main(typed)
    run = tmp_path / "output_dcgan"
    checkpoints = checkpoint.listing(run / "checkpoints")
    real = sum(path.stat().st_size for path in checkpoints)
    assert float(re.search(r"checkpoints ([\d.]+) MB", told)[1]) == pytest.approx(real / 1e6, abs=0.15)
    assert [checkpoint.whole(path) for path in checkpoints].count(True) == (2 if steps else 3)
    pictures = len([*run.glob("0*.png")])
    assert f" {pictures} pictures of the first one's size" in told and pictures == (2 if steps else 8)


def test_what_is_done_is_told_and_an_existing_run(fifth, tmp_path, capsys):  # noqa: F811
    from static_mnist import train

    typed = ["--recipe", "fifth", "--dataset", "digits", "--output", str(tmp_path / "run")]
    train.main([*typed, "--max_steps", "5"])
    before = content(tmp_path / "run")
    train.main([*typed, "--dry_run", "--resume"])
    out, err = capsys.readouterr()
    assert "16 iterations, 5 of them done" in out and err == ""
    train.main([*typed, "--dry_run"])
    assert "holds a run already; a run there wants --resume or --overwrite" in capsys.readouterr().err
    train.main([*typed[:-1], str(tmp_path / "other"), "--dry_run", "--resume"])
    assert "there is no run in" in capsys.readouterr().err
    train.main([*typed[:-1], str(tmp_path / "run" / "config.json"), "--dry_run"])
    assert "config.json is no folder that can be written" in capsys.readouterr().err
    assert content(tmp_path / "run") == before


@pytest.mark.parametrize(("name", "pictures"), [("auto", 60_000), ("fashion", 60_000), ("emnist", 112_800)])
def test_data_that_are_not_there_are_not_brought(tmp_path, monkeypatch, capsys, name, pictures):
    from common import recipe as recipes

    monkeypatch.setattr(datasets, "complete", None)  # nobody asks the network
    recipe = recipes.load("cgan")
    args = complete(recipe, ["--dataset", name, "--data_dir", str(tmp_path / "nowhere"), "--dry_run"])
    _, kept = recipe.open_data(vars(args))
    assert kept["pictures"] == pictures and kept["note"] == ""
    told = capsys.readouterr().err
    assert "nowhere: the run would bring it there first" in told
    assert ("or without a network train on the few embedded digits" in told) == (name == "auto")
    assert list(tmp_path.iterdir()) == []
